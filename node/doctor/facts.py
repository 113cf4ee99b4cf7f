"""What the doctor knows of a machine: plain data, so that every rule can be tried without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Literal

SESSION_SECONDS = 180
"""Age from which WireGuard takes no packet under a handshake (REJECT_AFTER_TIME in its paper)."""

REKEY_SECONDS = 120
"""Age from which WireGuard makes another handshake when there is something to send (REKEY_AFTER_TIME)."""

Answer = Literal["yes", "refused", "silent"]


@dataclass(frozen=True)
class Reach:
    """What echo requests (ICMP) to one address came to. ``rtts`` are seconds, of those that were answered."""

    sent: int
    rtts: tuple[float, ...] = ()

    @property
    def lost(self) -> int:
        return self.sent - len(self.rtts)

    @property
    def answers(self) -> bool:
        return bool(self.rtts)

    @property
    def loss(self) -> float:
        """The part that was lost, from 0 to 1."""
        return self.lost / self.sent if self.sent else 0.0

    @property
    def middle(self) -> float:
        """The median round trip in seconds; 0 without any answer."""
        return sorted(self.rtts)[len(self.rtts) // 2] if self.rtts else 0.0

    def text(self) -> str:
        if not self.rtts:
            return f"none of {self.sent} pings answered"
        return f"{len(self.rtts)} of {self.sent} pings answered, {self.middle * 1000:.1f} ms in the middle"


@dataclass(frozen=True)
class Way:
    """How a peer's machine answers outside of the tunnel, at the host of its endpoint.

    ``control`` is its control plane (TCP 8443, gateways alone); ``tunnel_port`` what a datagram to its WireGuard port
    met: WireGuard itself is silent to strangers, a machine without it refuses.
    """

    host: str
    ping: Reach
    control: Answer | None = None
    tunnel_port: Answer | None = None


@dataclass(frozen=True)
class PeerFacts:
    """One peer: what it should be by the network's document, and what the interface and the probes say.

    ``public_key`` is the one that it uses now, ``endpoint`` where this machine calls it, None for one that calls by
    itself. ``is_present`` tells whether the
    interface has its key, ``may_be_off`` whether its silence is nobody's fault, as a laptop's. ``seen_endpoints`` are
    all that the interface had during the look, ``missing_allowed`` the prefixes that it has not. ``handshake_age`` is
    in seconds, None for never. ``again`` are pings once more, after some were lost; ``full`` are pings as large as the
    tunnel's MTU, and ``largest`` is the largest packet (bytes) that passed once these did not.
    """

    name: str
    role: str
    address: IPv4Address
    public_key: str
    endpoint: str | None = None
    is_present: bool = True
    may_be_off: bool = False
    seen_endpoints: tuple[str, ...] = ()
    missing_allowed: tuple[str, ...] = ()
    handshake_age: int | None = None
    reach: Reach = field(default_factory=lambda: Reach(0))
    again: Reach | None = None
    full: Reach | None = None
    largest: int | None = None
    way: Way | None = None
    routed_by: str | None = None
    """The device by which this machine sends to ``address``; None where there is no route."""
    routed_as: str | None = None
    """The prefix of that route."""
    has_route: bool = True
    """Whether a route into the tunnel leads to ``address``, be it that another one is in its way."""

    @property
    def has_session(self) -> bool:
        return self.handshake_age is not None and self.handshake_age < SESSION_SECONDS

    @property
    def is_lossy(self) -> bool:
        """Whether some pings pass and some do not, at both looks."""
        looks = (self.reach, self.again or Reach(0))
        return self.reach.answers and all(look.lost >= 2 for look in looks)

    @property
    def is_unwell(self) -> bool:
        """Whether something of what is sent to it is lost."""
        return not self.reach.answers or self.is_lossy or (self.full is not None and not self.full.answers)


@dataclass(frozen=True)
class Tunnel:
    """The interface: ``is_up`` by ip(8), ``addresses`` its IPv4 ones, ``public_key`` its own; ``strangers`` are the
    keys of peers that the network knows nothing of."""

    is_up: bool
    mtu: int
    addresses: tuple[IPv4Address, ...]
    public_key: str
    port: int
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expected:
    """What this machine should be: by its roster, or by first boot's files where it has none (``number`` 0).

    ``is_listed`` tells whether the roster has it; ``refusal`` is the gateway's reason when it was asked on the internet
    and did not know it.
    """

    address: IPv4Address | None
    public_key: str | None
    mtu: int | None
    number: int = 0
    is_listed: bool = True
    is_revoked: bool = False
    refusal: str | None = None
    domain: str = ""
    others: Mapping[IPv4Address, str] = field(default_factory=dict[IPv4Address, str])
    """Everybody else's overlay address -> name."""


