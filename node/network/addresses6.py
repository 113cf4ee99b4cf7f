"""The interface's IPv6 address: wg-quick's configuration is first boot's, and knows nothing of what came later."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import IPv6Address, IPv6Interface
from pathlib import Path
from typing import Protocol

from node.wireguard import INTERFACE, WireGuardError, run

_TABLE = Path("/proc/net/if_inet6")
_GLOBAL = "00"
"""The scope of addresses that are no link's or machine's own (``RT_SCOPE_UNIVERSE``)."""


class Addresses6(Protocol):
    """An interface's IPv6 addresses, link-local ones apart; every method raises WireGuardError."""

    def there(self) -> Set[IPv6Interface]: ...

    def add(self, address: IPv6Interface) -> None:
        """Have an address, and a route to its network."""
        ...

    def remove(self, address: IPv6Interface) -> None: ...


def parse_table(text: str, interface: str) -> set[IPv6Interface]:
    """The addresses in ``/proc/net/if_inet6``: address, index, prefix length, scope and flags in hex, and device."""
    rows = (line.split() for line in text.splitlines())
    return {
        IPv6Interface((IPv6Address(int(row[0], 16)), int(row[2], 16)))
        for row in rows
        if row[5] == interface and row[3] == _GLOBAL
    }


class Ip6:
    """The machine's own, through ip(8)."""

    def __init__(self, interface: str = INTERFACE) -> None:
        self._interface = interface

    def there(self) -> Set[IPv6Interface]:
        try:
            return parse_table(_TABLE.read_text(), self._interface)
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, IndexError) as error:
            raise WireGuardError(f"{_TABLE}: {error}") from error

    def add(self, address: IPv6Interface) -> None:
        run(["ip", "-6", "address", "add", str(address), "dev", self._interface, "nodad"])

    def remove(self, address: IPv6Interface) -> None:
        run(["ip", "-6", "address", "del", str(address), "dev", self._interface])


def keep(addresses: Addresses6, wanted: IPv6Interface | None) -> None:
    """Have ``wanted`` and no other address; first boot may have it with another prefix length and wg-quick's routes."""
    there = addresses.there()
    right = {address for address in there if wanted is not None and address.ip == wanted.ip}
    if wanted is not None and not right:
        addresses.add(wanted)
    for address in there - right:
        addresses.remove(address)
