"""What a gateway does to its network: the interface and the firewall are made equal to the roster and the leases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from node.config import Config
from node.firewall import Firewall
from node.gateway.endpoints import Endpoints
from node.gateway.lease import Lease
from node.gateway.leases import Leases
from node.gateway.rosters import Kept, Rosters
from node.reconcile import Wanted, changes, differences, heard_from, wanted
from node.wireguard import Change, PeerState, WireGuard
from overlay.model import Node, Peer
from overlay.roster import Roster
from overlay.topology import peers_of


class Network:
    """One gateway's interface and firewall, and the roster and leases they follow.

    Only one caller at a time plans, reconciles or applies; everything else may be called meanwhile.
    """

    def __init__(
        self, config: Config, wireguard: WireGuard, firewall: Firewall, clock: Callable[[], float] = time.time
    ) -> None:
        self.config = config
        self.rosters = Rosters(config.state / "roster.json", config.name, config.signing_public_key)
        self.leases = Leases(config.state / "leases.db", clock)
        self.endpoints = Endpoints(config.state / "endpoints.json")
        self.observed: dict[str, PeerState] = {}
        self.drift_repaired = 0
        self._clock = clock
        self._wireguard = wireguard
        self._firewall = firewall
        self.applied: str | None = None
        """Digest of the roster that the interface follows."""
        self._planned: str | None = None
        self._static: dict[str, Wanted] = {}
        self._desired: dict[str, Wanted] = {}
        self._pending: set[str] = set()
        """Public keys whose peers may differ from the plan because their leases changed."""
        self._named: tuple[Kept, dict[str, IPv4Address]] | None = None

    def load(self, *, read_only: bool = False) -> None:
        """Read the state; StateError when the roster or the leases cannot be used."""
        self.rosters.load()
        self.leases.open(read_only=read_only)
        self.endpoints.load()

    def member_peers(self, roster: Roster, lease: Lease) -> list[Peer]:
        """The peers of a lease's machine: those it is told when it joins."""
        member = _node(roster, lease)
        return peers_of(roster.network, member, [*roster.nodes, member])

    def plan(self) -> Mapping[str, Wanted]:
        """Public key -> the peer that this gateway should have. Computed anew only where something has changed."""
        kept = self.rosters.kept
        if kept is None:
            return {}
        roster, changed = kept.roster, self.leases.take_changed()
        if self._planned != kept.sha256:
            own = peers_of(roster.network, roster.node(self.config.name), roster.nodes)
            self._static = {peer.public_key: wanted(peer) for peer in own}
            self._desired = dict(self._static)
            changed |= {lease.public_key for lease in self.leases.live()}
            self._planned = kept.sha256
        taken = {node.address for node in roster.nodes}
        for key in changed - self._static.keys():
            lease = self.leases.of_key(key)
            if lease is None or lease.address in taken or all(pool.name != lease.pool for pool in roster.pools):
                self._desired.pop(key, None)
            else:
                gateway = roster.node(self.config.name)
                (peer,) = peers_of(roster.network, gateway, [gateway, _node(roster, lease)])
                self._desired[key] = wanted(peer)
        self._pending |= changed
        return self._desired

    def reconcile(self) -> list[Change]:
        """Make the network equal to roster and leases, and say what was changed on the interface.

        The firewall comes first: nobody may speak before the rules say so. Without a roster nothing is touched.
        """
        kept = self.rosters.kept
        if kept is None:
            self.observed = dict(self._wireguard.peers())
            return []
        roster = kept.roster
        self._firewall.keep(roster, self.config.name)
        if self._wireguard.mtu() != roster.mtu:
            self._wireguard.set_mtu(roster.mtu)
        desired = self.plan()
        self.observed = dict(self._wireguard.peers())
        needed = changes(desired, self.observed, self.endpoints.known)
        if needed:
            self._wireguard.apply(needed)
            self._note(needed, desired)
        if self.applied == kept.sha256:
            self.drift_repaired += sum(change.public_key not in self._pending for change in needed)
        self.applied = kept.sha256
        self._pending = set()
        self.endpoints.remember(heard_from(self.observed), desired.keys())
        return needed

    def apply_leases(self) -> list[Change]:
        """Bring only those peers to the interface whose leases have changed, without looking at the others."""
        if self.applied is None:
            return []
        desired = self.plan()
        pending = self._pending - self._static.keys()
        needed = [Change(key, remove=True) for key in sorted(pending - desired.keys())]
        arriving = [desired[key] for key in pending & desired.keys()]
        needed += differences(arriving, self.observed, self.endpoints.known)
        if needed:
            self._wireguard.apply(needed)
            self._note(needed, desired)
        self._pending -= pending
        return needed

    def _note(self, made: Sequence[Change], desired: Mapping[str, Wanted]) -> None:
        """Remember what was changed, without another look at everything; the next one finds what else did."""
        for change in made:
            key = change.public_key
            if change.remove:
                self.observed.pop(key, None)
                continue
            state = self.observed.get(key, PeerState(key, change.endpoint, frozenset(), 0, 0, 0, None))
            peer = desired[key]
            self.observed[key] = state._replace(allowed_ips=peer.prefixes, keepalive=peer.keepalive)

    def has(self, lease: Lease) -> bool:
        """Whether the lease's peer is on the interface, as far as this end knows."""
        state = self.observed.get(lease.public_key)
        return state is not None and f"{lease.address}/32" in state.allowed_ips

    def peer_addresses(self) -> dict[str, IPv4Address]:
        """Public key -> overlay address of this gateway's peers among the declared nodes."""
        kept = self.rosters.kept
        if kept is None:
            return {}
        if self._named is None or self._named[0] is not kept:
            roster = kept.roster
            keys = {peer.public_key for peer in peers_of(roster.network, roster.node(self.config.name), roster.nodes)}
            self._named = kept, {node.public_key: node.address for node in roster.nodes if node.public_key in keys}
        return self._named[1]

    def addresses(self) -> list[IPv4Address]:
        """The overlay addresses of all peers: declared nodes, and machines of pools."""
        return [*self.peer_addresses().values(), *(lease.address for lease in self.leases.live())]

    def greetable(self, made: Sequence[Change]) -> list[IPv4Address]:
        """The overlay addresses of the peers that came or changed by ``made``."""
        declared = self.peer_addresses()
        keys = [change.public_key for change in made if not change.remove]
        leases = [lease for each in keys if (lease := self.leases.of_key(each))]
        return [declared[each] for each in keys if each in declared] + [lease.address for lease in leases]

    def told(self, public_key: str) -> dict[str, Any]:
        """What the status tells of a peer's tunnel. ``handshake_age`` is in seconds."""
        state = self.observed.get(public_key)
        age = round(max(0.0, self._clock() - state.handshake), 1) if state and state.handshake else None
        return {
            "endpoint": state.endpoint if state else None,
            "handshake_age": age,
            "rx": state.received if state else 0,
            "tx": state.sent if state else 0,
        }

    def peer_status(self, healthy: set[IPv4Address]) -> list[dict[str, Any]]:
        """The declared peers as ``GET /v1/status`` tells them, in the roster's order."""
        if self.rosters.kept is None:
            return []
        addresses = self.peer_addresses()
        return [
            {
                "name": node.name,
                "public_key": node.public_key,
                "address": str(node.address),
                **self.told(node.public_key),
                "healthy": node.address in healthy,
            }
            for node in self.rosters.kept.roster.nodes
            if node.public_key in addresses
        ]


def _node(roster: Roster, lease: Lease) -> Node:
    site = next((pool.site for pool in roster.pools if pool.name == lease.pool), "")
    return Node(lease.name, site, lease.address, "spoke", lease.public_key)
