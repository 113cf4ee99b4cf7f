"""Throughput: how many bytes a second come from each peer and go to it, by looks at what the interface has counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from node.wireguard import PeerState

WINDOW_SECONDS = 3.5
"""A rate is over at least so long: what a shorter look finds jumps up and down."""


class Rate(NamedTuple):
    """Bytes a second, from a peer and to it."""

    received: float
    sent: float


STILL = Rate(0.0, 0.0)


class Rates:
    """The rates between the last two looks that were far enough apart. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: tuple[float, Mapping[str, PeerState]] | None = None
        self._moved: dict[str, Rate] = {}

    def look(self, observed: Mapping[str, PeerState]) -> None:
        """Take in the interface's peers, by public key."""
        now = self._clock()
        if self._before is None:
            self._before = now, dict(observed)
            return
        since, before = self._before
        seconds = now - since
        if seconds < WINDOW_SECONDS:
            return
        self._moved = {
            key: Rate((state.received - old.received) / seconds, (state.sent - old.sent) / seconds)
            for key, state in observed.items()
            if (old := before.get(key))
            and (state.received, state.sent) != (old.received, old.sent)
            # A peer that was made anew counts from zero.
            and state.received >= old.received
            and state.sent >= old.sent
        }
        self._before = now, dict(observed)

    def of(self, public_key: str) -> Rate:
        """A peer's rates; none for one that was not there for two looks."""
        return self._moved.get(public_key, STILL)
