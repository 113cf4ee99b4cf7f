"""One machine in the network: makes its interface what its gateway tells, and says how its links are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Interface
from typing import NamedTuple

from node.links import SESSION_SECONDS, LinkWatch, Sight
from node.log import say
from node.names import Names
from node.network import addresses6, plan
from node.network.addresses6 import Addresses6
from node.network.kept import Kept, State, accept
from node.network.plan import Plan
from node.network_document import NetworkDocument, Request, roster_digest
from node.network_words import NO_KEYS, Keys, Report
from node.reconcile import Wanted, changes, differences, heard_from, wanted
from node.segments import Segments
from node.trust.trust import Trust
from node.tunnels.tunnels import Place
from node.tunnels.turn import Turn
from node.wireguard import Change, PeerState, WireGuard, WireGuardError
from overlay.addresses import address6
from overlay.model import Node, Peer, gateways_of
from overlay.topology import TopologyError, endpoint_for

SETTLE_SECONDS = 8.0
"""Between two looks at what others may have changed beside the peers, which takes several commands."""


NOBODY = Sight(frozenset(), frozenset())


class Myself(NamedTuple):
    """Who a machine is on the overlay, and the address of a gateway's control plane there for a start."""

    name: str
    address: IPv4Address
    control: IPv4Address


@dataclass(frozen=True)
class Parts:
    """What of its machine an agent changes. ``turn`` is how it changes its keys, None for one that does not."""

    wireguard: WireGuard
    addresses6: Addresses6
    segments: Segments
    names: Names
    turn: Turn | None = None


