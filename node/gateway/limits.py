"""How often somebody may fail: a token bucket for each, and no more memory than for so many of them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

_SITE_BITS = 64
"""One machine can have every address of an IPv6 subnet (RFC 4291, section 2.5.4)."""


class Buckets:
    """A bucket for each key: ``burst`` at once, and ``rate`` a second in the long run.

    At most ``room`` keys are remembered; the one that was not heard of for longest is forgotten first.
    """

    def __init__(
        self, burst: float, rate: float, room: int = 4096, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._rate = rate
        self._room = room
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def _level(self, key: str) -> float:
        level, at = self._levels.get(key, (self._burst, 0.0))
        return min(self._burst, level + max(0.0, self._clock() - at) * self._rate)

    def wait(self, key: str) -> float:
        """Seconds until ``key`` may again; 0 when it may now."""
        return max(0.0, 1.0 - self._level(key)) / self._rate

    def take(self, key: str) -> bool:
        """Take one from the bucket; whether there was one."""
        level = self._level(key)
        self._levels[key] = (level - 1.0 if level >= 1.0 else level, self._clock())
        self._levels.move_to_end(key)
        if len(self._levels) > self._room:
            self._levels.popitem(last=False)
        return level >= 1.0

    def __len__(self) -> int:
        return len(self._levels)


def source_of(address: str) -> str:
    """Whom an address is counted for: itself, or the /64 of an IPv6 one."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        shift = 128 - _SITE_BITS
        return str(IPv6Address(int(found) >> shift << shift))
    return str(found)
