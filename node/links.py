"""Which direct links of this machine are up, and which ones it tries now: from what the interface tells, and a clock.

Two nodes that try a link must do so at the same time, since each takes the other's packets only while it has it as a
peer; both know the time and each other's names, which is enough.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from node.wireguard import PeerState

SESSION_SECONDS = 180.0
"""Age from which WireGuard takes no packet under a handshake (REJECT_AFTER_TIME in its paper)."""
SILENCE_SECONDS = 10.0
"""Without a byte for this long a link is down; keepalives come every four seconds."""
TRY_SECONDS = 12.0
"""How long a try is: WireGuard calls three times in it (REKEY_TIMEOUT, five seconds, and a little)."""
PERIOD_SECONDS = 30
"""From the beginning of one try to that of the next."""


class Partner(NamedTuple):
    """A node with whom a link is worth trying, and where it is called; None when it has to call."""

    public_key: str
    endpoint: str | None


class Sight(NamedTuple):
    """By name: with whom a link is up, and whom to have as a peer without allowed-ips besides, for a try."""

    up: frozenset[str]
    trying: frozenset[str]


@dataclass
class _Seen:
    """A partner, when it or its endpoint appeared, and what its peer was at the last look (monotonic seconds)."""

    partner: Partner
    since: float
    handshake: int = 0
    shaken: float = float("-inf")
    received: int | None = None
    heard: float = float("-inf")

    def take(self, state: PeerState | None, now: float, wall: float) -> None:
        if state is None:
            self.received, self.handshake = None, 0
            return
        is_shaken = state.handshake not in (0, self.handshake)
        if is_shaken:
            # Told by the clock once, for that may be set later.
            self.shaken = now - max(wall - state.handshake, 0.0)
        # A process that begins finds links that others have seen at work; silence shows soon enough.
        if is_shaken or (self.received is not None and state.received > self.received):
            self.heard = now
        self.handshake, self.received = state.handshake, state.received

    def is_up(self, now: float) -> bool:
        return self.handshake != 0 and now - self.shaken < SESSION_SECONDS and now - self.heard < SILENCE_SECONDS


class LinkWatch:
    """The links of the node ``name``. ``wall`` are seconds since 1970, ``ticks`` a clock that is never set."""

    def __init__(
        self, name: str, wall: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._wall = wall
        self._ticks = ticks
        self._seen: dict[str, _Seen] = {}

    def look(self, observed: Mapping[str, PeerState], partners: Mapping[str, Partner]) -> Sight:
        """What holds now; to be asked every second. ``observed`` is the interface by public key.

        ``partners`` are by name all with whom a link is possible, those with one among them.
        """
        now, wall = self._ticks(), self._wall()
        seen = {name: self._known(name, partner, now) for name, partner in partners.items()}
        self._seen = seen
        up: set[str] = set()
        trying: set[str] = set()
        for name, each in seen.items():
            each.take(observed.get(each.partner.public_key), now, wall)
            if each.is_up(now):
                up.add(name)
            elif now - each.since < TRY_SECONDS or in_window(self._name, name, wall):
                trying.add(name)
        return Sight(frozenset(up), frozenset(trying))

    def _known(self, name: str, partner: Partner, now: float) -> _Seen:
        known = self._seen.get(name)
        if known is None or known.partner.public_key != partner.public_key:
            return _Seen(partner, now)
        if known.partner != partner:
            known.partner, known.since = partner, now
        return known


def in_window(one: str, other: str, wall: float) -> bool:
    """Whether two nodes try their link at ``wall`` (seconds since 1970): the same for both ends."""
    return (wall + _offset(min(one, other), max(one, other))) % PERIOD_SECONDS < TRY_SECONDS


@lru_cache(maxsize=1 << 14)
def _offset(first: str, second: str) -> int:
    """So that not all pairs try at once."""
    return int.from_bytes(hashlib.sha256(f"{first} {second}".encode()).digest()[:4], "big") % PERIOD_SECONDS
