"""Networks at random: sites, gateways, nodes, groups, links, and nodes that hang elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import TypeVar

from hypothesis import strategies as st

from overlay.checks import problems
from overlay.groups import ALL, LOADBALANCER, reaches
from overlay.model import EXTERNAL, Network, Node, Site
from overlay.topology import TOPOLOGIES, Peering

OVERLAY = IPv4Network("10.100.0.0/16")
OVERLAY6 = IPv6Network("fd12:3456:789a::/48")
T = TypeVar("T")
GROUPS = ("one", "two", "three")


@dataclass(frozen=True)
class Case:
    """A network and the state it is in. Each link stands in ``links`` both ways."""

    network: Network
    nodes: tuple[Node, ...]
    links: Mapping[str, frozenset[str]]
    attached: Mapping[str, str]

    @property
    def peering(self) -> Peering:
        """Everybody's peers."""
        return Peering(self.network, self.nodes, self.links, self.attached)

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions of the overlay."""
        return (4,) if self.network.overlay6 is None else (4, 6)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def may_talk(self, one: Node, other: Node) -> bool:
        """Whether either may open connections to the other, or has to do with it because it is a gateway."""
        if "gateway" in (one.role, other.role) or not self.network.groups:
            return True
        return reaches(self.network, one.group, other.group) or reaches(self.network, other.group, one.group)


def key(number: int) -> str:
    """A WireGuard key; keys do not sort as their numbers do."""
    return base64.b64encode((number * 2654435761 % 2**32 + 1).to_bytes(32, "little")).decode()


def both_ways(pairs: Sequence[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Links as the model has them."""
    found: dict[str, set[str]] = {}
    for one, other in pairs:
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return {name: frozenset(others) for name, others in found.items()}


@st.composite
def some_of(draw: st.DrawFn, items: Sequence[T]) -> list[T]:
    """A part of the items, none to all of them, each as likely as not."""
    chosen = draw(st.integers(0, 2 ** len(items) - 1))
    return [item for index, item in enumerate(items) if chosen >> index & 1]


@st.composite
def cases(draw: st.DrawFn, topologies: Sequence[str] = TOPOLOGIES, *, moving: bool = True, groups: bool = True) -> Case:
    """Cases that ``overlay.checks`` finds nothing wrong with."""
    count = draw(st.integers(1, 4))
    site_names = [f"site{index}" for index in range(1, count + 1)]
    external = draw(st.booleans()) and count > 1
    sites = tuple(
        Site(name, EXTERNAL if external and index == count else "aws", IPv4Network(f"10.100.{index}.0/24"), "r")
        for index, name in enumerate(site_names, 1)
    )
    homes = draw(some_of(site_names[: count - external])) or site_names[:1]
    high = draw(st.sets(st.sampled_from(homes), max_size=1))
    has_groups = groups and draw(st.booleans())
    reached = st.lists(st.sampled_from([*GROUPS, LOADBALANCER, ALL]), unique=True).map(tuple)
    network = Network(
        OVERLAY,
        sites,
        draw(st.sampled_from(topologies)),
        overlay6=draw(st.sampled_from([None, OVERLAY6])),
        groups={name: draw(reached) for name in GROUPS} if has_groups else {},
    )
    nodes: list[Node] = []
    for number, home in enumerate(homes):
        address = IPv4Address("10.100.0.1") if home in high else network.site(home).subnet[254]
        endpoint, near = f"198.51.100.{number + 1}:51820", f"10.{number}.0.1:51820"
        nodes.append(Node(f"gw{number}", home, address, "gateway", key(number), endpoint, lan=True, lan_endpoint=near))
    for number in range(draw(st.integers(0, 9))):
        site = draw(st.sampled_from(site_names))
        # Next to each other, so that /32s of one group grow together to a larger prefix.
        address = network.site(site).subnet[1 + number]
        endpoint = draw(st.sampled_from([None, f"203.0.113.{number + 1}:51820"]))
        group = draw(st.sampled_from(GROUPS)) if has_groups else ""
        spoke = Node(f"n{number}", site, address, "spoke", key(100 + number), endpoint, group, draw(st.booleans()))
        nodes.append(spoke)
    return draw(states(network, tuple(nodes), moving=moving))


@st.composite
def states(draw: st.DrawFn, network: Network, nodes: tuple[Node, ...], *, moving: bool = True) -> Case:
    """The network with some of its spokes elsewhere and some pairs linked."""
    assert problems(network, nodes, {}) == []
    spokes = [node.name for node in nodes if node.role == "spoke"]
    gateways = [node.name for node in nodes if node.role == "gateway"]
    moved = draw(some_of(spokes)) if moving else []
    attached = {name: draw(st.sampled_from(gateways)) for name in moved}
    names = [node.name for node in nodes]
    pairs = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    wanted = draw(some_of(pairs))
    case = Case(network, nodes, {}, attached)
    linked = [
        pair for pair in wanted if not case.peering.is_base(case.node(pair[0]), case.node(pair[1]))
        and case.may_talk(case.node(pair[0]), case.node(pair[1]))
    ]  # fmt: skip
    return replace(case, links=both_ways(linked))