class NetworkAgent:
    """Every method may be called from any thread.

    ``myself`` says who the machine is, None while it has no tunnel to look after. ``changed`` is called when there is
    something new to be reported.
    """

    def __init__(
        self,
        state: State,
        trust: Trust,
        parts: Parts,
        myself: Callable[[], Myself | None],
        changed: Callable[[], None],
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._trust = trust
        self._parts = parts
        self._turn = parts.turn
        self._myself = myself
        self._changed = changed
        self._wall = wall
        self._ticks = ticks
        self._lock = threading.RLock()
        self._name = ""
        self._watch = LinkWatch("", wall, ticks)
        self._nodes: tuple[Kept, tuple[Node, ...]] | None = None
        self._known: Kept | None = None
        """Whose keys the interface goes by."""
        self._plan: Plan | None = None
        self._wanted: tuple[Plan, Set[str], Set[str], dict[str, Wanted]] | None = None
        self._stamp = 0
        self._report: Report | None = None
        self._is_lost = False
        self._is_called_anew = False
        self._needs_roster = False
        self._settled: tuple[object, float] = (None, 0.0)
        self._problems: dict[str, str] = {}

    def load(self) -> None:
        """Read what was kept before, for the first round."""
        self._state.load()
        if self._state.kept is not None:
            self._trust.believe(self._state.kept.roster.authorities)

    def myself(self) -> Myself | None:
        return self._myself()

    def address(self) -> IPv4Address | None:
        """Where the machine stands on the overlay; None while it has no tunnel to look after."""
        me = self._myself()
        return None if me is None else me.address

    @property
    def kept(self) -> Kept | None:
        """What is known of the network at present."""
        return self._state.kept

    def round(self) -> None:
        """Make the interface what it should be; to be called every second. Without a document it is left alone."""
        with self._lock:
            try:
                self._round()
            except (WireGuardError, OSError, TopologyError) as error:
                self._tell("interface", f"the tunnel cannot be kept as the network needs it: {error}")
            else:
                self._problems.pop("interface", None)

    def _round(self) -> None:
        me = self._myself()
        kept = None if me is None else self._kept(me)
        if me is None or kept is None:
            self._plan = self._report = None
            return
        if self._turn is not None and self._known is not kept:
            self._turn.tunnels.know(plan.keys_in_use(kept))
            self._known = kept
        observed = self._parts.wireguard.peers()
        made = self._made(kept, me, observed)
        if made is None:
            return
        is_turning = self._turn is not None and self._turn.is_on
        # Who changes its key has no direct links: their other ends would have to change in the same moment.
        sight = NOBODY if is_turning else self._watch.look(observed, made.partners)
        desired = self._desired(made, kept.document.links & sight.up, sight.up | sight.trying)
        called = {key for key, peer in desired.items() if peer.endpoint is None}
        remembered = {key: endpoint for key, endpoint in self._state.endpoints.items() if key in called}
        needed = changes(desired, observed, remembered) + self._called_anew(made, observed)
        if needed:
            self._parts.wireguard.apply(plan.in_order(needed, made.gateway.public_key))
        mtu = kept.roster.mtu
        if self._parts.wireguard.mtu() != mtu:
            self._parts.wireguard.set_mtu(mtu)
        self._state.heard(heard_from(observed), desired.keys())
        self._change_keys(made, desired)
        self._note(made, sight, observed)

    def _change_keys(self, made: Plan, desired: Mapping[str, Wanted]) -> None:
        """Go on with a change of keys, of this machine or of its gateway."""
        if self._turn is None:
            return
        gateways = {gateway.public_key for gateway in gateways_of(made.nodes)}
        place = Place.of(made.kept.roster, made.me)
        self._turn.tunnels.follow(desired, place, gateways, is_ready=self._turn.is_ready)
        may_begin = made.gateway.name == made.target.name and not self._is_lost
        turn = self._turn
        # Keys that cannot be written keep nobody from saying where it hangs.
        self._try("the machine's key", lambda: turn.step(made.gateway, may_begin=may_begin))

    def _kept(self, me: Myself) -> Kept | None:
        """What is known by this machine; what another one knew that had its disk is of no use."""
        if self._name != me.name:
            self._name, self._watch = me.name, LinkWatch(me.name, self._wall, self._ticks)
        if self._state.kept is not None and self._state.kept.name != me.name:
            self._state.forget()
        return self._state.kept

    def _made(self, kept: Kept, me: Myself, observed: Mapping[str, PeerState]) -> Plan | None:
        if self._nodes is None or self._nodes[0] is not kept:
            self._nodes = kept, kept.nodes
        nodes = self._nodes[1]
        node = next((node for node in nodes if node.name == me.name and node.address == me.address), None)
        if node is None:
            self._tell("place", f"the network has no {me.name} at {me.address}: the tunnel is left as it is")
            self._plan = self._report = None
            return None
        self._problems.pop("place", None)
        gateways = {gateway.name: gateway for gateway in gateways_of(kept.roster.nodes)}
        gateway = gateways.get(self._state.gateway) or plan.hanging(nodes, observed) or plan.target_of(kept, node)
        if self._plan is None or self._plan.kept is not kept or self._plan.gateway != gateway:
            self._state.hang_on(gateway.name)
            self._plan = plan.make(kept, nodes, node, gateway)
        return self._plan

    def _desired(self, made: Plan, active: Set[str], tried: Set[str]) -> dict[str, Wanted]:
        if self._wanted is None or self._wanted[0] is not made or self._wanted[1:3] != (active, tried):
            self._wanted = made, active, tried, made.peers(active, tried)
        return self._wanted[3]

    def _called_anew(self, made: Plan, observed: Mapping[str, PeerState]) -> list[Change]:
        """The gateway's endpoint again, for a machine that has lost it: it may have moved."""
        endpoint, state = endpoint_for(made.me, made.gateway), observed.get(made.gateway.public_key)
        is_needed = self._is_called_anew and endpoint is not None and state is not None and state.endpoint != endpoint
        self._is_called_anew = False
        return [Change(made.gateway.public_key, endpoint=endpoint)] if is_needed else []

    def _note(self, made: Plan, sight: Sight, observed: Mapping[str, PeerState]) -> None:
        """Report what has changed: the links, and that the machine is about to hang on another gateway."""
        gateway = made.gateway
        if gateway.name != made.target.name:
            state = observed.get(made.target.public_key)
            is_ready = state is not None and state.handshake > 0 and self._wall() - state.handshake < SESSION_SECONDS
            if is_ready or self._is_lost:
                gateway = made.target
            else:
                self._tell("handover", f"no handshake with {made.target.name} yet, so {gateway.name} stays the gateway")
        keys, on_second, identity = NO_KEYS, False, None
        if self._turn is not None:
            keys, identity = self._turn.tunnels.own.keys, self._turn.tunnels.own.identity
            on_second = made.gateway.public_key in self._turn.tunnels.view.on_second
        stamp = max(self._stamp + 1, int(self._wall() * 1000))
        report = Report(made.me.name, stamp, gateway.name, tuple(sorted(sight.up)), keys, on_second, identity)
        if self._report is None or replace(self._report, stamp=stamp) != report:
            self._stamp, self._report = stamp, report
            self._changed()

    def settle(self) -> None:
        """Make what is beside the peers fit, too: the IPv6 address, the groups and where names are asked for."""
        with self._lock:
            made = self._plan
        if made is None:
            return
        about, now = (made.kept.signed, made.me, made.gateway), self._ticks()
        if self._settled[0] == about and now - self._settled[1] < SETTLE_SECONDS:
            return
        self._settled = about, now
        network, nodes = made.kept.roster.network, made.kept.roster.nodes
        own6 = None
        if network.overlay6 is not None:
            own6 = IPv6Interface((address6(network.overlay6, made.me.address), network.overlay6.prefixlen))
        self._try("IPv6", lambda: addresses6.keep(self._parts.addresses6, own6))
        self._try("groups", lambda: self._parts.segments.keep(network, nodes, made.me))
        others = [gateway for gateway in gateways_of(nodes) if gateway.name != made.gateway.name]
        self._parts.names.keep(network, [gateway.address for gateway in (made.gateway, *others)])

    def request(self) -> Request | None:
        """What to ask now; None while there is nobody to ask for."""
        with self._lock:
            me = self._myself()
            if me is None:
                return None
            kept = self._state.kept if self._state.kept and self._state.kept.name == me.name else None
            digest = None if kept is None or self._needs_roster else roster_digest(kept.signed.body)
            report = self._report if self._report and self._report.name == me.name else None
            return Request(me.name, digest, report)

    def take(self, document: NetworkDocument, asked: Request) -> None:
        """Follow ``document``, the answer to ``asked``; DocumentError when it is not to be believed."""
        with self._lock:
            me = self._myself()
            if me is None or me.name != asked.name:
                return
            self._trust.learn(document.signing)
            kept = accept(me.name, document, self._kept(me), self._trust.is_signed)
            self._needs_roster = False
            self._state.take(kept)
            if self._turn is not None:
                self._turn.hear(document)
            self._trust.believe(kept.roster.authorities)
            report = asked.report
            if report is not None and document.known == report.stamp:
                self._hand_over(kept, report.gateway)
            elif report is not None and document.known > report.stamp:
                # The clock went back meanwhile, and gateways take the newest report alone.
                self._stamp, self._report = max(self._stamp, document.known), None
            self._is_called_anew = self._is_lost
            self.round()

    def _hand_over(self, kept: Kept, gateway: str) -> None:
        """Hang on ``gateway``, since the gateways know of it, and send there what comes from now on."""
        before = self._state.gateway
        if gateway != before and any(each.name == gateway for each in gateways_of(kept.roster.nodes)):
            self._state.hang_on(gateway)
            self._plan = None
            self._problems.pop("handover", None)
            self._changed()
            say(f"the gateway is {gateway} now, no longer {before}")

    def ask_for_roster(self) -> None:
        """Have the next answer hold the roster, whatever this machine has."""
        with self._lock:
            self._needs_roster = True

    def lose(self) -> None:
        """No gateway is reached through the tunnel: whatever becomes known counts, without a handshake before."""
        with self._lock:
            self._is_lost = True
            self.round()

    def peers(self) -> Mapping[str, PeerState]:
        """What the interface has at present, by enrolment key; WireGuardError."""
        with self._lock:
            return self._parts.wireguard.peers()

    @property
    def key_made(self) -> float | None:
        """When the machine's present key was made, in seconds since 1970; None where keys are not changed."""
        return None if self._turn is None else self._turn.tunnels.own.made / 1000

    @property
    def is_turning(self) -> bool:
        """Whether keys change, so that there is something to do all the time."""
        turn = self._turn
        return turn is not None and (turn.is_on or bool(turn.tunnels.book.turning()))

    @property
    def is_linked(self) -> bool:
        """Whether others are watched, which takes a look each second."""
        made = self._plan
        return made is not None and bool(made.partners or made.gateway.name != made.target.name)

    def find(self) -> None:
        """The gateway answers through the tunnel."""
        with self._lock:
            self._is_lost = False

    def join(self, name: str, peers: Sequence[Peer], moved: Set[str], used: Mapping[str, str]) -> None:
        """Have ``peers``, as a gateway has just told the machine ``name``; WireGuardError, OSError.

        Those of the public keys ``moved`` are called where they stand there now. ``used`` are the keys that some use
        in the place of these.
        """
        with self._lock:
            if self._turn is not None:
                self._turn.forget()
                self._turn.tunnels.know({key: Keys(other) for key, other in used.items()})
            kept, keys = self._state.kept, {peer.public_key for peer in peers}
            if kept is not None:
                gateways = [each for each in gateways_of(kept.roster.nodes) if each.public_key in keys]
                if kept.name == name and gateways:
                    self._state.hang_on(gateways[0].name)
                else:
                    self._state.forget()
                self._plan = self._report = None
            observed = self._parts.wireguard.peers()
            needed = differences(map(wanted, peers), observed, {})
            anew = [Change(peer.public_key, endpoint=peer.endpoint) for peer in peers if peer.public_key in moved]
            if needed or anew:
                self._parts.wireguard.apply(needed + anew)

    def controls(self) -> list[IPv4Address]:
        """The overlay addresses of the gateways' control planes, the one first that the machine hangs on."""
        with self._lock:
            me, made = self._myself(), self._plan
            if me is None or made is None:
                return [] if me is None else [me.control]
            declared = [gateway.address for gateway in gateways_of(made.kept.roster.nodes)]
            return list(dict.fromkeys([made.gateway.address, *declared]))

    def public(self) -> list[tuple[str, str]]:
        """(endpoint, public key) of every gateway, the one first on which this machine should hang.

        Where this machine calls it comes before where others do: it may have IPv6 alone, or stand in its network.
        """
        with self._lock:
            made = self._plan
            if made is None:
                return []
            gateways = [made.target, made.gateway, *gateways_of(made.kept.roster.nodes)]
            own = [(endpoint_for(made.me, gateway), gateway.public_key) for gateway in gateways]
            others = [(gateway.endpoint, gateway.public_key) for gateway in gateways]
            return [(endpoint, key) for endpoint, key in dict.fromkeys([*own, *others]) if endpoint is not None]

    def _try(self, about: str, job: Callable[[], object]) -> None:
        try:
            job()
        except (WireGuardError, OSError) as error:
            self._tell(about, f"{about} cannot be kept on this machine: {error}")
        else:
            self._problems.pop(about, None)

    def _tell(self, about: str, problem: str) -> None:
        """Say what is wrong, once until it is something else."""
        if problem != self._problems.get(about):
            say(problem)
        self._problems[about] = problem
