"""Machines whose interfaces shake hands, route and drop as WireGuard's do, with the real code that changes keys."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from node import config as machine
from node import joining
from node.gateway.audit import Audit
from node.gateway.directory import Directory
from node.gateway.exchange import SILENCE_SECONDS
from node.gateway.network import Network
from node.gateway.rotation import Rotation
from node.keys import public_key
from node.neighbour_document import NEIGHBOUR, parse_neighbour
from node.network.agent import Myself, NetworkAgent, Parts
from node.network.kept import State
from node.network_document import parse_document, request_body
from node.tunnels.own import KEYS as KEYS_FILE
from node.tunnels.own import OwnKeys
from node.tunnels.routes import Route
from node.tunnels.tunnels import Tunnels
from node.tunnels.turn import Turn
from node.wireguard import Change, PeerState, WireGuardError
from overlay.model import WG_PORT, Node
from overlay.roster import Roster
from overlay.topology import Peering, gateway_of
from tests.node.gateways import KEYS, SPOKE_KEYS
from tests.node.network_support import MemoryAddresses6, MemoryNames, MemorySegments
from tests.node.support import MemoryFirewall, MemoryWireGuard, Stack, Time, signed

PROBE_SECONDS = 5.0
"""From a gateway's start until it knows who answers."""
ASK_SECONDS = 0.5
"""Between two questions of a node while there is news: a gateway answers two a second."""


class MemoryDevice(MemoryWireGuard):
    """An interface with a key of its own. ``sessions`` are by peer; what is lost with a key or a peer is lost."""

    def __init__(self, private: str | None = None, port: int | None = None) -> None:
        super().__init__()
        self.private = private
        self.port = port
        self.sessions: dict[str, object] = {}

    def public_key(self) -> str | None:
        return None if self.private is None else public_key(self.private)

    def set_private_key(self, private_key: str) -> None:
        self.private = private_key
        self.sessions.clear()

    def apply(self, changes: Sequence[Change]) -> None:
        super().apply(changes)
        for change in changes:
            if change.remove:
                self.sessions.pop(change.public_key, None)


class MemorySecond(MemoryDevice):
    """One that comes and goes. ``refuses`` makes it a machine that cannot make one."""

    refuses = False

    def is_there(self) -> bool:
        return self.private is not None

    def up(self, private_key: str, address: IPv4Address, port: int | None, mtu: int) -> None:
        assert address
        if self.refuses:
            raise WireGuardError("wg-quick: Operation not permitted")
        self.private, self.port, self.size, self.state = private_key, port, mtu, {}

    def down(self) -> None:
        self.private, self.state = None, {}
        self.sessions.clear()


@dataclass
class MemoryRoutes:
    """Those by the second interface count only while it is there."""

    second: MemorySecond
    routes: set[Route] = field(default_factory=set[Route])

    def observed(self) -> Set[Route]:
        return {route for route in self.routes if route.interface != "wg1" or self.second.is_there()}

    def keep(self, desired: Set[Route], sources: Mapping[int, IPv4Address | IPv6Address]) -> None:
        assert sources[4]
        self.routes = set(desired)


class Box:
    """A machine: what outlives its agent, and the agent. ``node`` is in the world's roster."""

    def __init__(self, world: World, node: Node, enrolment: str) -> None:
        self.world, self.node, self.enrolment = world, node, enrolment
        self.state = world.folder / node.name
        self.state.mkdir()
        self.is_up = True
        self.skew = 0.0
        """Seconds by which its clock is ahead."""
        self.second = MemorySecond()
        self.routes = MemoryRoutes(self.second)
        self.first = MemoryDevice()

    @property
    def devices(self) -> tuple[MemoryDevice, MemoryDevice]:
        return self.first, self.second

    @property
    def own(self) -> OwnKeys:
        return self.tunnels.own

    def clock(self) -> float:
        return self.world.time.clock() + self.skew

    def boot(self) -> None:
        """The interfaces as first boot's configuration has them, and the agent."""
        self.second.down()
        self.routes.routes.clear()
        self.first = MemoryDevice(self.enrolment, WG_PORT if self.node.role == "gateway" else None)
        self.start()

    def start(self) -> None:
        """The agent begins; the interfaces are as they were."""
        own = OwnKeys(self.state / KEYS_FILE, lambda: self.enrolment, self.clock)
        own.load(int((self.clock() - 1000) * 1000))
        self.tunnels = Tunnels(self.first, self.second, self.routes, own, self.world.time.ticks)

    def device_to(self, address: IPv4Address) -> MemoryDevice:
        """Where the routes lead: the most specific one wins, and the first interface has all of the overlay."""
        fitting = [route for route in self.routes.observed() if address in IPv4Network(route.prefix)]
        best = max(fitting, key=lambda route: IPv4Network(route.prefix).prefixlen, default=Route("", "wg0"))
        return self.second if best.interface == "wg1" else self.first


