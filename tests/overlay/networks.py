"""Networks at random: sites, gateways, nodes, groups, links, and nodes that hang elsewhere."""

from __future__ import annotations

import base64
import random
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


def some_of(chance: random.Random, items: Sequence[T]) -> list[T]:
    """A part of the items: none, a few, half of them, most or all."""
    share = chance.choice([0, 0.2, 0.5, 0.8, 1])
    return [item for item in items if chance.random() < share]


def cases(topologies: Sequence[str] = TOPOLOGIES, *, moving: bool = True) -> st.SearchStrategy[Case]:
    """Cases that ``overlay.checks`` finds nothing wrong with.

    Of each only a seed is drawn: drawn piece by piece, most networks would have one gateway and next to no links.
    """
    return st.integers(0, 2**64 - 1).map(lambda seed: made(random.Random(seed), topologies, moving=moving))


def made(chance: random.Random, topologies: Sequence[str], *, moving: bool) -> Case:
    """A case of one to four sites, of which one may be external, and up to nine spokes."""
    count = chance.choice([1, 2, 3, 3, 4])
    site_names = [f"site{index}" for index in range(1, count + 1)]
    external = count > 1 and chance.random() < 0.3
    sites = tuple(
        Site(name, EXTERNAL if external and index == count else "aws", IPv4Network(f"10.100.{index}.0/24"), "r")
        for index, name in enumerate(site_names, 1)
    )
    own = site_names[: count - external]
    homes = chance.sample(own, chance.choice([1, len(own), len(own), max(1, len(own) - 1)]))
    groups = {name: tuple(some_of(chance, [*GROUPS, LOADBALANCER, ALL])) for name in GROUPS}
    has_groups = chance.random() < 0.4
    network = Network(
        OVERLAY,
        sites,
        chance.choice(topologies),
        overlay6=chance.choice([None, OVERLAY6]),
        groups=groups if has_groups else {},
    )
    high = chance.choice([None, *homes])
    nodes: list[Node] = []
    for number, home in enumerate(homes):
        address = IPv4Address("10.100.0.1") if home == high else network.site(home).subnet[254]
        endpoint, near = f"198.51.100.{number + 1}:51820", f"10.{number}.0.1:51820"
        nodes.append(Node(f"gw{number}", home, address, "gateway", key(number), endpoint, lan=True, lan_endpoint=near))
    for number in range(chance.randint(0, 9)):
        site = chance.choice(site_names)
        # Next to each other, so that /32s of one group grow together to a larger prefix.
        address = network.site(site).subnet[1 + number]
        endpoint = chance.choice([None, f"203.0.113.{number + 1}:51820"])
        group, lan = chance.choice(GROUPS) if has_groups else "", chance.random() < 0.5
        nodes.append(Node(f"n{number}", site, address, "spoke", key(100 + number), endpoint, group, lan))
    assert problems(network, nodes, {}) == []
    return in_a_state(chance, network, tuple(nodes), moving=moving)


def in_a_state(chance: random.Random, network: Network, nodes: tuple[Node, ...], *, moving: bool) -> Case:
    """The network with some of its spokes elsewhere and some pairs linked."""
    spokes = [node.name for node in nodes if node.role == "spoke"]
    gateways = [node.name for node in nodes if node.role == "gateway"]
    attached = {name: chance.choice(gateways) for name in some_of(chance, spokes)} if moving else {}
    case = Case(network, nodes, {}, attached)
    alike = [node for node in nodes if node.role == "spoke"]
    pairs = [(one, other) for index, one in enumerate(alike) for other in alike[index + 1 :]]
    fit = [pair for pair in pairs if case.may_talk(*pair)]
    return replace(case, links=both_ways([(one.name, other.name) for one, other in some_of(chance, fit)]))
