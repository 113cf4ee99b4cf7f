"""The routes that take some of the overlay over the second interface, which are more specific than first boot's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, NamedTuple, Protocol, cast

from node.wireguard import run
from overlay.model import Prefix

_PROTOCOL = "157"
"""Tells our routes from others: above 4 it is for whoever sets it (rtnetlink(7), rtm_protocol)."""


class Route(NamedTuple):
    """A prefix in its shortest form, and the interface that it goes to."""

    prefix: str
    interface: str


class Routes(Protocol):
    """The machine's routes that are ours; every method raises WireGuardError."""

    def observed(self) -> Set[Route]: ...

    def keep(self, desired: Set[Route], sources: Mapping[int, IPv4Address | IPv6Address]) -> None:
        """Have just these. ``sources`` are the machine's overlay addresses by IP version."""
        ...


class IpRoutes:
    """Through ip(8)."""

    def observed(self) -> Set[Route]:
        found: set[Route] = set()
        for version in (4, 6):
            text = run(["ip", f"-{version}", "-j", "route", "show", "proto", _PROTOCOL])
            for each in cast("list[dict[str, Any]]", json.loads(text or "[]")):
                found.add(Route(str(ip_network(each["dst"])), str(each["dev"])))
        return found

    def keep(self, desired: Set[Route], sources: Mapping[int, IPv4Address | IPv6Address]) -> None:
        observed = self.observed()
        for version in (4, 6):
            lines = [
                *(
                    f"route replace {_words(route)} src {sources[version]} proto {_PROTOCOL}"
                    for route in sorted(desired - observed)
                    if _version(route) == version
                ),
                # One that has another interface now was replaced.
                *(
                    f"route del {_words(route)} proto {_PROTOCOL}"
                    for route in sorted(observed - desired)
                    if _version(route) == version and route.prefix not in {each.prefix for each in desired}
                ),
            ]
            if lines:
                run(["ip", f"-{version}", "-force", "-batch", "-"], "\n".join(lines) + "\n")


def _words(route: Route) -> str:
    return f"{route.prefix} dev {route.interface}"


def _version(route: Route) -> int:
    return 6 if ":" in route.prefix else 4


def halves(prefix: Prefix) -> list[Prefix]:
    """The same addresses in two prefixes, which count for more than the whole."""
    return list(cast("Any", prefix).subnets()) if prefix.prefixlen < prefix.max_prefixlen else [prefix]
