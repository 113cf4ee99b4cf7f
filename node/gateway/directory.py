"""What a gateway tells of the network: to the nodes, and to the other gateways."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Container
from dataclasses import replace
from ipaddress import IPv4Address

from node import joining
from node.gateway.audit import Audit
from node.gateway.lease import Lease, Refusal
from node.gateway.limits import Buckets
from node.gateway.network import Network
from node.gateway.rosters import Kept
from node.neighbour_document import NEIGHBOUR, Neighbour, NeighbourLease, neighbour_body
from node.network_document import NetworkDocument, Own, Packed, Request, SignedRoster, parse_request
from node.network_words import LATEST, NO_KEYS, DocumentError, Member, Report
from overlay.model import Node

_LATEST = LATEST // 2
"""No report has a later stamp: one that counts for more has to be possible."""
Pressing = tuple[object, ...]
"""What a node is told to ask for at once; equal to what was told before if there is nothing."""


class Directory:
    """Answers for ``network``.

    ``private_key`` is the gateway's own WireGuard key; without it neither other gateways are answered, nor whoever asks
    from the internet.
    ``keep`` brings reports to the disk; ``on_report`` is called after some node hangs elsewhere or has other links.
    """

    def __init__(
        self,
        network: Network,
        private_key: str | None,
        audit: Audit,
        keep: Callable[[], Awaitable[None]],
        on_report: Callable[[], None],
    ) -> None:
        self._network = network
        self._private_key = private_key
        self._audit = audit
        self._keep = keep
        self._on_report = on_report
        self._asked = Buckets(20, 2.0, clock=network.ticks)
        """How often a node asks, by name: an answer is large."""
        self._strangers = Buckets(60, 1.0)
        """Failures by source, of those on the internet."""
        self._packed: tuple[object, Packed] | None = None
        self._neighbour: tuple[object, str, bytes] | None = None
        self._start = secrets.token_hex(4)
        """Tells the versions of this process from those of an earlier one."""
        self.told: dict[str, Pressing] = {}
        """What each node was told last."""

    # Nodes.

    async def ask(self, source: str, possession: str | None, body: bytes, *, by_tunnel: bool) -> bytes:
        """The network as the node is told that asks from ``source``; Refusal."""
        kept = self._kept()
        if by_tunnel:
            # Before anything is read: whoever has a tunnel has no more of this than is its share.
            node = self._admitted(self._at(kept, IPv4Address(source)), "no node has this address")
            request = _parsed(body)
        else:
            request = _parsed(body)
            holder = self._possessor(kept, request.name, possession, body)
            node = self._admitted(holder, "not the holder of a node's key")
        if node.name != request.name:
            raise Refusal(403, "name: not the node of this address")
        if request.report is not None:
            await self._take(kept, node, request.report)
        packed, links = self._shared(kept), self._links_of(kept, node.name)
        self.told[node.name] = self.pressing(node.name)
        newest = self._network.reports.of(node.name)
        own = self._own(node, links, newest.stamp if newest else 0)
        version = f"{packed.digest[:16]}.{_digest(repr(replace(own, known=0)))[:8]}"
        return packed.body(version, own, with_roster=request.roster != kept.sha256)

    def _admitted(self, node: Node | None, why_not: str) -> Node:
        """The node, if it may ask now; Refusal. From a gateway's address come its site's own machines, too."""
        if node is None or node.role == "gateway":
            raise Refusal(403, why_not)
        if self._network.revocations.bars(node):
            raise Refusal(403, "this node was revoked", kind="revoked")
        if not self._asked.take(node.name):
            raise Refusal(429, "this node asks too often", int(self._asked.wait(node.name)) + 1)
        return node

    def _kept(self) -> Kept:
        kept = self._network.rosters.kept
        if kept is None:
            raise Refusal(503, "no roster yet", 2)
        return kept

    def _at(self, kept: Kept, address: IPv4Address) -> Node | None:
        """Who has an overlay address: a declared node, or the machine of a live lease."""
        node = kept.by_address.get(address)
        if node is not None:
            return node
        own = self._network.leases.at(address)
        key = own.public_key if own and own.state != "left" else self._network.whole.guest_at(address)
        return self._network.whole.members.get(key) if key else None

    def _possessor(self, kept: Kept, name: str, possession: str | None, body: bytes) -> Node | None:
        """The declared node that shows that it holds its key; None for anybody else."""
        node = next((node for node in kept.roster.nodes if node.name == name), None)
        return node if node is not None and self._is_held(node, possession, body) else None

    def _is_held(self, node: Node, possession: str | None, body: bytes) -> bool:
        """Whether ``possession`` of ``body`` was made with the node's private key."""
        if self._private_key is None:
            return False
        try:
            return joining.is_possessed(possession, self._private_key, node.public_key, body)
        except joining.JoinError:
            return False

    def failed(self, source: str, refusal: Refusal, **about: str | None) -> Refusal:
        """Count and log what ``source`` on the internet was refused: what it is answered."""
        wait = self._strangers.wait(source)
        if wait > 0:
            refusal = Refusal(429, "too many failed attempts", int(wait) + 1)
        elif refusal.status not in (429, 503):
            self._strangers.take(source)
        self._audit.refuse(source, status=refusal.status, reason=refusal.reason, **about)
        return refusal

    async def _take(self, kept: Kept, node: Node, report: Report) -> None:
        """Keep what a node says of itself. One that goes elsewhere has its way for the answer a moment longer.

        Every gateway keeps all reports and tells them on, so none with more links than there are nodes is taken.
        """
        if len(report.links) > len(self._network.whole.nodes()) or report.stamp > _LATEST:
            return
        rotation = self._network.rotation
        if rotation is not None and rotation.is_anothers(node.name, report.keys):
            return
        where = self._network.whole.gateway_of(node) if node.role == "spoke" else None
        before = self._network.reports.of(node.name)
        if not self._network.take_reports([report]):
            return
        if where is not None and report.gateway in kept.gateways and report.gateway != where:
            self._network.hold(node.name, where)
            await self._keep()
            self._network.hold(node.name, where)
        elif before is None or before.keys != report.keys:
            # Whoever starts again has to know by which key the node is reached.
            await self._keep()
        self._on_report()

    def _links_of(self, kept: Kept, name: str) -> frozenset[str]:
        return self._network.reports.links_of(name) if kept.roster.network.topology == "mesh" else frozenset()

    def _own(self, node: Node, links: frozenset[str], known: int) -> Own:
        rotation, key = self._network.rotation, node.public_key
        if rotation is None:
            return Own(links, known)
        asked = rotation.rotate_asked(node.name)
        return Own(links, known, rotation.applied(key), rotation.is_on_second(key), asked)

    def pressing(self, name: str) -> Pressing:
        """What the node is to be told without delay; another value whenever it should ask anew."""
        kept, rotation = self._kept(), self._network.rotation
        digest = self._shared(kept).digest if kept.roster.network.topology == "mesh" else kept.sha256
        if rotation is None:
            return digest, self._links_of(kept, name)
        # In a mesh they are in the digest.
        shown = {} if kept.roster.network.topology == "mesh" else rotation.shown(self._network)
        keys = tuple(sorted(shown.items(), key=lambda each: each[0]))
        identity = rotation.identity(name)
        own = rotation.applied(identity), rotation.is_on_second(identity), rotation.rotate_asked(name)
        return digest, self._links_of(kept, name), keys, own

    def forget_all_but(self, names: Container[str]) -> None:
        """Forget what nodes were told last that hang here no more."""
        self.told = {name: what for name, what in self.told.items() if name in names}

    def _shared(self, kept: Kept) -> Packed:
        whole, seen = self._network.whole, self._network.everywhere
        trust = self._network.trust
        rotation = self._network.rotation
        keys = rotation.shown(self._network) if rotation else {}
        key = kept.sha256, kept.signature, trust.handovers, whole.version, seen, keys
        if self._packed is None or self._packed[0] != key:
            members = tuple(whole.all_members())
            roster = SignedRoster(kept.body, kept.signature)
            self._packed = (
                key,
                Packed(NetworkDocument("-", kept.sha256, roster, members, seen, keys=keys, signing=trust.handovers)),
            )
        return self._packed[1]

    def node_at(self, address: IPv4Address) -> Node | None:
        """Who has an overlay address now."""
        kept = self._network.rosters.kept
        return None if kept is None else self._at(kept, address)

    def admit(self, name: str, possession: str | None) -> None:
        """Refusal for who is on the internet and does not show that it is the declared node ``name``."""
        self._admitted(self._possessor(self._kept(), name, possession, b""), "not the holder of a node's key")

    # Other gateways.

    def neighbour(self, who: str, possession: str | None, after: str | None, *, by_tunnel: bool) -> bytes | None:
        """What another gateway is told, or None when it has it already; Refusal.

        ``who`` is its overlay address, or on the internet its name. It shows that it holds its key, since machines of
        its site's own network come from its address, too.
        """
        kept = self._kept()
        asker = kept.by_address.get(IPv4Address(who)) if by_tunnel else kept.gateways.get(who)
        if asker is None or asker.role != "gateway" or asker.name == self._network.config.name:
            raise Refusal(403, "only another gateway")
        if not self._is_held(asker, possession, NEIGHBOUR):
            raise Refusal(403, f"{joining.POSSESSION}: not by the holder of the gateway's key")
        network, rotation = self._network, self._network.rotation
        own, identity = (rotation.own, rotation.tunnels.own.identity) if rotation else (NO_KEYS, None)
        on_second = tuple(rotation.gateways_on_second(network)) if rotation else ()
        versions = network.leases.version, network.reports.version, network.revocations.version
        key = versions, network.seen, kept.sha256, own, on_second
        if self._neighbour is None or self._neighbour[0] != key:
            version = f"{self._start}.{_digest([repr(key)])[:16]}"
            leases = tuple(told for lease in network.leases.live() if (told := self._told(lease)))
            reports, revoked = network.reports.all(), network.revocations.all
            made = Neighbour(
                network.config.name, version, leases, network.seen, reports, own, on_second, revoked, identity
            )
            self._neighbour = key, version, neighbour_body(made)
        _, version, body = self._neighbour
        return None if after == version else body

    def _told(self, lease: Lease) -> NeighbourLease | None:
        node = self._network.whole.node_of(lease)
        if node is None:
            return None
        member = Member(lease.name, lease.pool, node.site, lease.address, lease.public_key, node.group, node.lan)
        return NeighbourLease(member, lease.state, lease.weight)


def _parsed(body: bytes) -> Request:
    try:
        return parse_request(body)
    except DocumentError as error:
        raise Refusal(400, str(error)) from None


def _digest(found: object) -> str:
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
