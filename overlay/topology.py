"""Topologies: who peers with whom, from the nodes alone and the same wherever it is computed.

The program, the gateway service and the agents all call :func:`peers_of`, so they can not disagree. Three words carry
it. The *root* is the gateway with the lowest address. The *home* of a site is the gateway that stands in it, else the
root. Each spoke *hangs on* one gateway, which has its address as a /32 and leads to everybody else:

- ``hub``: all spokes hang on the root, and so do the other gateways;
- ``sites``: spokes hang on their site's home; gateways peer with each other and have whole subnets as allowed-ips;
- ``mesh``: as ``sites``, and besides nodes have each other's /32 directly where both ends have confirmed a link.

A spoke that has not followed a change of topology yet hangs on another gateway than the topology says; ``attached``
names it, and every gateway has a way to it.

WireGuard takes a packet from one peer alone, so both ends must agree which way each pair goes. That is at odds with a
link of a spoke and the gateway of other spokes: whoever of those has no link with the spoke reaches it through that
gateway then, while the spoke would expect it from its own. So the spoke has their /32 at that gateway too, and the link
is left unused while one of them has a link with the spoke's own gateway in turn, or does not hang where it should.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from ipaddress import IPv4Address, IPv4Network
from operator import attrgetter
from types import MappingProxyType

from overlay.addresses import network6
from overlay.groups import may_talk, reach_of
from overlay.model import KEEPALIVE, LINK_KEEPALIVE, Network, Node, Peer, Prefix, gateways_of, host_network

TOPOLOGIES = ("hub", "mesh", "sites")
"""The names that settings and rosters use."""
Links = Mapping[str, Set[str]]
"""Node -> those with whom it has a direct tunnel that both ends have confirmed; each pair stands there both ways."""
NO_LINKS: Links = MappingProxyType({})
WHERE_IT_SHOULD: Mapping[str, str] = MappingProxyType({})
"""No spoke hangs on another gateway than its topology says."""

_BY_KEY = attrgetter("public_key")


class TopologyError(ValueError):
    """The nodes do not fit the topology; the message says which and why."""


def root_of(nodes: Iterable[Node]) -> Node:
    """The gateway with the lowest address; TopologyError when there is no gateway."""
    gateways = [node for node in nodes if node.role == "gateway"]
    if not gateways:
        raise TopologyError("the network has no gateway")
    return min(gateways, key=lambda gateway: int(gateway.address))


def home_of(nodes: Iterable[Node], site: str) -> Node:
    """The gateway in ``site``, else the root: where the site's pools join, whatever the topology. TopologyError."""
    gateways = [node for node in nodes if node.role == "gateway"]
    return next((gateway for gateway in gateways if gateway.site == site), None) or root_of(gateways)


def gateway_of(network: Network, nodes: Iterable[Node], site: str) -> Node:
    """The gateway that the spokes of ``site`` hang on by the network's topology; TopologyError."""
    return root_of(nodes) if network.topology == "hub" else home_of(nodes, site)


