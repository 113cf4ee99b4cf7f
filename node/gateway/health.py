"""Which peers answer through the tunnel."""

from __future__ import annotations

from collections.abc import Iterable, Set
from ipaddress import IPv4Address
from typing import Protocol

MISSES = 2
"""Probes in a row that a healthy peer may leave unanswered before it counts as unhealthy, itself included."""


class Probe(Protocol):
    """Sends one echo request to each address, and tells who has answered since it was last asked."""

    def send(self, addresses: Iterable[IPv4Address]) -> None: ...

    def answered(self) -> Set[IPv4Address]: ...


class Health:
    """The outcome of the probes; a peer is healthy from its first answer until two probes in a row find none."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._heard: set[IPv4Address] = set()
        self._misses: dict[IPv4Address, int] = {}

    def collect(self) -> None:
        """Take in the answers that have come."""
        self._heard |= self._probe.answered()

    def round(self, addresses: Iterable[IPv4Address]) -> None:
        """Close the last round and begin the next one."""
        self.collect()
        targets = set(addresses)
        for address in targets:
            self._misses[address] = 0 if address in self._heard else self._misses.get(address, MISSES) + 1
        self._misses = {address: misses for address, misses in self._misses.items() if address in targets}
        self._heard = set()
        self._probe.send(targets)

    def greet(self, addresses: Iterable[IPv4Address]) -> None:
        """Send a probe out of turn: to a new peer it opens the tunnel, which would else wait for the peer's own try."""
        self._probe.send(addresses)

    def healthy(self) -> set[IPv4Address]:
        """Who is healthy now; an answer counts as soon as it is here."""
        self.collect()
        return {address for address, misses in self._misses.items() if misses < MISSES or address in self._heard}
