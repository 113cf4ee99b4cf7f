"""The network's shape as the stack declares it and the gateways tell it: who hangs where, what is direct or closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any, cast

from localcloud.cli import mesh
from localcloud.cli.gateways import Told
from overlay.groups import reaches
from overlay.model import Network, Node
from overlay.topology import gateway_of


class Shape:
    """The shape of the network of ``nodes``."""

    def __init__(self, nodes: Sequence[mesh.Peer], outputs: Mapping[str, Any], told: Told) -> None:
        exported = cast("dict[str, Any]", outputs.get("network") or {})
        groups = {name: tuple(reached) for name, reached in exported.get("groups", {}).items()}
        self.topology = cast("str", told.topology or exported.get("topology") or "hub")
        self._network = Network(IPv4Network("0.0.0.0/0"), (), self.topology, groups=groups)
        self._gateways = [
            Node(node.name, node.site, IPv4Address(node.address), "gateway", node.public_key)
            for node in nodes
            if node.role == "gateway"
        ]
        self._told = told

    @property
    def has_several_gateways(self) -> bool:
        return len(self._gateways) > 1

    @property
    def is_mesh(self) -> bool:
        return self.topology == "mesh"

    def gateway_of(self, node: mesh.Peer) -> str | None:
        """The name of the gateway that a node hangs on; None for a gateway, and where there is none."""
        if node.role == "gateway" or not self._gateways:
            return None
        return self._told.attached.get(node.known_as) or gateway_of(self._network, self._gateways, node.site).name

    def is_revoked(self, node: mesh.Peer) -> bool:
        """Whether the gateways have cut the node off."""
        return node.public_key in self._told.revoked

    def direct(self, node: mesh.Peer) -> list[str]:
        """With whom the node has a direct tunnel, by the names that the gateways tell."""
        return sorted({name for pair in self._told.links if node.known_as in pair for name in pair} - {node.known_as})

    def direct_count(self, node: mesh.Peer) -> str:
        """How many direct tunnels the node has; ``unknown`` where the gateway that would tell does not answer."""
        count = len(self.direct(node))
        return "unknown" if not count and self.gateway_of(node) in self._told.silent else str(count)

    def reaches(self, source: mesh.Peer, target: mesh.Peer) -> bool:
        """Whether groups let the source open connections to the target; a ping passes to and from gateways anyway."""
        if "gateway" in (source.role, target.role):
            return True
        return reaches(self._network, source.group, target.group)
