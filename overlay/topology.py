"""Topologies: who peers with whom, from the nodes alone and the same wherever it is computed.

The program, the gateway service and the agents all call :func:`peers_of`, so they can not disagree. Three words carry
it. The *root* is the gateway with the lowest address. The *home* of a site is the gateway that stands in it, else the
root. Each spoke *hangs on* one gateway, which has its address as a /32 and leads to everybody else:

- ``hub``: all spokes hang on the root, and so do the other gateways;
- ``sites``: spokes hang on their site's home; gateways peer with each other and have whole subnets as allowed-ips;
- ``mesh``: as ``sites``, and besides nodes have each other's /32 directly where both ends have confirmed a link.

A spoke that has not followed a change of topology yet hangs on another gateway than the topology says; ``attached``
names it, and every gateway has a way to it.

Links are between spokes. Were there one of a spoke and another site's gateway, the spoke and those who hang there
without a link of their own would expect each other on different ways, and WireGuard takes a packet from one peer alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from ipaddress import IPv4Network
from operator import attrgetter
from types import MappingProxyType

from overlay.addresses import network6
from overlay.groups import reach_of
from overlay.model import KEEPALIVE, LINK_KEEPALIVE, Network, Node, Peer, Prefix, gateways_of, host_network

TOPOLOGIES = ("hub", "mesh", "sites")
"""The names that settings and rosters use."""
Links = Mapping[str, Set[str]]
"""Spoke -> those with whom it has a direct tunnel that both ends have confirmed; each pair stands there both ways."""
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
        self._links = links if network.topology == "mesh" else NO_LINKS

    def gateway_of(self, spoke: Node) -> Node:
        """The gateway that ``spoke`` hangs on."""
        return self._moved.get(spoke.name) or self._by_site[spoke.site]

    def of(self, node: Node) -> list[Peer]:
        """The peers of ``node``, sorted by public key."""
        if node.role == "gateway":
            return sorted(self._of_gateway(node), key=_BY_KEY)
        linked = self._linked(node)
        # Without groups it is the whole overlay, which no link has.
        direct = (prefix for peer in linked for prefix in peer.allowed_ips) if self._network.groups else ()
        return sorted([self._up(node, self.gateway_of(node), frozenset(direct)), *linked], key=_BY_KEY)

    def entry(self, gateway: Node, spoke: Node) -> Peer | None:
        """What ``gateway`` has for ``spoke`` alone, of which ``of(gateway)`` is made; None when it has nothing."""
        if self.gateway_of(spoke).name != gateway.name:
            return None
        return Peer(spoke.public_key, spoke.endpoint, self._prefixes([host_network(spoke.address)]), None)

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
        subnets = self._subnets(other)
        alone = [other.address] if not any(other.address in subnet for subnet in subnets) else []
        guests = [node.address for node in self._nodes if self._is_guest(node, other)]
        networks = [*subnets, *(host_network(address) for address in (*alone, *guests))]
        keepalive = KEEPALIVE if gateway.address < other.address else None
        return Peer(other.public_key, endpoint_for(gateway, other), self._prefixes(networks), keepalive)

    def _subnets(self, gateway: Node) -> list[IPv4Network]:
        return [site.subnet for site in self._network.sites if self._by_site[site.name].name == gateway.name]

    def _is_guest(self, node: Node, gateway: Node) -> bool:
        """Whether ``node`` hangs on ``gateway`` though the topology says another one."""
        return node.name in self._moved and self._moved[node.name].name == gateway.name

    def _linked(self, node: Node) -> list[Peer]:
        partners = self._links.get(node.name)
        if not partners:
            return []
        if not self._direct:
            self._direct = {each.name: self._link(each) for each in self._nodes if each.role == "spoke"}
        return [self._direct[name] for name in partners if name in self._direct and name != node.name]

    def _link(self, spoke: Node) -> Peer:
        prefixes = self._prefixes([host_network(spoke.address)])
        return Peer(spoke.public_key, spoke.endpoint, prefixes, LINK_KEEPALIVE)

    def _prefixes(self, networks: Sequence[IPv4Network]) -> tuple[Prefix, ...]:
        overlay6 = self._network.overlay6
        if overlay6 is None:
            return tuple(networks)
        return (*networks, *(network6(overlay6, network) for network in networks))


def endpoint_for(node: Node, gateway: Node) -> str | None:
    """Where ``node`` calls ``gateway``: in their own network when both stand in it, else on the internet."""
    if node.lan and node.site == gateway.site and gateway.lan_endpoint is not None:
        return gateway.lan_endpoint
    return gateway.endpoint6 if node.only6 else gateway.endpoint


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
