"""Groups: who may reach whom. Without groups everybody may.

A group names those that its members may open connections to; answers always pass. Gateways are the group
:data:`LOADBALANCER`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from overlay.model import Network, Node, host_network

LOADBALANCER = "loadbalancer"
"""The gateways' group."""
ALL = "all"
"""In a group's list: every group, those that come later included."""


def reaches(network: Network, source: str, target: str) -> bool:
    """Whether members of the group ``source`` may open connections to those of ``target``."""
    if not network.groups:
        return True
    named = network.groups.get(source, ())
    return ALL in named or target in named


def may_talk(network: Network, one: Node, other: Node) -> bool:
    """Whether either may open connections to the other; gateways keep everybody in the network, so they always may."""
    if not network.groups or "gateway" in (one.role, other.role):
        return True
    return reaches(network, one.group, other.group) or reaches(network, other.group, one.group)


def is_administrator(network: Network, group: str) -> bool:
    """Whether members of ``group`` may have everything of a gateway: its SSH, its metrics, its whole status."""
    return not network.groups or ALL in network.groups.get(group, ())


def group_of(network: Network, nodes: Iterable[Node], address: IPv4Address) -> str | None:
    """The group of whoever has ``address``; None for a stranger's, and where there are no groups."""
    if not network.groups:
        return None
    return next((group for prefix, group in _holdings(network, nodes) if address in prefix), None)


def members_of(network: Network, nodes: Iterable[Node]) -> Mapping[str, list[IPv4Network]]:
    """Group -> the parts of the overlay that its members have, pools' whole ranges, in as few prefixes as possible.

    A site's own network (``Site.lan``) is among those of its group.
    """
    found: dict[str, list[IPv4Network]] = {group: [] for group in network.groups}
    for prefix, group in _holdings(network, nodes):
        found.setdefault(group, []).append(prefix)
    return {group: list(collapse_addresses(prefixes)) for group, prefixes in found.items()}


def reach_of(network: Network, nodes: Sequence[Node], node: Node) -> list[IPv4Network]:
    """The parts of the overlay that ``node`` has to do with: whom it may reach, and who may reach it.

    The gateways are among them, since what keeps the node in the network is there.
    """
    if not network.groups or node.role == "gateway":
        return [network.overlay]
    found = [
        prefix
        for prefix, group in _holdings(network, nodes)
        if group == LOADBALANCER or reaches(network, node.group, group) or reaches(network, group, node.group)
    ]
    return list(collapse_addresses(prefix for prefix in found if prefix.subnet_of(network.overlay)))


def _holdings(network: Network, nodes: Iterable[Node]) -> list[tuple[IPv4Network, str]]:
    own = [(host_network(n.address), LOADBALANCER if n.role == "gateway" else n.group) for n in nodes]
    lans = [(site.lan, site.lan_group) for site in network.sites if site.lan is not None and site.lan_group is not None]
    return [*own, *network.ranges, *lans]
