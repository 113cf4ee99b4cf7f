"""Which peers answer through the tunnel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Set
from ipaddress import IPv4Address
from typing import Protocol

MISSES = 2
"""Probes in a row that a healthy peer may leave unanswered before it counts as unhealthy, itself included."""


class Probe(Protocol):
    """Sends one echo request to each address, and tells who has answered since it was last asked."""

    def send(self, addresses: Iterable[IPv4Address]) -> None: ...

    def answered(self) -> Set[IPv4Address]: ...


class Health:
    """The outcome of the probes; a peer is healthy from its first answer until two probes in a row find none.

    ``clock`` is monotonic, in seconds.
    """

    def __init__(self, probe: Probe, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe = probe
        self._clock = clock
        self._heard: set[IPv4Address] = set()
        self._misses: dict[IPv4Address, int] = {}
        self._silent_since: dict[IPv4Address, float] = {}

    def collect(self) -> None:
        """Take in the answers that have come."""
        self._heard |= self._probe.answered()

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
        self._heard -= targets
        self._probe.send(targets)

    def unknown(self, addresses: Set[IPv4Address]) -> Set[IPv4Address]:
        """Those that no round has had yet."""
        return addresses - self._misses.keys()

    def keep(self, addresses: Set[IPv4Address]) -> None:
        """Forget all but these."""
        for address in self._misses.keys() - addresses:
            del self._misses[address]
            self._silent_since.pop(address, None)
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