class Peering:
    """Everybody's peers in one network of ``nodes``; TopologyError when they do not fit its topology.

    ``links`` count in a mesh only. ``attached`` names by spoke the gateway that it hangs on where that is not yet the
    one of the topology; a name that is no gateway's is passed over.
    """

    def __init__(
        self,
        network: Network,
        nodes: Sequence[Node],
        links: Links = NO_LINKS,
        attached: Mapping[str, str] = WHERE_IT_SHOULD,
    ) -> None:
        if network.topology not in TOPOLOGIES:
            raise TopologyError(f"unknown topology {network.topology!r}; known: {', '.join(TOPOLOGIES)}")
        self._network = network
        self._nodes = nodes
        self._gateways = {gateway.name: gateway for gateway in gateways_of(nodes)}
        self._root = root_of(self._gateways.values())
        self._is_hub = network.topology == "hub"
        self._by_site = {site.name: gateway_of(network, nodes, site.name) for site in network.sites}
        self._moved = {
            node.name: self._gateways[attached[node.name]]
            for node in nodes
            if node.role == "spoke"
            and attached.get(node.name) in self._gateways
            and attached[node.name] != self._by_site[node.site].name
        }
        self._direct: dict[str, Peer] = {}
        self._named: dict[str, Node] = {}
        self._links = self._usable(links) if network.topology == "mesh" else NO_LINKS

    def gateway_of(self, spoke: Node) -> Node:
        """The gateway that ``spoke`` hangs on."""
        return self._moved.get(spoke.name) or self._by_site[spoke.site]

    def of(self, node: Node) -> list[Peer]:
        """The peers of ``node``, sorted by public key."""
        linked = self._linked(node)
        if node.role == "gateway":
            found = self._of_gateway(node)
        else:
            # Without groups it is the whole overlay, which no link has.
            direct = (prefix for peer in linked for prefix in peer.allowed_ips) if self._network.groups else ()
            found = [self._up(node, self.gateway_of(node), frozenset(direct))]
        return sorted(found + linked, key=_BY_KEY)

    def links_of(self, name: str) -> Set[str]:
        """With whom the node has a link that carries packets: what a gateway, which knows all links, tells it."""
        return self._links.get(name, frozenset())

    def entry(self, gateway: Node, spoke: Node) -> Peer | None:
        """What ``gateway`` has for ``spoke`` alone, of which ``of(gateway)`` is made; None when it has nothing."""
        if self.gateway_of(spoke).name == gateway.name:
            return Peer(spoke.public_key, spoke.endpoint, self._prefixes([host_network(spoke.address)]), None)
        if spoke.name in self._links.get(gateway.name, ()):
            return self._link(gateway, spoke)
        return None

    def is_base(self, node: Node, other: Node) -> bool:
        """Whether two nodes are peers without any link."""
        if node.role == "gateway":
            return other.role == "gateway" or self.gateway_of(other).name == node.name
        return other.role == "gateway" and self.gateway_of(node).name == other.name

    def _of_gateway(self, gateway: Node) -> list[Peer]:
        hanging = [node for node in self._nodes if node.role == "spoke" and self.gateway_of(node).name == gateway.name]
        found = [entry for node in hanging if (entry := self.entry(gateway, node))]
        if self._is_hub and gateway.name != self._root.name:
            return [*found, self._up(gateway, self._root)]
        others = [other for other in self._gateways.values() if other.name != gateway.name]
        return found + [self._across(gateway, other) for other in others]

    def _up(self, node: Node, gateway: Node, direct: Set[Prefix] = frozenset()) -> Peer:
        """The peer that leads to everybody whom ``node`` has to do with, except for the prefixes that links have."""
        whole = self._prefixes(reach_of(self._network, self._nodes, node))
        left = tuple(prefix for prefix in whole if prefix not in direct) if direct else whole
        return Peer(gateway.public_key, endpoint_for(node, gateway), left, KEEPALIVE)

    def _across(self, gateway: Node, other: Node) -> Peer:
        """What ``gateway`` sends to another one: its sites, itself, and who hangs on it for the time being."""
        subnets = [] if self._is_hub else self._subnets(other)
        alone = [other.address] if not any(other.address in subnet for subnet in subnets) else []
        direct = self._links.get(gateway.name, ())
        guests = [
            node.address
            for node in self._nodes
            if node.role == "spoke"
            and node.name in self._moved
            and self._moved[node.name].name == other.name
            and node.name not in direct
        ]
        networks = [*subnets, *(host_network(address) for address in (*alone, *guests))]
        keepalive = KEEPALIVE if gateway.address < other.address else None
        return Peer(other.public_key, endpoint_for(gateway, other), self._prefixes(networks), keepalive)

    def _subnets(self, gateway: Node) -> list[IPv4Network]:
        return [site.subnet for site in self._network.sites if self._by_site[site.name].name == gateway.name]

    def _linked(self, node: Node) -> list[Peer]:
        partners = self._links.get(node.name)
        if not partners:
            return []
        if not self._named:
            self._named = {each.name: each for each in self._nodes}
        named, direct, is_spoke = self._named, self._direct, node.role == "spoke"
        found: list[Peer] = []
        for name in partners:
            # Two spokes, most pairs by far in a large mesh, are no peers without their link.
            if is_spoke and name in direct and name != node.name:
                found.append(direct[name])
            elif name in named and name != node.name and not self.is_base(node, named[name]):
                found.append(self._link(node, named[name]))
        return found

    def _link(self, node: Node, other: Node) -> Peer:
        if other.role == "gateway":
            networks = map(host_network, (other.address, *self._behind(other, node)))
            return Peer(other.public_key, endpoint_for(node, other), self._prefixes([*networks]), LINK_KEEPALIVE)
        if other.name not in self._direct:
            prefixes = self._prefixes([host_network(other.address)])
            self._direct[other.name] = Peer(other.public_key, other.endpoint, prefixes, LINK_KEEPALIVE)
        return self._direct[other.name]

    def _behind(self, gateway: Node, node: Node) -> list[IPv4Address]:
        """Who hangs on ``gateway`` and reaches ``node``, which has a link with it, through it."""
        direct = self._links.get(node.name, ())
        return [
            other.address
            for other in self._nodes
            if other.role == "spoke"
            and other.name not in direct
            and self.gateway_of(other).name == gateway.name
            and may_talk(self._network, node, other)
        ]

    def _usable(self, links: Links) -> Links:
        """``links`` without those of spokes and gateways that would set two ends at odds about their way."""
        named = {node.name: node for node in self._nodes}
        unused: set[tuple[str, str]] = set()
        for gateway in self._gateways.values():
            linked = (named[name] for name in links.get(gateway.name, ()) if name in named)
            foreign = [spoke for spoke in linked if not self.is_base(gateway, spoke)]
            if not foreign:
                continue
            own = [node for node in self._nodes if node.role == "spoke" and gateway.name in self._gateways_of(node)]
            odd = {node.name for node in own if node.name in self._moved}
            linked_to = {
                uplink: odd | {node.name for node in own if uplink in links.get(node.name, ())}
                for uplink in {self.gateway_of(spoke).name for spoke in foreign}
            }
            for spoke in foreign:
                adverse = linked_to[self.gateway_of(spoke).name] - links.get(spoke.name, frozenset()) - {spoke.name}
                if any(may_talk(self._network, spoke, named[name]) for name in adverse):
                    unused |= {(gateway.name, spoke.name), (spoke.name, gateway.name)}
        if not unused:
            return links
        return {name: {other for other in others if (name, other) not in unused} for name, others in links.items()}

    def _gateways_of(self, spoke: Node) -> tuple[str, str]:
        """The gateway that ``spoke`` hangs on and the one that it should hang on."""
        return self.gateway_of(spoke).name, self._by_site[spoke.site].name

    def _prefixes(self, networks: Sequence[IPv4Network]) -> tuple[Prefix, ...]:
        overlay6 = self._network.overlay6
        if overlay6 is None:
            return tuple(networks)
        return (*networks, *(network6(overlay6, network) for network in networks))


def endpoint_for(node: Node, gateway: Node) -> str | None:
    """Where ``node`` calls ``gateway``: in their own network when both stand in it, else on the internet."""
    is_near = node.lan and node.site == gateway.site and gateway.lan_endpoint is not None
    return gateway.lan_endpoint if is_near else gateway.endpoint


def peers_of(
    network: Network,
    node: Node,
    nodes: Sequence[Node],
    links: Links = NO_LINKS,
    attached: Mapping[str, str] = WHERE_IT_SHOULD,
) -> list[Peer]:
    """The peers of ``node`` under the network's topology, sorted by public key; ``nodes`` contains it.

    As :class:`Peering`, for one node. TopologyError when the topology is unknown or the nodes do not fit it.
    """
    return Peering(network, nodes, links, attached).of(node)
