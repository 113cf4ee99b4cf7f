"""Which overlay address a static node has.

An address depends on nothing but the node itself, its pin or the number that ends its name, so it never moves when
another node comes or goes.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_NUMBERED = re.compile(r".*-([1-9][0-9]{0,9})")


class AddressError(ValueError):
    """No address can be given; the message says why and what to do."""


def address_of(name: str, subnet: IPv4Network, pinned: IPv4Address | None = None) -> IPv4Address:
    """The overlay address of the node ``name`` in its site's ``subnet``.

    The pinned address if there is one (which need not lie in ``subnet``: ``overlay.checks`` judges that), else host
    N of the subnet for a name that ends in ``-N``: ``aws-2`` in 10.100.2.0/24 is 10.100.2.2. AddressError when the
    name ends in no number or the number is not a host of the subnet.
    """
    if pinned is not None:
        return pinned
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        raise AddressError(
            f"node {name!r} has no address: its name does not end in a number (as {name}-1 would); "
            f"rename it or pin an address of {subnet} with `address:`"
        )
    number = int(numbered[1])
    hosts = subnet.num_addresses - 2
    if number > hosts:
        raise AddressError(
            f"node {name!r} would be host {number} of {subnet}, which has hosts 1 to {max(hosts, 0)}; "
            "widen the site's subnet, choose a lower number, or pin an address with `address:`"
        )
    return subnet.network_address + number


def address6(overlay6: IPv6Network, address: IPv4Address) -> IPv6Address:
    """The IPv6 address of the node at ``address``: its IPv4 address in the last 32 bits of ``overlay6``."""
    return overlay6.network_address + int(address)


def network6(overlay6: IPv6Network, network: IPv4Network) -> IPv6Network:
    """The part of ``overlay6`` that the nodes of ``network`` have: a /120 for a /24."""
    return IPv6Network((int(overlay6.network_address) + int(network.network_address), 96 + network.prefixlen))
