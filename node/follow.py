"""How a machine follows the release that its gateway runs."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from node import release
from node.config import Config
from node.control import ControlPlane
from node.log import say
from node.stage0 import LIMIT
from node.trust.trust import Trust

ASK_SECONDS = 10.0


class Follower:
    """Asks for a newer release every few seconds, and sets ``stop`` for one that finds itself well.

    ``gateways`` says on which ways to ask, the best one first and one at least.
    """

    def __init__(
        self,
        config: Config,
        trust: Trust,
        own: int,
        gateways: Callable[[], Sequence[ControlPlane]],
        stop: threading.Event,
    ) -> None:
        self._config = config
        self._trust = trust
        self._own = own
        self._gateways = gateways
        self._stop = stop
        self._beat: Callable[[], None] = lambda: None
        self._problem = ""

    def run(self, beat: Callable[[], None]) -> None:
        """Until ``stop`` is set; ``beat`` is called all the time."""
        self._beat = beat
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
        if running and int(running["number"]) > max(self._own, release.newest()):
            code, reason = release.store(self._trust.key, *self._get(gateway, "/v1/release"))
            if code != 409:
                say(f"the gateway's release: {code} {reason}")

    def _get(self, gateway: ControlPlane, path: str) -> tuple[dict[str, str], bytes]:
        reply = gateway.ask("GET", path, limit=LIMIT, beat=self._beat)
        if reply.status != 200:
            raise ConnectionError(f"{path}: status {reply.status}")
        return dict(reply.headers), reply.body

    def _passes(self, number: int) -> bool:
        trial = release.Trial(number, self._config.role)
        while (passed := trial.passed()) is None:
            if self._stop.wait(0.2):
                trial.end()
                return False
            self._beat()
        if not passed:
            say(f"release {number} failed its check")
        return passed
