"""Topologies: each is one pure function that says who peers with whom.

The program, the gateway service and the spoke agent all call :func:`peers_of`, so they can not disagree. A further
topology is a further function in :data:`TOPOLOGIES`, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from overlay.model import KEEPALIVE, Link, Network, Node, Peer, gateways_of, host_network

Topology = Callable[[Network, Node, Sequence[Node], frozenset[Link]], list[Peer]]
"""``(network, node, nodes, links) -> peers of node``; ``nodes`` may contain ``node`` itself."""


class TopologyError(ValueError):
    """The nodes do not fit the topology; the message says which and why."""


def hub(network: Network, node: Node, nodes: Sequence[Node], links: frozenset[Link]) -> list[Peer]:
    """Every node has one peer, the gateway, for the whole overlay; the gateway has a /32 for each node.

    Direct links play no part in it.
    """
    del links
    found = gateways_of(nodes)
    if len(found) != 1:
        names = ", ".join(gateway.name for gateway in found) or "none"
        raise TopologyError(f"topology hub needs exactly one gateway, and the network has: {names}")
    gateway = found[0]
    if node.name == gateway.name:
        return [
            Peer(other.public_key, other.endpoint, (host_network(other.address),), None)
            for other in nodes
            if other.name != gateway.name
        ]
    return [Peer(gateway.public_key, gateway.endpoint, (network.overlay,), KEEPALIVE)]


TOPOLOGIES: Mapping[str, Topology] = MappingProxyType({"hub": hub})
"""Every topology by the name that settings and rosters use."""


def peers_of(network: Network, node: Node, nodes: Sequence[Node], links: frozenset[Link] = frozenset()) -> list[Peer]:
    """The peers of ``node`` under the network's topology, sorted by public key.

    ``links`` are the direct tunnels that both ends have confirmed. TopologyError when the topology is unknown or
    the nodes do not fit it.
    """
    topology = TOPOLOGIES.get(network.topology)
    if topology is None:
        raise TopologyError(f"unknown topology {network.topology!r}; known: {', '.join(sorted(TOPOLOGIES))}")
    return sorted(topology(network, node, nodes, links), key=lambda peer: peer.public_key)
