"""What has happened at a gateway since its service's start, in numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import get_args

from node.gateway.lease import Kind

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper bounds in seconds of what a reconcile takes; one that takes longer is in none of them."""


def is_offer(status: int) -> bool:
    """Whether it was the stack that offered a roster which was answered with ``status``.

    Anybody on the internet can send one that it did not sign (403), and every node has had older ones (409).
    """
    return status not in (403, 409)


class Counts:
    """``clock`` gives seconds since 1970, as are all times here; what is None has not happened.

    ``roster_accepted`` is when the roster was taken that was there at the start.
    """

    def __init__(self, roster_accepted: float | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._refusals: dict[Kind, int] = dict.fromkeys(get_args(Kind), 0)
        self._buckets = dict.fromkeys(BUCKETS, 0)
        self.reconciles = 0
        self.reconcile_seconds = 0.0
        """What all successful reconciles have taken together."""
        self.reconciled: float | None = None
        """When the last one succeeded."""
        self.roster_offered = roster_accepted
        self.roster_accepted = roster_accepted
        self.rosters_refused = 0

    def refuse(self, kind: Kind) -> None:
        """Somebody was refused something."""
        self._refusals[kind] += 1

    def reconcile(self, seconds: float) -> None:
        """The network was made equal to what it should be."""
        self.reconciles += 1
        self.reconcile_seconds += seconds
        self.reconciled = self._clock()
        for bound in BUCKETS:
            self._buckets[bound] += seconds <= bound

    def offer_roster(self, status: int) -> None:
        """A roster was answered with ``status``; what anybody can send (:func:`is_offer`) is no offer of a roster."""
        if is_offer(status):
            self.roster_offered = self._clock()
        if status < 400:
            self.roster_accepted = self.roster_offered
        else:
            self.rosters_refused += 1

    @property
    def refusals(self) -> Mapping[Kind, int]:
        """How many there were of each kind."""
        return dict(self._refusals)

    @property
    def buckets(self) -> Mapping[float, int]:
        """How many successful reconciles have taken so many seconds at most."""
        return dict(self._buckets)
