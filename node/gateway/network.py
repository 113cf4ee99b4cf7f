"""What a gateway does to its network: the interface and the firewall are made equal to the roster and the leases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from node.config import Config
from node.firewall import Firewall
from node.gateway.endpoints import Endpoints
from node.gateway.found import Found
from node.gateway.lease import Lease
from node.gateway.leases import Leases
from node.gateway.neighbours import Neighbours
from node.gateway.planning import Plan
from node.gateway.reports import Reports
from node.gateway.revocations import Revocations
from node.gateway.rosters import Rosters
from node.gateway.rotation import Rotation
from node.neighbour_document import NeighbourLease
from node.network_words import Report
from node.reconcile import Wanted, changes, differences, heard_from, wanted
from node.trust.trust import Trust
from node.wireguard import Change, PeerState, WireGuard
from overlay.links import is_in_own_range, is_translated
from overlay.model import EXTERNAL, LINK_KEEPALIVE, Node, Peer

HOLD_SECONDS = 0.3
"""How long a spoke that goes to another gateway keeps its way here after the answer: so that the answer gets back."""


class Network:
    """One gateway's interface and firewall, and the roster, leases and reports they follow.

    Only one caller at a time plans, reconciles or applies; everything else may be called meanwhile. ``clock`` gives
    seconds since 1970, ``ticks`` monotonic ones.
    """

    def __init__(
        self,
        config: Config,
        wireguard: WireGuard,
        firewall: Firewall,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        rotation: Rotation | None = None,
    ) -> None:
        """``rotation`` is how keys change, on an interface that ``wireguard`` knows under the keys of enrolment."""
        self.config = config
        self.rotation = rotation
        self.trust = Trust.of(config)
        self.rosters = Rosters(config.state / "roster.json", config.name, self.trust)
        self.leases = Leases(config.state / "leases.db", clock)
        self.endpoints = Endpoints(config.state / "endpoints.json")
        self.neighbours = Neighbours(config.state / "neighbours.json", ticks)
        self.reports = Reports()
        self.revocations = Revocations(config.state / "revocations.json")
        self.whole = Plan(config.name, self.leases, self.neighbours, self.reports, self.revocations)
        self.observed: dict[str, PeerState] = {}
        self.seen: dict[str, str] = {}
        """Node -> endpoint of those that hang here and can be called, in a mesh. Replaced, never changed."""
        self.everywhere: dict[str, str] = {}
        """The same of all nodes, as their gateways see them."""
        self.drift_repaired = 0
        self.found = Found()
        self._clock = clock
        self.ticks = ticks
        self._wireguard = wireguard
        self._firewall = firewall
        self.applied: str | None = None
        """Digest of the roster that the interface follows."""
        self._candidates: dict[str, Wanted] = {}
        self._pending: set[str] = set()
        """Public keys whose peers may differ from the plan because leases or reports changed."""
        self._held: dict[str, tuple[str, float]] = {}
        """Spokes on their way to another gateway: where they hang until when (ticks). Only :meth:`hold` sets it."""

    def load(self, *, read_only: bool = False) -> None:
        """Read the state; StateError when the roster or the leases cannot be used."""
        self.trust.load(read_only=read_only)
        self.rosters.load()
        self.revocations.load()
        self.leases.open(read_only=read_only)
        self.endpoints.load()
        if self.rotation:
            self.rotation.load()
        self.reports.take(self.neighbours.load().values())
        if not read_only:
            # What another gateway has told once, it does not tell again while it has nothing new.
            for answer in self.neighbours.answers.values():
                self.revocations.merge(answer.revocations)

    def member_peers(self, lease: Lease) -> list[Peer]:
        """The peers of a lease's machine: those it is told when it joins."""
        member = self.whole.node_of(lease)
        return self.whole.peering.of(member) if member and self.whole.peering else []

    def plan(self) -> Mapping[str, Wanted]:
        """Public key -> the peer that this gateway should have. Computed anew only where something has changed."""
        kept = self.rosters.kept
        if kept is None:
            return {}
        now = self.ticks()
        holding = {name: where for name, (where, until) in self._held.items() if now < until}
        self._pending |= self.whole.follow(kept, holding)
        return self.whole.desired

    def hold(self, name: str, gateway: str) -> None:
        """Let a spoke hang on ``gateway`` for a moment yet, whatever it has reported."""
        now = self.ticks()
        held = {each: held for each, held in self._held.items() if now < held[1]}
        self._held = {**held, name: (gateway, now + HOLD_SECONDS)}

    def reconcile(self) -> list[Change]:
        """Make the network equal to roster and leases, and say what was changed on the interface.

        The firewall comes first: nobody may speak before the rules say so. Without a roster nothing is touched.
        """
        kept = self.rosters.kept
        if kept is None:
            self.observed = dict(self._wireguard.peers())
            return []
        roster = kept.roster
        if changed := self._firewall.keep(roster, self.config.name):
            self.found.firewall.append(changed)
        if self._wireguard.mtu() != roster.mtu:
            self._wireguard.set_mtu(roster.mtu)
        self.plan()
        if self.rotation:
            self.rotation.know(self)
        self.observed = dict(self._wireguard.peers())
        self._look()
        desired = {**self._candidates, **self.plan()}
        needed = changes(desired, self.observed, self.endpoints.known)
        if needed:
            self._wireguard.apply(needed)
            self._note(needed, desired)
        if self.applied == kept.sha256:
            drifted = [change.public_key for change in needed if change.public_key not in self._pending]
            self.found.repaired += drifted
            self.drift_repaired += len(drifted)
        self.applied = kept.sha256
        self._pending = set()
        if self.rotation:
            self.rotation.follow(self, desired)
        self.found.moved += self.endpoints.remember(heard_from(self.observed), desired.keys())
        self.neighbours.save(self.config.name, self.reports.all)
        return needed

    def _look(self) -> None:
        """See where nodes are seen from, and have those as peers that are to come here."""
        seen = self._sight()
        others = [] if seen is None else [answer.seen for answer in self.neighbours.answers.values()]
        everywhere = {name: at for each in (*others, seen or {}) for name, at in each.items()}
        if (seen or {}) != self.seen:
            self.seen = seen or {}
        if everywhere != self.everywhere:
            self.everywhere = everywhere
        old = self._candidates
        self._candidates = {
            node.public_key: wanted(Peer(node.public_key, node.endpoint, (), LINK_KEEPALIVE))
            for node in self.whole.awaited()
        }
        self._pending |= old.keys() ^ self._candidates.keys()

    def take_reports(self, reports: Sequence[Report]) -> set[str]:
        """Keep what is newer than what is known: the nodes that hang elsewhere, or have other links, now."""
        before = self.reports.version
        changed = self.reports.take(reports)
        if self.reports.version != before:
            self.neighbours.changed()
        return changed

    def _sight(self) -> dict[str, str] | None:
        """Where those that hang here are seen from and others may call them; None but in a mesh.

        All nodes are told of each change, so not of a translator's ports, where nobody else is answered, nor of where
        people's laptops are: machines of external sites have no links.
        """
        kept = self.rosters.kept
        if kept is None or kept.roster.network.topology != "mesh":
            return None
        external = {site.name for site in kept.roster.network.sites if site.cloud == EXTERNAL}
        return {
            node.name: state.endpoint
            for node in self.whole.nodes()
            if node.role == "spoke"
            and node.site not in external
            and self.whole.gateway_of(node) == self.config.name
            and (state := self.observed.get(node.public_key))
            and state.endpoint
            and state.handshake
            and (is_in_own_range(state.endpoint) or not is_translated(state.endpoint))
        }

    def apply_leases(self) -> list[Change]:
        """Bring only those peers to the interface whose leases have changed, without looking at the others."""
        if self.applied is None:
            return []
        desired = self.plan()
        pending = self._pending - {node.public_key for node in self.declared()}
        needed = [Change(key, remove=True) for key in sorted(pending - desired.keys()) if key not in self._candidates]
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
        """Whether the lease's peer is on the interface, as far as this end knows; who hangs elsewhere needs none."""
        if not self.hangs_here(lease.public_key):
            return lease.public_key in self.whole.members
        state = self.observed.get(lease.public_key)
        return state is not None and f"{lease.address}/32" in state.allowed_ips

    def hangs_here(self, public_key: str) -> bool:
        """Whether the machine of a lease hangs on this gateway; also said of one that is not planned yet."""
        node = self.whole.members.get(public_key)
        return node is None or self.whole.gateway_of(node) == self.config.name

    def hanging_here(self) -> dict[str, IPv4Address]:
        """Name -> overlay address of the spokes that hang on this gateway."""
        own = self.config.name
        return {
            node.name: node.address
            for node in self.whole.nodes()
            if node.role == "spoke" and self.whole.gateway_of(node) == own
        }

    def is_home(self, pool: str) -> bool:
        """Whether the machines of ``pool`` join here."""
        kept = self.rosters.kept
        return kept is not None and pool in kept.homes and kept.homes[pool].name == self.config.name

    def leases_of(self, pool: str) -> Sequence[Lease | NeighbourLease]:
        """The live leases of ``pool``, of whichever gateway."""
        if self.is_home(pool):
            return self.leases.of_pool(pool)
        return [lease for lease in self.whole.elsewhere.values() if lease.member.pool == pool]

    @property
    def serving_version(self) -> tuple[int, int]:
        """Another one after each change of a lease, of whichever gateway, or of who is cut off."""
        return self.leases.version, self.whole.elsewhere_version + self.revocations.version

    def declared(self) -> list[Node]:
        """The declared nodes but this one and those that are cut off, in the roster's order."""
        kept, bars = self.rosters.kept, self.revocations.bars
        nodes = () if kept is None else kept.roster.nodes
        return [node for node in nodes if node.name != self.config.name and not bars(node)]

    def addresses(self) -> list[IPv4Address]:
        """The overlay addresses of all that are probed: declared nodes, machines of pools that join or hang here."""
        own = [lease.address for lease in self.leases.live()]
        guests = [lease.address for key, lease in self.whole.elsewhere.items() if key in self.whole.desired]
        return [*(node.address for node in self.declared()), *own, *guests]

    @property
    def keys_told(self) -> object:
        """Another value whenever the other gateways are to be told something of keys."""
        return (self.rotation.own, self.rotation.gateways_on_second(self)) if self.rotation else None

    def greetable(self, made: Sequence[Change]) -> list[IPv4Address]:
        """The overlay addresses of the peers that came or changed by ``made``."""
        addresses = {node.public_key: node.address for node in self.whole.nodes()}
        return [addresses[each.public_key] for each in made if not each.remove and each.public_key in addresses]

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
        """The other declared nodes as ``GET /v1/status`` tells them, in the roster's order."""
        return [
            {
                "name": node.name,
                "public_key": node.public_key,
                "address": str(node.address),
                **self.told(node.public_key),
                "healthy": node.address in healthy,
            }
            for node in self.declared()
        ]

    def status(self) -> dict[str, Any]:
        """``topology``, ``attached``, ``links``, ``neighbours`` and ``rotation`` of ``GET /v1/status``."""
        kept = self.rosters.kept
        if kept is None:
            return {"topology": None, "attached": {}, "links": [], "neighbours": {}, "rotation": None}
        is_mesh = kept.roster.network.topology == "mesh"
        return {
            "topology": kept.roster.network.topology,
            "attached": self.whole.attached,
            "links": self.reports.pairs() if is_mesh else [],
            "neighbours": self.neighbours.status(kept.gateways.keys() - {self.config.name}),
            "rotation": self.rotation.status(self) if self.rotation else None,
        }
