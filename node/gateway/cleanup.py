"""Which silent machines' leases end, and when none may: a gateway that is cut off itself must not forget its pools."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from ipaddress import IPv4Address

from node.gateway.lease import Lease

ANNOUNCE_SECONDS = 15.0
"""A pause is told of when it has lasted this long: a restart begins with one, until the first answers."""
JUMP_SECONDS = 5.0
"""How far the wall clock may run from the monotonic one between two looks before it counts as set."""


class Cleanup:
    """Looks, every few seconds, whose time is over. ``clock`` gives seconds since 1970, ``ticks`` monotonic ones."""

    def __init__(self, clock: Callable[[], float], ticks: Callable[[], float]) -> None:
        self._clock = clock
        self._ticks = ticks
        self._since = clock()
        """Nobody's silence counts from before: the service's start, the end of a pause, or a clock that was set."""
        self._offset = clock() - ticks()
        self._paused_at: float | None = None
        self.pause: str | None = None
        """Why nobody's lease ends at present, when that has lasted for a while."""

    def due(
        self,
        leases: Sequence[Lease],
        ttls: Mapping[str, int],
        handshakes: Mapping[str, int],
        healthy: Set[IPv4Address],
        spokes: Collection[IPv4Address],
    ) -> list[Lease]:
        """The leases whose time is over. ``ttls`` is by pool; ``handshakes`` by public key, in seconds since 1970.

        ``spokes`` are the addresses of the declared nodes that this gateway has as peers.
        """
        now, offset = self._clock(), self._clock() - self._ticks()
        if abs(offset - self._offset) > JUMP_SECONDS:
            self._since = now
        self._offset = offset
        why = self._why_not(leases, healthy, spokes)
        if why:
            if self._paused_at is None:
                self._paused_at = self._ticks()
            self.pause = why if self._ticks() - self._paused_at >= ANNOUNCE_SECONDS else None
            return []
        if self._paused_at is not None:
            self._paused_at, self.pause, self._since = None, None, now
        return [
            lease
            for lease in leases
            if lease.address not in healthy
            and now - max(handshakes.get(lease.public_key, 0), lease.joined, self._since)
            > ttls.get(lease.pool, float("inf"))
        ]

    @staticmethod
    def _why_not(leases: Sequence[Lease], healthy: Set[IPv4Address], spokes: Collection[IPv4Address]) -> str | None:
        """Without leases there is nothing to be kept from, though everybody else may be off, or boot just now."""
        peers = [*spokes, *(lease.address for lease in leases)]
        return "no peer answers" if leases and healthy.isdisjoint(peers) else None
