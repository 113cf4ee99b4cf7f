"""Addresses that the clouds hand out; one that was given is not given again until the range has been gone through."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from localcloud.provider.kind import CloudError
from localcloud.provider.world import World

# 198.18.0.0/15 is set aside for tests of networks (RFC 2544), 2001:db8::/32 for documentation (RFC 3849).
HETZNER = ipaddress.IPv4Network("198.18.1.0/24")
AWS = ipaddress.IPv4Network("198.18.2.0/24")
GCP = ipaddress.IPv4Network("198.18.3.0/24")
NAT = ipaddress.IPv4Network("198.18.9.0/24")
"""What machines without a public address share to reach the internet."""
HETZNER6 = ipaddress.IPv6Network("2001:db8:1::/48")
"""Every server has a /64 of it."""
RESERVED = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "198.18.0.0/15",
        "192.0.2.0/24",
        "203.0.113.0/24",
        "198.51.100.0/24",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "224.0.0.0/3",
    )
)
"""Ranges that no private network may have: the local cloud's own internet."""


def allocate(world: World, pool: ipaddress.IPv4Network, taken: Iterable[str | None], what: str) -> str:
    """The next free address of the pool. Raises CloudError when every one is taken."""
    used = set(taken)
    size = pool.num_addresses - 2
    for _ in range(size):
        address = str(pool[1 + (world.next(f"pool {pool}") - 1) % size])
        if address not in used:
            return address
    raise CloudError(f"the local cloud has no {what} left in {pool}: {size} are in use")


def lowest(network: ipaddress.IPv4Network, skip: int, taken: Iterable[str | None]) -> str | None:
    """The lowest free host address of a subnet after the first `skip`, or None when it is full."""
    used = set(taken)
    for index in range(skip, network.num_addresses - 1):
        address = str(network[index])
        if address not in used:
            return address
    return None


def hetzner6(world: World) -> ipaddress.IPv6Network:
    """A /64 that no server had before."""
    base = int(HETZNER6.network_address) + (world.next("pool6") << 64)
    return ipaddress.IPv6Network((base, 64))
