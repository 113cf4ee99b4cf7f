"""The sets of the host's firewall that follow the roster: who may speak WireGuard to a gateway, and who may use SSH."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Protocol, cast

from node.wireguard import WireGuardError, run

Source = IPv4Network | IPv6Network
Interval = tuple[int, int]
"""First and last address, as numbers."""

TABLE = "inet hybridnet"
RULES = "/etc/nftables.conf"


class Firewall(Protocol):
    """The host's firewall; raises WireGuardError."""

    def keep(self, wireguard_sources: Iterable[Source], admin_cidrs: Iterable[Source]) -> bool:
        """Make the sets hold exactly these; whether anything had to change."""
        ...


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same addresses in as few intervals as possible, in order."""
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def desired_sets(wireguard_sources: Iterable[Source], admin_cidrs: Iterable[Source]) -> dict[str, list[Interval]]:
    """Set name -> its addresses."""
    found: dict[str, list[Interval]] = {}
    for name, sources in (("wg_sources", tuple(wireguard_sources)), ("admin", tuple(admin_cidrs))):
        for version in (4, 6):
            found[f"{name}{version}"] = merged(
                (int(source.network_address), int(source.broadcast_address))
                for source in sources
                if source.version == version
            )
    return found


def _interval(element: Any) -> Interval:
    """An element of a set as ``nft -j`` prints it: an address, a prefix or a range."""
    if isinstance(element, str):
        return int(ip_address(element)), int(ip_address(element))
    shape = cast("dict[str, Any]", element)
    if "prefix" in shape:
        network = ip_network(f"{shape['prefix']['addr']}/{shape['prefix']['len']}")
        return int(network.network_address), int(network.broadcast_address)
    first, last = shape["range"]
    return int(ip_address(first)), int(ip_address(last))


def observed_sets(listing: str) -> dict[str, list[Interval]]:
    """Set name -> its addresses, from the output of ``nft -j list table``."""
    items = cast("list[dict[str, Any]]", json.loads(listing)["nftables"])
    return {
        item["set"]["name"]: merged(_interval(element) for element in item["set"].get("elem", []))
        for item in items
        if "set" in item
    }


def script(sets: Mapping[str, list[Interval]]) -> str:
    """What makes nft(8) hold ``sets`` in one step."""
    lines: list[str] = []
    for name, intervals in sets.items():
        lines.append(f"flush set {TABLE} {name}")
        if intervals:
            kind = IPv4Network if name.endswith("4") else IPv6Network
            address = type(kind(0).network_address)
            elements = ", ".join(f"{address(first)}-{address(last)}" for first, last in intervals)
            lines.append(f"add element {TABLE} {name} {{ {elements} }}")
    return "\n".join(lines) + "\n"


class NftTool:
    """The machine's own firewall, through nft(8)."""

    def keep(self, wireguard_sources: Iterable[Source], admin_cidrs: Iterable[Source]) -> bool:
        desired = desired_sets(wireguard_sources, admin_cidrs)
        try:
            observed = observed_sets(run(["nft", "-j", "list", "table", *TABLE.split()]))
        except WireGuardError:
            # Somebody flushed the ruleset: first boot's rules come back with the sets, in one step.
            run(["nft", "-f", "-"], f'include "{RULES}"\n' + script(desired))
            return True
        wrong = {name: intervals for name, intervals in desired.items() if observed.get(name) != intervals}
        if wrong:
            run(["nft", "-f", "-"], script(wrong))
        return bool(wrong)