class GatewayBox(Box):
    def start(self) -> None:
        super().start()
        time, control = self.world.time, (self.node.address, 8443)
        config = machine.Config("gateway", self.node.name, control, self.world.stack.public_key, self.state, self.state)
        rotation = Rotation(self.tunnels, self.node.name, self.state, wall=self.clock, ticks=time.ticks)
        self._started = time.ticks()
        self.rotation = rotation
        self.heard: dict[str, float] = {}
        self.network = Network(config, self.tunnels, MemoryFirewall(), self.clock, time.ticks, rotation)
        self.network.load()
        audit = Audit(self.state / "audit.jsonl")
        rotation.tell = audit.write
        self.directory = Directory(self.network, self.enrolment, audit, self._keep, lambda: None)
        assert self.network.rosters.offer(*signed(self.world.stack, self.world.roster))[0] in (200, 201)

    async def _keep(self) -> None:
        self.network.neighbours.save(self.node.name, self.network.reports.all)

    def tick(self) -> None:
        up = [box for box in self.world.boxes.values() if box.is_up and box is not self]
        is_known = self.world.time.ticks() - self._started > PROBE_SECONDS
        self.rotation.healthy = {box.node.address for box in up} if is_known else set()
        self.network.reconcile()

    def exchange(self) -> None:
        """Ask each other gateway, on the internet where the tunnel is silent, as ``node.gateway.exchange`` does."""
        ticks = self.world.time.ticks()
        for other in self.world.gateways():
            if other is self or not other.is_up:
                continue
            by_tunnel = self.world.is_whole(self, other)
            if not by_tunnel and ticks - self.heard.setdefault(other.node.name, ticks) < SILENCE_SECONDS:
                continue
            self.heard[other.node.name] = ticks
            known = self.network.neighbours.answers.get(other.node.name)
            claim = joining.possession(self.enrolment, other.node.public_key, NEIGHBOUR)
            who = str(self.node.address) if by_tunnel else self.node.name
            told = other.directory.neighbour(who, claim, known.version if known else None, by_tunnel=by_tunnel)
            if told is not None:
                self.network.neighbours.take(parse_neighbour(told))

    def close(self) -> None:
        self.network.leases.close()


class SpokeBox(Box):
    def boot(self) -> None:
        super().boot()
        gateway = self.world.gateway_of(self.node)
        whole = frozenset({str(self.world.roster.network.overlay)})
        self.first.state[gateway.public_key] = PeerState(gateway.public_key, gateway.endpoint, whole, 0, 0, 0, 25)

    def start(self) -> None:
        super().start()
        time = self.world.time
        trust = self.world.stack.trust(self.state)
        trust.load()
        self.turn = Turn(self.tunnels, self.state, self.clock, time.ticks)
        parts = Parts(self.tunnels, MemoryAddresses6(), MemorySegments(), MemoryNames(), self.turn)
        gateway = self.world.gateway_of(self.node)
        me = Myself(self.node.name, self.node.address, gateway.address)
        state = State(self.state / "network.json", trust, time.ticks)
        self.agent = NetworkAgent(state, trust, parts, lambda: me, lambda: None, self.clock, time.ticks)
        self.agent.load()
        self._heard, self._asked = time.ticks(), float("-inf")

    def tick(self) -> None:
        self.agent.round()

    def ask(self) -> None:
        """Ask through the tunnel, and after a while on the internet, as ``node.network.asker`` does."""
        request = self.agent.request()
        gateway = next(each for each in self.world.gateways() if each.node.address == self.agent.controls()[0])
        ticks = self.world.time.ticks()
        if request is None or not gateway.is_up or ticks - self._asked < ASK_SECONDS:
            return
        body, self._asked = request_body(request), ticks
        if self.world.is_whole(self, gateway):
            self._heard = ticks
            self.agent.find()
            answer = gateway.directory.ask(str(self.node.address), None, body, by_tunnel=True)
        elif ticks - self._heard > 15:
            self.agent.lose()
            claim = joining.possession(self.enrolment, gateway.node.public_key, body)
            answer = gateway.directory.ask("203.0.113.9", claim, body, by_tunnel=False)
        else:
            return
        self.agent.take(parse_document(asyncio.run(_awaited(answer))), request)


async def _awaited(answer: object) -> bytes:
    return await answer  # type: ignore[misc, no-any-return]


