"""How a machine follows the release that its gateway runs."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from node import release
from node.config import Config
from node.control import ControlPlane
from node.log import say
from node.stage0 import LIMIT

ASK_SECONDS = 10.0
CHECK_SECONDS = 30.0


class Follower:
    """Asks for a newer release every few seconds, and sets ``stop`` for one that finds itself well.

    ``gateways`` says on which ways to ask, the best one first and one at least; ``beat`` is called all the time.
    """

    def __init__(
        self,
        config: Config,
        own: int,
        gateways: Callable[[], Sequence[ControlPlane]],
        stop: threading.Event,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._own = own
        self._gateways = gateways
        self._stop = stop
        self._beat = beat
        self._problem = ""

    def run(self) -> None:
        """Until ``stop`` is set."""
        while not self._stop.is_set():
            self._beat()
            try:
                self._follow()
                self._problem = ""
            except (OSError, ValueError) as error:
                if str(error) != self._problem:
                    say(f"the gateway does not answer: {error}")
                self._problem = str(error)
            # Many machines must not ask at once.
            self._stop.wait(ASK_SECONDS * random.uniform(0.7, 1.3))

    def _follow(self) -> None:
        newest = release.newer_than(self._own)
        if newest is None:
            self._ask()
            newest = release.newer_than(self._own)
        if newest is not None and self._passes(newest):
            say(f"release {newest} is well and takes over")
            self._stop.set()

    def _ask(self) -> None:
        """Store the gateway's release if it is newer than this one, by the first way on which it answers."""
        *ways, last = self._gateways()
        for gateway in ways:
            self._beat()
            with contextlib.suppress(OSError, ValueError):
                return self._take(gateway)
        return self._take(last)

    def _take(self, gateway: ControlPlane) -> None:
        status = cast("dict[str, Any]", json.loads(self._get(gateway, "/v1/status?brief")[1]))
        running = status.get("release")
        if running and int(running["number"]) > self._own:
            code, reason = release.store(self._config.signing_public_key, *self._get(gateway, "/v1/release"))
            if code != 409:
                say(f"the gateway's release: {code} {reason}")

    def _get(self, gateway: ControlPlane, path: str) -> tuple[dict[str, str], bytes]:
        reply = gateway.ask("GET", path, limit=LIMIT, beat=self._beat)
        if reply.status != 200:
            raise ConnectionError(f"{path}: status {reply.status}")
        return dict(reply.headers), reply.body

    def _passes(self, number: int) -> bool:
        trial, end = release.Trial(number, self._config.role), time.monotonic() + CHECK_SECONDS
        while (passed := trial.passed()) is None:
            if time.monotonic() > end:
                trial.end()
            if self._stop.wait(0.2):
                trial.end()
                return False
            self._beat()
        if not passed:
            say(f"release {number} failed its check")
        return passed
