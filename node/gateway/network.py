"""What a gateway does to its network: the interface and the firewall are made equal to the roster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from node.config import Config
from node.firewall import Firewall
from node.gateway.endpoints import Endpoints
from node.gateway.rosters import Rosters
from node.reconcile import changes, heard_from
from node.wireguard import Change, PeerState, WireGuard
from overlay.model import Peer
from overlay.roster import Roster
from overlay.topology import peers_of


class Network:
    """One gateway's interface and firewall, and the roster they follow."""

    def __init__(self, config: Config, wireguard: WireGuard, firewall: Firewall) -> None:
        self.config = config
        self.rosters = Rosters(config.state / "roster.json", config.name, config.signing_public_key)
        self.endpoints = Endpoints(config.state / "endpoints.json")
        self.observed: dict[str, PeerState] = {}
        self.drift_repaired = 0
        self._wireguard = wireguard
        self._firewall = firewall
        self._applied: str | None = None

    def load(self) -> None:
        """Read the state; StateError when the roster cannot be used."""
        self.rosters.load()
        self.endpoints.load()

    def desired(self, roster: Roster) -> Sequence[Peer]:
        """The peers that this gateway should have by ``roster``."""
        return peers_of(roster.network, roster.node(self.config.name), roster.nodes)

    def reconcile(self) -> list[Change]:
        """Make the network equal to the roster, and say what was changed on the interface.

        The firewall comes first: nobody may speak before the rules say so. Without a roster nothing is touched.
        """
        kept = self.rosters.kept
        if kept is None:
            self.observed = dict(self._wireguard.peers())
            return []
        roster = kept.roster
        self._firewall.keep(roster.wireguard_sources, roster.admin_cidrs)
        if self._wireguard.mtu() != roster.mtu:
            self._wireguard.set_mtu(roster.mtu)
        desired = self.desired(roster)
        self.observed = dict(self._wireguard.peers())
        needed = changes(desired, self.observed, self.endpoints.known)
        if needed:
            self._wireguard.apply(needed)
            self.observed = dict(self._wireguard.peers())
        if self._applied == kept.sha256:
            self.drift_repaired += len(needed)
        self._applied = kept.sha256
        self.endpoints.remember(heard_from(self.observed), (peer.public_key for peer in desired))
        return needed

    def peer_addresses(self) -> dict[str, IPv4Address]:
        """Public key -> overlay address of this gateway's peers, by the roster."""
        if self.rosters.kept is None:
            return {}
        roster = self.rosters.kept.roster
        keys = {peer.public_key for peer in self.desired(roster)}
        return {node.public_key: node.address for node in roster.nodes if node.public_key in keys}

    def peer_status(self, healthy: set[IPv4Address]) -> list[dict[str, Any]]:
        """The peers as ``GET /v1/status`` tells them, in the roster's order. ``handshake_age`` is in seconds."""
        if self.rosters.kept is None:
            return []
        addresses, now = self.peer_addresses(), time.time()
        found: list[dict[str, Any]] = []
        for node in self.rosters.kept.roster.nodes:
            if node.public_key not in addresses:
                continue
            state = self.observed.get(node.public_key)
            found.append(
                {
                    "name": node.name,
                    "public_key": node.public_key,
                    "address": str(node.address),
                    "endpoint": state.endpoint if state else None,
                    "handshake_age": round(max(0.0, now - state.handshake), 1) if state and state.handshake else None,
                    "rx": state.received if state else 0,
                    "tx": state.sent if state else 0,
                    "healthy": node.address in healthy,
                }
            )
        return found