class World:
    """The machines of ``roster``, a star or sites. ``seed`` decides in which order they act."""

    def __init__(self, folder: Path, stack: Stack, roster: Roster, seed: int) -> None:
        self.folder, self.stack, self.roster = folder, stack, roster
        self.time, self.random = Time(), random.Random(seed)
        self.boxes: dict[str, Box] = {}
        for node in roster.nodes:
            keys = KEYS if node.role == "gateway" else SPOKE_KEYS
            kind = GatewayBox if node.role == "gateway" else SpokeBox
            self.boxes[node.name] = kind(self, node, keys[node.site][0])
        for box in self.boxes.values():
            box.boot()
        for gateway in self.gateways():
            follow_roster(gateway)

    def gateways(self) -> list[GatewayBox]:
        return [box for box in self.boxes.values() if isinstance(box, GatewayBox)]

    def spokes(self) -> list[SpokeBox]:
        return [box for box in self.boxes.values() if isinstance(box, SpokeBox)]

    def gateway_of(self, node: Node) -> Node:
        return gateway_of(self.roster.network, self.roster.nodes, node.site)

    def push(self, roster: Roster) -> None:
        """The stack tells every gateway."""
        self.roster = roster
        for gateway in self.gateways():
            assert gateway.network.rosters.offer(*signed(self.stack, roster))[0] == 201

    @property
    def peering(self) -> Peering:
        return Peering(self.roster.network, self.roster.nodes)

    def pairs(self) -> list[tuple[Box, Box]]:
        """Those who are each other's peers, one way and the other."""
        ends: list[tuple[Box, Box]] = [(spoke, self.boxes[self.gateway_of(spoke.node).name]) for spoke in self.spokes()]
        own = {box.node.name: {peer.public_key for peer in self.peering.of(box.node)} for box in self.gateways()}
        ends += [
            (one, other)
            for one in self.gateways()
            for other in self.gateways()
            if other.node.public_key in own[one.node.name]
        ]
        return [*ends, *((other, one) for one, other in ends)]

    def step(self) -> None:
        """Everybody that is up acts once, in some order, and hands are shaken wherever they can be."""
        jobs = [box.tick for box in self.boxes.values() if isinstance(box, (GatewayBox, SpokeBox)) and box.is_up]
        jobs += [spoke.ask for spoke in self.spokes() if spoke.is_up]
        jobs += [gateway.exchange for gateway in self.gateways() if gateway.is_up]
        self.random.shuffle(jobs)
        for job in jobs:
            job()
            self.shake()
            self.look()
        self.time.go(0.2)

    def look(self) -> None:
        """What is asserted after each act; a test sets it."""

    def shake(self) -> None:
        """Hands are shaken by each two interfaces that have each other as peers, if one of them calls."""
        up = [(box, device) for box in self.boxes.values() if box.is_up for device in box.devices if device.private]
        for index, (box, device) in enumerate(up):
            for other, far in up[index + 1 :]:
                mine, theirs = device.public_key(), far.public_key()
                if box is other or mine is None or theirs is None:
                    continue
                here, there = device.state.get(theirs), far.state.get(mine)
                is_done = theirs in device.sessions and device.sessions[theirs] is far.sessions.get(mine)
                if here is None or there is None or is_done:
                    continue
                if _calls(here, far) or _calls(there, device):
                    device.sessions[theirs] = far.sessions[mine] = object()
                    device.state[theirs] = here._replace(handshake=int(box.clock()))
                    far.state[mine] = there._replace(handshake=int(other.clock()))

    def passes(self, source: Box, target: Box) -> bool:
        """Whether a packet from one machine's own address gets to its peer's."""
        device = source.device_to(target.node.address)
        chosen = _towards(device, target.node.address)
        session = device.sessions.get(chosen or "")
        for far in target.devices:
            key = next((key for key, each in far.sessions.items() if session is not None and each is session), None)
            if key is not None:
                return _towards(far, source.node.address) == key
        return False

    def is_whole(self, one: Box, other: Box) -> bool:
        return self.passes(one, other) and self.passes(other, one)

    def settles(self, steps: int = 400) -> int:
        """Steps until nobody changes keys any more, and all know each other's."""
        for step in range(steps):
            if self.is_settled():
                return step
            self.step()
        raise AssertionError({name: (box.own.keys, box.first.public_key()) for name, box in self.boxes.items()})

    def is_settled(self) -> bool:
        return all(
            not box.own.is_turning
            and not box.second.is_there()
            and not box.routes.observed()
            and box.first.private == box.own.first
            for box in self.boxes.values()
        ) and all(self.is_whole(*pair) for pair in self.pairs())

    def close(self) -> None:
        for gateway in self.gateways():
            gateway.close()


def follow_roster(gateway: GatewayBox) -> None:
    kept = gateway.network.rosters.kept
    assert kept
    gateway.network.leases.follow(kept.roster, {})
    gateway.network.reconcile()


def _calls(peer: PeerState, far: MemoryDevice) -> bool:
    """Whether ``peer`` is called where ``far`` listens."""
    return peer.endpoint is not None and (far.port is None or peer.endpoint.endswith(f":{far.port}"))


def _towards(device: MemoryDevice, address: IPv4Address) -> str | None:
    found = [
        (network.prefixlen, key)
        for key, state in device.state.items()
        for network in map(IPv4Network, state.allowed_ips)
        if address in network
    ]
    return max(found, default=(0, None))[1]
