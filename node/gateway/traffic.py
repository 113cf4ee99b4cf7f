"""Whose tunnel is in use: a machine that answers no echo but sends something is at work all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from node.wireguard import PeerState


class Traffic:
    """When each peer was last seen to have sent something, by looks at what the interface has counted.

    ``clock`` is monotonic, in seconds. What was before the first look at a peer is not known, and counts as traffic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved: dict[str, tuple[int, float]] = {}
        """Public key -> bytes received at the last look, and since when they are as many."""

    def look(self, observed: Mapping[str, PeerState]) -> None:
        """Take in the interface's peers, by public key; those that are not among them are forgotten."""
        now, before = self._clock(), self._moved
        self._moved = {
            key: seen if (seen := before.get(key)) and seen[0] == state.received else (state.received, now)
            for key, state in observed.items()
        }

    def silence(self, public_key: str) -> float:
        """For how many seconds nothing has come from a peer; 0 for one that no look has found yet."""
        seen = self._moved.get(public_key)
        return self._clock() - seen[1] if seen else 0.0
