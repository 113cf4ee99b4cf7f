"""A network of WireGuard interfaces on paper: where a packet goes by everybody's peers alone.

Sending takes the peer with the longest prefix for the destination, as the kernel's routes and WireGuard's cryptokey
routing do. A machine takes a packet from a peer only if the longest prefix for the packet's source is that peer's
(wireguard.com, "Cryptokey Routing"), and never one with its own address as source (a martian, RFC 1812 section
5.3.7). Gateways alone forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from overlay.addresses import address6
from overlay.model import Network, Node, Peer
from overlay.topology import NO_LINKS, WHERE_IT_SHOULD, Links, Peering

TTL = 64
Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Trip:
    """The machines that had the packet, in order, and why it did not arrive; None if it did."""

    path: tuple[str, ...]
    lost: str | None = None


class Table:
    """The allowed-ips of one interface; of a prefix that stands twice the later peer has it, as in the kernel."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._keys: dict[tuple[int, int], dict[int, str]] = {}
        for peer in peers:
            for prefix in peer.allowed_ips:
                holders = self._keys.setdefault((prefix.version, prefix.prefixlen), {})
                holders[int(prefix.network_address)] = peer.public_key
        self._lengths = {
            version: sorted((n for v, n in self._keys if v == version), reverse=True) for version in (4, 6)
        }

    def peer(self, address: Address) -> str | None:
        """The public key of the peer with the longest prefix for the address."""
        number, bits = int(address), address.max_prefixlen
        for length in self._lengths[address.version]:
            shift = bits - length
            key = self._keys[address.version, length].get(number >> shift << shift)
            if key is not None:
                return key
        return None


class Simulator:
    """Everybody's interface; ``peers`` by node name."""

    def __init__(self, network: Network, nodes: Sequence[Node], peers: Mapping[str, Iterable[Peer]]) -> None:
        self._network = network
        self._nodes = {node.name: node for node in nodes}
        self._by_key = {node.public_key: node.name for node in nodes}
        self._tables = {node.name: Table(peers[node.name]) for node in nodes}
        self._sessions = {node.name: {peer.public_key for peer in peers[node.name]} for node in nodes}

    def address(self, name: str, version: int) -> Address:
        """The node's address of IP version 4 or 6."""
        address = self._nodes[name].address
        if version == 4:
            return address
        assert self._network.overlay6 is not None
        return address6(self._network.overlay6, address)

    def trip(self, source: str, target: str | Address, version: int = 4) -> Trip:
        """Send a packet from a node to a node, or to an address that may be nobody's."""
        to = self.address(target, version) if isinstance(target, str) else target
        sender = self.address(source, to.version)
        path = [source]
        for _ in range(TTL):
            here = path[-1]
            if to == self.address(here, to.version):
                return Trip(tuple(path))
            if here != source and self._nodes[here].role != "gateway":
                return Trip(tuple(path), f"{here} does not forward")
            key = self._tables[here].peer(to)
            if key is None or key not in self._by_key:
                return Trip(tuple(path), f"{here} has no peer for it")
            there = self._by_key[key]
            path.append(there)
            why = self._refusal(here, there, sender)
            if why:
                return Trip(tuple(path), why)
        return Trip(tuple(path), "it goes round and round")

    def _refusal(self, here: str, there: str, sender: Address) -> str | None:
        own = self._nodes[here].public_key
        if own not in self._sessions[there]:
            return f"{here} is no peer of {there}"
        if sender == self.address(there, sender.version):
            return f"{there} drops what comes with its own address"
        if self._tables[there].peer(sender) != own:
            return f"{there} takes nothing of {sender} from {here}"
        return None


def tables(
    network: Network,
    nodes: Sequence[Node],
    links: Links = NO_LINKS,
    attached: Mapping[str, str] = WHERE_IT_SHOULD,
) -> dict[str, list[Peer]]:
    """Everybody's peers, each node's as the node itself or its gateways compute them."""
    peering = Peering(network, nodes, links, attached)
    return {node.name: peering.of(node) for node in nodes}
