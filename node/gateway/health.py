"""Which peers answer through the tunnel, and after how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Set
from ipaddress import IPv4Address
from typing import Protocol

MISSES = 4
"""Probes in a row that a healthy peer may leave unanswered before it counts as unhealthy, itself included."""
LATE_SECONDS = 0.9
"""Who has not answered a probe for this long is probed again at once: so that the probes in a row take about a second
each, and not as long as the time between two probes of a peer that answers."""
_SLOWER, _FASTER = 0.25, 0.5
"""How much a longer, and a shorter, round-trip time counts against those before: the first waits for a handshake."""


class Probe(Protocol):
    """Sends one echo request to each address, and tells who has answered since it was last asked.

    With whoever has answered comes its round-trip time in seconds, or None when that is not known.
    """

    def send(self, addresses: Iterable[IPv4Address]) -> None: ...

    def answered(self) -> Mapping[IPv4Address, float | None]: ...


class Health:
    """The outcome of the probes; a peer is healthy from its first answer until four probes in a row find none.

    ``clock`` is monotonic, in seconds.
    """

    def __init__(self, probe: Probe, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe = probe
        self._clock = clock
        self._heard: set[IPv4Address] = set()
        self._misses: dict[IPv4Address, int] = {}
        self._silent_since: dict[IPv4Address, float] = {}
        self._asked: dict[IPv4Address, float] = {}
        """When a healthy peer's last probe was sent, while it is unanswered."""
        self._rtt: dict[IPv4Address, float] = {}

    def collect(self) -> None:
        """Take in the answers that have come."""
        for address, took in self._probe.answered().items():
            self._heard.add(address)
            self._asked.pop(address, None)
            if took is not None:
                before = self._rtt.get(address, took)
                self._rtt[address] = before + (_SLOWER if took > before else _FASTER) * (took - before)

    def round(self, addresses: Iterable[IPv4Address]) -> None:
        """Close the last round of these and begin their next one."""
        self.collect()
        targets, now = set(addresses), self._clock()
        for address in targets:
            if address in self._heard:
                self._misses[address] = 0
                self._silent_since.pop(address, None)
            else:
                self._misses[address] = self._misses.get(address, MISSES) + 1
                if self._misses[address] >= MISSES:
                    self._silent_since.setdefault(address, now)
                    self._rtt.pop(address, None)
            if self._misses[address] < MISSES:
                self._asked[address] = now
            else:
                self._asked.pop(address, None)
        self._heard -= targets
        self._probe.send(targets)

    def late(self) -> set[IPv4Address]:
        """Healthy peers whose last probe is not answered yet, although it should be."""
        self.collect()
        before = self._clock() - LATE_SECONDS
        return {address for address, asked in self._asked.items() if asked <= before}

    def unknown(self, addresses: Set[IPv4Address]) -> Set[IPv4Address]:
        """Those that no round has had yet."""
        return addresses - self._misses.keys()

    def keep(self, addresses: Set[IPv4Address]) -> None:
        """Forget all but these."""
        for address in (self._misses.keys() | self._rtt.keys()) - addresses:
            self._misses.pop(address, None)
            self._silent_since.pop(address, None)
            self._asked.pop(address, None)
            self._rtt.pop(address, None)
        self._heard &= addresses

    def greet(self, addresses: Iterable[IPv4Address]) -> None:
        """Send a probe out of turn: to a new peer it opens the tunnel, which would else wait for the peer's own try."""
        self._probe.send(addresses)

    def healthy(self) -> set[IPv4Address]:
        """Who is healthy now; an answer counts as soon as it is here."""
        self.collect()
        found = {address for address, misses in self._misses.items() if misses < MISSES}
        return found | (self._heard & self._misses.keys())

    def silence(self, address: IPv4Address) -> float:
        """For how many seconds a peer has been unhealthy; 0 for one that is healthy or was not probed yet."""
        since = self._silent_since.get(address)
        return 0.0 if since is None or address in self._heard else self._clock() - since

    def silent(self) -> dict[IPv4Address, float]:
        """All that are unhealthy after a probe, with the seconds that :meth:`silence` tells."""
        self.collect()
        now = self._clock()
        return {each: now - since for each, since in self._silent_since.items() if each not in self._heard}

    def rtt(self, address: IPv4Address) -> float | None:
        """A peer's smoothed round-trip time in seconds; None for one that does not answer."""
        return self._rtt.get(address)