@dataclass(frozen=True)
class Unit:
    """A service: systemd's words for it. ``is_stopped`` when a process of it is (``SIGSTOP``)."""

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    restarts: int = 0
    is_stopped: bool = False


@dataclass(frozen=True)
class Release:
    """``running`` is the number of the release that runs, ``newest`` of the newest on disk, ``offered`` the gateway's,
    0 for none; ``failed`` says why the newest was given up here."""

    running: int = 0
    newest: int = 0
    offered: int = 0
    failed: str | None = None


@dataclass(frozen=True)
class Disk:
    """The file system of the state folder: bytes and inodes that are left; ``refusal`` is what a small file met."""

    path: str
    free: int
    total: int
    inodes: int
    refusal: str | None = None


@dataclass(frozen=True)
class Drop:
    """A rule of the firewall at which a packet of the tunnel ends, or may end where only some do (``certain`` False).

    ``text`` is the rule as nft(8) prints it.
    """

    table: str
    chain: str
    handle: int
    text: str
    packet: str
    certain: bool


@dataclass(frozen=True)
class Rules:
    """The firewall. ``drops`` are rules that take packets of the tunnel; ``lacking`` and ``added`` what our own table
    has less and more than first boot's file; ``is_missing`` when it is not there at all; ``wrong_sets`` those that do
    not follow the roster."""

    drops: tuple[Drop, ...] = ()
    is_missing: bool = False
    lacking: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    wrong_sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filter:
    """Return path filtering: device -> mode in effect (1 is strict), and how many packets it took during the look."""

    modes: Mapping[str, int] = field(default_factory=dict[str, int])
    taken: int = 0


@dataclass(frozen=True)
class Names:
    """How the overlay's names are asked for. ``servers`` are the tunnel's in systemd-resolved, ``resolver`` its unit's
    state; ``asked`` is the name, ``here`` what this machine's resolver made of it, ``there`` what the gateway's own DNS
    did; None where it was not asked."""

    resolver: str | None = None
    servers: tuple[str, ...] = ()
    asked: str = ""
    wanted: str = ""
    here: str | None = None
    there: str | None = None


@dataclass(frozen=True)
class Facts:
    """Everything. ``uplink`` is the device that leads out of this machine, None without a way out.

    ``skew`` is this machine's clock less its gateway's, in seconds. ``certificate`` is why the gateway's certificate
    was not believed. ``journal`` are the agent's last lines.
    """

    name: str
    role: str
    expected: Expected
    tunnel: Tunnel | None
    peers: tuple[PeerFacts, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=dict[str, Unit])
    release: Release = field(default_factory=Release)
    disk: Disk | None = None
    rules: Rules = field(default_factory=Rules)
    filter: Filter = field(default_factory=Filter)
    names: Names = field(default_factory=Names)
    forwarding: bool | None = None
    conntrack: tuple[int, int] | None = None
    """Flows that are tracked now, and how many can be."""
    uplink: str | None = "eth0"
    skew: float | None = None
    certificate: str | None = None
    answers: bool | None = None
    """On a gateway, whether its own control plane answers."""
    is_healthy: bool | None = None
    """On a gateway, what its control plane says of itself."""
    beyond: tuple[tuple[str, Reach], ...] = ()
    """On a spoke, other nodes that the gateway leads to, and what pings to them came to."""
    journal: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    """What could not be looked at, and why."""

    @property
    def gateways(self) -> list[PeerFacts]:
        return [peer for peer in self.peers if peer.role == "gateway"]

    @property
    def unwell(self) -> list[PeerFacts]:
        """The peers to which something is lost, but for those that may be off."""
        return [peer for peer in self.peers if peer.is_unwell and not peer.may_be_off]

    @property
    def silent(self) -> list[PeerFacts]:
        """Those of them of which nothing comes back at all."""
        return [peer for peer in self.unwell if not peer.reach.answers]


@dataclass(frozen=True)
class Cause:
    """A finding: ``cause`` is its short name for programs, ``likelihood`` a percentage, ``command`` what mends it."""

    cause: str
    likelihood: int
    summary: str
    evidence: tuple[str, ...]
    command: str

    def document(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "likelihood": self.likelihood,
            "summary": self.summary,
            "evidence": list(self.evidence),
            "command": self.command,
        }
