"""Tells the gateway through the tunnel how this machine is."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from node.control import Reply
from node.health import outcome
from node.log import say

LOOK_SECONDS = 5.0
TELL_SECONDS = 60.0
"""Between two reports of the same; a gateway forgets what it has not heard for three times as long."""
PATH = "/v1/health"


class Gateway(Protocol):
    """A gateway's control plane (``node.control.ControlPlane``)."""

    def ask(self, method: str, path: str, body: bytes | None = None, /) -> Reply: ...


class Reporter:
    """``gateways`` says whom to tell, the one first that the machine hangs on; ``source`` has the last outcome."""

    def __init__(
        self,
        gateways: Callable[[], Sequence[Gateway]],
        stop: threading.Event,
        source: Path = outcome.PATH,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateways = gateways
        self._stop = stop
        self._source = source
        self._ticks = ticks
        self._told: tuple[bytes, float] | None = None
        self._problem = ""

    def run(self, beat: Callable[[], None]) -> None:
        """Until ``stop`` is set."""
        while not self._stop.is_set():
            beat()
            self.turn()
            self._stop.wait(LOOK_SECONDS * random.uniform(0.8, 1.2))

    def turn(self) -> None:
        """Tell the last outcome if it is another one, or was told long ago."""
        found = outcome.read(self._source)
        gateways = self._gateways() if found else ()
        if not found or not gateways:
            return
        body, now = json.dumps(found.document()).encode(), self._ticks()
        if self._told and self._told[0] == body and now - self._told[1] < TELL_SECONDS:
            return
        try:
            status = gateways[0].ask("POST", PATH, body).status
        except OSError as error:
            self._tell(f"the gateway cannot be told how this machine is: {error}")
            return
        # A gateway of an older release has no place for it, and another one no roster yet: later, then.
        self._told = body, now
        if status not in (204, 404, 405, 503):
            self._tell(f"the gateway does not take how this machine is: status {status}")
        else:
            self._problem = ""

    def _tell(self, problem: str) -> None:
        """Say what is wrong, once until it is something else."""
        if problem != self._problem:
            say(problem)
        self._problem = problem
