"""The sets of the host's firewall that follow the roster.

Who may speak WireGuard to a gateway, who may use SSH on it, which machines reach each other's Kubernetes API (TCP
6443) through it, which addresses are the overlay's IPv6 ones, and which machines of the site's own network it serves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import groupby, product
from types import MappingProxyType
from typing import Any, Protocol, cast

from node.log import say
from node.wireguard import WireGuardError, run
from overlay.addresses import network6
from overlay.fields import Source
from overlay.roster import Roster

Interval = tuple[int, int]
"""First and last address, as numbers."""
Element = tuple[Interval, ...]
"""Of a set: one interval; in a set of pairs two, the source's and the destination's."""
Sets = Mapping[str, list[Element]]
"""Set name -> its elements, in order. A name ends with the version of its addresses."""

TABLE = "inet hybridnet"
RULES = "/etc/nftables.conf"
KUBE_PAIRS = "kube_pairs4"
LATER: Mapping[str, str] = MappingProxyType(
    {
        KUBE_PAIRS: "kept TCP 6443 within a site's spokes or a pool, and lets it pass between all machines",
        "kube_pairs6": "had IPv6 on the overlay, and lets none of it pass",
        "overlay6": "had IPv6 on the overlay, and lets none of it pass",
        "lan4": "served their site's own network, and lets nothing from there pass",
    }
)
"""Sets that gateways have not always had -> what one without it is from before, and does. Without elements only the
first is missed."""


class Firewall(Protocol):
    """The host's firewall; raises WireGuardError."""

    def keep(self, roster: Roster, name: str) -> str:
        """Make the sets hold what ``roster`` says for the gateway ``name``: what had to change, empty for nothing."""
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


def _plain(sources: Iterable[Source], version: int) -> list[Element]:
    return [
        (interval,)
        for interval in merged(
            (int(source.network_address), int(source.broadcast_address))
            for source in sources
            if source.version == version
        )
    ]


def kube_groups(roster: Roster) -> dict[str, list[Interval]]:
    """Group -> its addresses: a site's spokes, or a pool's range.

    Spokes with nobody else's address between them are one interval, so that there are few, whatever was pinned where.
    """
    taken = [
        (int(node.address), int(node.address), f"site {node.site}" if node.role == "spoke" else "")
        for node in roster.nodes
    ] + [
        (int(pool.addresses.network_address), int(pool.addresses.broadcast_address), f"pool {pool.name}")
        for pool in roster.pools
    ]
    found: dict[str, list[Interval]] = {}
    for group, run_of in groupby(sorted(taken), key=lambda each: each[2]):
        members = list(run_of)
        if group:
            found.setdefault(group, []).append((members[0][0], members[-1][1]))
    return found


def desired_sets(roster: Roster, name: str) -> dict[str, list[Element]]:
    """What the sets of the gateway ``name`` are to hold."""
    network, site = roster.network, roster.network.site(roster.node(name).site)
    kube = sorted(pair for group in kube_groups(roster).values() for pair in product(group, repeat=2))
    sets = {
        "wg_sources4": _plain(roster.wireguard_sources, 4),
        "wg_sources6": _plain(roster.wireguard_sources, 6),
        "admin4": _plain(roster.admin_cidrs, 4),
        "admin6": _plain(roster.admin_cidrs, 6),
        KUBE_PAIRS: kube,
        "kube_pairs6": [],
        "overlay6": [],
        "lan4": _plain([site.lan] if site.lan else [], 4),
    }
    if network.overlay6:
        sets["overlay6"] = _plain([network6(network.overlay6, network.overlay)], 6)
        start = int(network.overlay6.network_address)
        sets["kube_pairs6"] = [tuple((start + first, start + last) for first, last in pair) for pair in kube]
    return sets


def _interval(element: Any) -> Interval:
    """A part of an element as ``nft -j`` prints it: an address, a prefix or a range."""
    if isinstance(element, str):
        return int(ip_address(element)), int(ip_address(element))
    shape = cast("dict[str, Any]", element)
    if "prefix" in shape:
        network = ip_network(f"{shape['prefix']['addr']}/{shape['prefix']['len']}")
        return int(network.network_address), int(network.broadcast_address)
    first, last = shape["range"]
    return int(ip_address(first)), int(ip_address(last))


def _element(listed: Any) -> Element:
    if isinstance(listed, dict) and "concat" in listed:
        return tuple(_interval(part) for part in cast("dict[str, list[Any]]", listed)["concat"])
    return (_interval(listed),)


def _elements(listed: list[Any]) -> list[Element]:
    found = sorted(_element(each) for each in listed)
    if all(len(each) == 1 for each in found):
        return [(interval,) for interval in merged(each[0] for each in found)]
    return found


def observed_sets(listing: str) -> dict[str, list[Element]]:
    """What the sets hold, from the output of ``nft -j list table``."""
    items = cast("list[dict[str, Any]]", json.loads(listing)["nftables"])
    return {item["set"]["name"]: _elements(item["set"].get("elem", [])) for item in items if "set" in item}


def text_of(interval: Interval, version: int) -> str:
    """As nft(8) takes it, which before 1.0.3 (Ubuntu 22.04) refuses a range of one address."""
    kind = IPv4Address if version == 4 else IPv6Address
    first, last = map(kind, interval)
    return str(first) if first == last else f"{first}-{last}"


def script(sets: Sets) -> str:
    """What makes nft(8) hold ``sets`` in one step."""
    lines: list[str] = []
    for name, elements in sets.items():
        lines.append(f"flush set {TABLE} {name}")
        if elements:
            version = 4 if name.endswith("4") else 6
            texts = (" . ".join(text_of(interval, version) for interval in element) for element in elements)
            lines.append(f"add element {TABLE} {name} {{ {', '.join(texts)} }}")
    return "\n".join(lines) + "\n"


class NftTool:
    """The machine's own firewall, through nft(8); ``rules`` are first boot's."""

    def __init__(self, rules: str = RULES) -> None:
        self._rules = rules
        self._told: set[str] = set()

    def keep(self, roster: Roster, name: str) -> str:
        desired = desired_sets(roster, name)
        flushed = False
        try:
            listing = self._list()
        except WireGuardError:
            # Somebody flushed the ruleset: first boot's rules come back, with the sets that every gateway has, in one
            # step. Until the others follow, what needs them is closed.
            first = script({each: elements for each, elements in desired.items() if each not in LATER})
            run(["nft", "-f", "-"], f'include "{self._rules}"\n' + first)
            flushed, listing = True, self._list()
        observed = observed_sets(listing)
        for missing in LATER.keys() - observed.keys():
            if desired.pop(missing) or missing == KUBE_PAIRS:
                self._tell(LATER[missing])
        wrong = {each: elements for each, elements in desired.items() if observed.get(each) != elements}
        if wrong:
            run(["nft", "-f", "-"], script(wrong))
        return ", ".join([*(["the whole table"] if flushed else []), *sorted(wrong)])

    @staticmethod
    def _list() -> str:
        return run(["nft", "-j", "list", "table", *TABLE.split()])

    def _tell(self, lack: str) -> None:
        if lack not in self._told:
            self._told.add(lack)
            say(f"{self._rules} is from before gateways {lack}: raise this gateway's revision to make it anew")
