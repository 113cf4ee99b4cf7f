"""Which peers a machine should have: pure, from what it knows of the network and where it hangs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from node.links import Partner
from node.network.kept import Kept
from node.network_words import Keys
from node.reconcile import Wanted, wanted
from node.wireguard import Change, PeerState
from overlay.links import partners
from overlay.model import LINK_KEEPALIVE, Node, Peer, gateways_of
from overlay.topology import Peering, endpoint_for


@dataclass(frozen=True)
class Plan:
    """One machine's part in the network while it hangs on ``gateway``.

    ``target`` is the gateway that it should hang on. ``partners`` are those with whom a link is possible.
    """

    kept: Kept
    nodes: Sequence[Node]
    me: Node
    gateway: Node
    target: Node
    partners: Mapping[str, Partner]

    def peers(self, active: Set[str], trying: Set[str]) -> dict[str, Wanted]:
        """By public key. ``active`` are the links that carry packets, ``trying`` those that are tried."""
        attached = {self.me.name: self.gateway.name}
        peering = Peering(self.kept.roster.network, self.nodes, {self.me.name: active}, attached)
        found = {peer.public_key: peer for peer in peering.of(self.me)}
        for name in sorted(active | trying):
            key, endpoint = self.partners[name]
            found[key] = replace(found[key], endpoint=endpoint) if key in found else _candidate(key, endpoint)
        if self.target.public_key not in found:
            found[self.target.public_key] = _candidate(self.target.public_key, endpoint_for(self.me, self.target))
        return {key: wanted(peer) for key, peer in found.items()}


def _candidate(public_key: str, endpoint: str | None) -> Peer:
    return Peer(public_key, endpoint, (), LINK_KEEPALIVE)


def target_of(kept: Kept, me: Node) -> Node:
    """The gateway that ``me`` hangs on by the topology."""
    return Peering(kept.roster.network, kept.roster.nodes).gateway_of(me)


def make(kept: Kept, nodes: Sequence[Node], me: Node, gateway: Node) -> Plan:
    """The plan of ``me``, one of ``nodes``, which hangs on ``gateway``; TopologyError."""
    network = kept.roster.network
    keys = {node.name: node.public_key for node in nodes}
    found = partners(network, me, nodes, kept.document.seen)
    possible = {name: Partner(keys[name], endpoint) for name, endpoint in found.items()}
    return Plan(kept, nodes, me, gateway, target_of(kept, me), possible)


def hanging(nodes: Sequence[Node], observed: Mapping[str, PeerState]) -> Node | None:
    """The gateway that the interface sends most of the overlay to; None when it sends nothing to any gateway."""
    widths = {
        node.name: sum(2 ** (32 - int(prefix.rpartition("/")[2])) for prefix in state.allowed_ips if ":" not in prefix)
        for node in gateways_of(nodes)
        if (state := observed.get(node.public_key))
    }
    widest = max(widths, key=lambda name: widths[name], default="")
    return next((node for node in nodes if node.name == widest), None) if widths.get(widest) else None


def keys_in_use(kept: Kept) -> dict[str, Keys]:
    """By enrolment key, the keys of those who use others; what this machine hangs on or talks to is among them."""
    identities = {node.name: node.public_key for node in kept.nodes}
    return {identities[name]: keys for name, keys in kept.document.keys.items() if name in identities}


def in_order(changes: Iterable[Change], gateway: str) -> list[Change]:
    """``changes`` so that no prefix is ever without a peer; ``gateway`` is the key of whom the machine hangs on.

    WireGuard takes a prefix from the peer that has it in the moment in which it gives it to another one. So links take
    theirs first, then the gateway takes what is to be its, and then the others give up what they still have.
    """

    def rank(change: Change) -> int:
        if change.remove:
            return 3
        if change.allowed_ips == ():
            return 2
        return int(change.public_key == gateway)

    return sorted(changes, key=rank)
