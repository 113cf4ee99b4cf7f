"""What the tests of a machine in the network share: its parts in memory, and gateways that tell what they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Interface
from pathlib import Path

from node import joining, keys
from node.control import Reply
from node.network.agent import Myself, NetworkAgent, Parts
from node.network.asker import Asker, Doorway
from node.network.bell import Bell
from node.network.kept import State
from node.network_document import NetworkDocument, Request, SignedRoster, document_body, parse_request, roster_digest
from node.network_words import Member, Report
from node.wireguard import Change, PeerState, WireGuard, WireGuardError
from overlay.model import Network, Node, Site
from overlay.roster import Roster
from overlay.signing import Handover
from tests.node.support import MemoryWireGuard, Stack, Time, key, signed

OVERLAY = IPv4Network("10.100.0.0/16")
ADDRESSES = {"root": "10.100.0.1", "gw-b": "10.100.2.254"}
PUBLIC = {"root": "198.51.100.1", "gw-b": "198.51.100.2"}


def private(name: str) -> str:
    """The private key of a node of :func:`three_sites`."""
    return key(f"{name}, private")


@lru_cache
def public(name: str) -> str:
    """Its public key."""
    return keys.public_key(private(name))


@dataclass
class MemoryAddresses6:
    """``refuses`` makes it a machine without IPv6."""

    addresses: set[IPv6Interface] = field(default_factory=set[IPv6Interface])
    refuses: bool = False

    def there(self) -> Set[IPv6Interface]:
        return set(self.addresses)

    def add(self, address: IPv6Interface) -> None:
        if self.refuses:
            raise WireGuardError("ip -6 address: RTNETLINK answers: Permission denied")
        self.addresses.add(address)

    def remove(self, address: IPv6Interface) -> None:
        self.addresses.remove(address)


@dataclass
class MemorySegments:
    kept: list[tuple[Network, str]] = field(default_factory=list[tuple[Network, str]])

    def keep(self, network: Network, nodes: Sequence[Node], me: Node) -> bool:
        assert me.role == "spoke"
        assert any(node.role == "gateway" for node in nodes)
        self.kept.append((network, me.name))
        return True


@dataclass
class MemoryNames:
    servers: list[IPv4Address] = field(default_factory=list[IPv4Address])

    def keep(self, network: Network, servers: Sequence[IPv4Address]) -> bool:
        assert network.domain
        self.servers = list(servers)
        return True


def memory_parts(wireguard: WireGuard) -> Parts:
    return Parts(wireguard, MemoryAddresses6(), MemorySegments(), MemoryNames())


class CryptokeyRouting(MemoryWireGuard):
    """An interface that is asked after every change of a peer whether ``prefix`` still leads somewhere."""

    def __init__(self, prefix: str = str(OVERLAY)) -> None:
        super().__init__()
        self._prefix = prefix
        self.calls: list[list[Change]] = []
        self.gaps: list[Change] = []

    def apply(self, changes: Sequence[Change]) -> None:
        self.calls.append(list(changes))
        for change in changes:
            had = self.leads_to(self._prefix)
            super().apply([change])
            if had and self.leads_to(self._prefix) is None:
                self.gaps.append(change)

    def leads_to(self, prefix: str) -> str | None:
        """The public key of the peer that has ``prefix``."""
        return next((key_ for key_, state in self.state.items() if prefix in state.allowed_ips), None)

    def shake(self, public_key: str, at: float, received: int = 100) -> None:
        """A handshake at ``at``, or bytes after it."""
        state = self.state[public_key]
        self.state[public_key] = state._replace(handshake=int(at), received=state.received + received)


def three_sites(topology: str = "hub", number: int = 1, **changes: object) -> Roster:
    """The gateways ``root`` and ``gw-b`` in the sites a and b, spokes in a, b and c, of which two can be called."""
    sites = tuple(
        Site(name, "aws", IPv4Network(f"10.100.{index}.0/24"), "x") for index, name in enumerate("abc", start=1)
    )
    nodes = [
        Node("root", "a", IPv4Address(ADDRESSES["root"]), "gateway", public("root"), f"{PUBLIC['root']}:51820"),
        Node("gw-b", "b", IPv4Address(ADDRESSES["gw-b"]), "gateway", public("gw-b"), f"{PUBLIC['gw-b']}:51820"),
        Node("b-1", "b", IPv4Address("10.100.2.1"), "spoke", public("b-1")),
        Node("a-1", "a", IPv4Address("10.100.1.1"), "spoke", public("a-1"), "203.0.113.1:51820"),
        Node("c-1", "c", IPv4Address("10.100.3.1"), "spoke", public("c-1")),
    ]
    network = Network(OVERLAY, sites, topology)
    made = Roster(number, network, 1420, tuple(nodes), (IPv4Network("0.0.0.0/0"),), (IPv4Network("203.0.113.0/24"),))
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class Gateways:
    """All gateways of a stack, which know the same at once. ``deaf`` are hosts that do not answer.

    ``links`` are the asker's that both ends confirm. ``status`` is another answer than a document.
    """

    stack: Stack
    roster: Roster
    links: frozenset[str] = frozenset()
    seen: Mapping[str, str] = field(default_factory=dict[str, str])
    members: tuple[Member, ...] = ()
    takes_reports: bool = True
    deaf: set[str] = field(default_factory=set[str])
    status: int = 200
    report: Report | None = None
    asked: list[tuple[str, Request]] = field(default_factory=list[tuple[str, Request]])
    on_ask: Callable[[], object] | None = None
    signing: tuple[Handover, ...] = ()

    def connect(self, host: str) -> Gateway:
        return Gateway(self, host)

    def document(self, request: Request) -> NetworkDocument:
        body, signature = signed(self.stack, self.roster)
        if request.report and self.takes_reports and (self.report is None or request.report.stamp > self.report.stamp):
            self.report = request.report
        return NetworkDocument(
            f"{self.roster.number}",
            roster_digest(body),
            None if request.roster == roster_digest(body) else SignedRoster(body, signature),
            self.members,
            self.seen,
            self.links,
            self.report.stamp if self.report else 0,
            signing=self.signing,
        )

    def hosts(self) -> list[str]:
        return [host for host, _ in self.asked]


@dataclass
class Gateway:
    """One of them, at a host."""

    all: Gateways
    host: str

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int,
        beat: Callable[[], None],
    ) -> Reply:
        assert (method, path) == ("POST", "/v1/network")
        assert body is not None
        beat()
        request = parse_request(body)
        self.all.asked.append((self.host, request))
        if self.all.on_ask:
            self.all.on_ask()
        if self.host in self.all.deaf:
            raise ConnectionError("timed out")
        at = next((name for name, host in PUBLIC.items() if host == self.host), None)
        claim = (headers or {}).get(joining.POSSESSION)
        if at is not None and not joining.is_possessed(claim, private(at), public("b-1"), body):
            return Reply(403, {}, b"{}")
        if self.all.status != 200:
            return Reply(self.all.status, {}, b"{}")
        answer = document_body(self.all.document(request))
        assert len(answer) < limit
        return Reply(200, {}, answer)


class Machine:
    """The spoke ``b-1`` of :func:`three_sites` with its clock, its interface as wg-quick left it, and its gateways."""

    def __init__(self, folder: Path, stack: Stack, roster: Roster | None = None) -> None:
        self.folder = folder
        self.stack = stack
        self.time = Time()
        self.wireguard = CryptokeyRouting()
        self.gateways = Gateways(stack, roster or three_sites())
        self.changes = 0
        self.myself: Myself | None = Myself("b-1", IPv4Address("10.100.2.1"), IPv4Address(ADDRESSES["root"]))
        self.boot()

    def boot(self) -> None:
        """The interface is what wg-quick makes of first boot's configuration, and the agent begins."""
        self.wireguard.state = {}
        root, endpoint = public("root"), f"{PUBLIC['root']}:51820"
        self.wireguard.state[root] = PeerState(root, endpoint, frozenset({str(OVERLAY)}), 0, 0, 0, 25)
        self.start()

    def start(self) -> None:
        """The agent begins; the interface is as it was."""
        self.wireguard.calls.clear()
        trust = self.stack.trust(self.folder)
        trust.load()
        state = State(self.folder / "network.json", trust, self.time.ticks)
        self.addresses6, self.segments, self.names = MemoryAddresses6(), MemorySegments(), MemoryNames()
        parts = Parts(self.wireguard, self.addresses6, self.segments, self.names)
        self.agent = NetworkAgent(
            state, trust, parts, lambda: self.myself, self._changed, self.time.clock,
            self.time.ticks,
        )  # fmt: skip
        self.agent.load()
        self.doorway = Doorway(private("b-1"), (f"{PUBLIC['root']}:51820", public("root")))
        bell = Bell(0)
        self.asker = Asker(
            self.agent, bell, self.gateways.connect, lambda: self.doorway, threading.Event(), self.time.ticks
        )
        bell.close()

    def _changed(self) -> None:
        self.changes += 1

    def go(self, seconds: float, *, talking: Sequence[str] = ()) -> None:
        """Let time pass; from ``talking`` (node names) something comes every second while they are peers."""
        for _ in range(int(seconds)):
            self.time.go(1)
            for name in talking:
                if public(name) in self.wireguard.state:
                    self.wireguard.shake(public(name), self.time.wall)
            self.agent.round()
            self.agent.settle()

    def hangs_on(self) -> str | None:
        found = self.wireguard.leads_to(str(OVERLAY))
        return next((name for name in ADDRESSES if public(name) == found), None)

    def prefixes(self, name: str) -> set[str] | None:
        """What the interface sends to a node; None when it is no peer."""
        state = self.wireguard.state.get(public(name))
        return None if state is None else set(state.allowed_ips)
