"""The spoke's agent: follows the release that its gateway runs. The tunnel itself is wg-quick's, and needs no agent."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import ssl
import threading
import time
import urllib.request
from collections.abc import Generator
from http.client import HTTPResponse
from typing import Any, cast

from node import config as machine
from node import release
from node.log import say
from node.pulse import OrphanedError, Pulse
from node.stage0 import LIMIT

ASK_SECONDS = 10.0
CHECK_SECONDS = 30.0
_TIMEOUT = 5.0
_CHUNK = 1 << 16


class Gateway:
    """The gateway's control plane over the tunnel; OSError or ValueError when it does not answer."""

    def __init__(self, config: machine.Config, pulse: Pulse) -> None:
        self._url = f"https://{config.control[0]}:{config.control[1]}"
        self._tls = ssl.create_default_context(cafile=str(config.files / "ca.pem"))
        self._pulse = pulse

    def release_number(self) -> int:
        """The number of the release that the gateway runs; 0 for none."""
        with self._get("/v1/status") as answer:
            status = cast("dict[str, Any]", json.loads(answer.read(LIMIT)))
        running = status.get("release")
        return int(running["number"]) if running else 0

    def release(self) -> tuple[dict[str, str], bytes]:
        """The gateway's release: headers and archive. The pulse beats on while it comes."""
        body = bytearray()
        with self._get("/v1/release") as answer:
            while len(body) <= LIMIT and (chunk := answer.read(_CHUNK)):
                body += chunk
                self._pulse.beat()
            return dict(answer.headers), bytes(body)

    @contextlib.contextmanager
    def _get(self, path: str) -> Generator[HTTPResponse]:
        with urllib.request.urlopen(self._url + path, timeout=_TIMEOUT, context=self._tls) as answer:
            yield cast("HTTPResponse", answer)


class Agent:
    """Asks the gateway for a newer release every few seconds, and stops for one that finds itself well."""

    def __init__(self, config: machine.Config, pulse: Pulse, own: int) -> None:
        self.stop = threading.Event()
        self._config = config
        self._pulse = pulse
        self._own = own
        self._gateway = Gateway(config, pulse)
        self._problem = ""

    def run(self) -> None:
        while not self.stop.is_set():
            self._pulse.beat()
            try:
                self._follow()
                self._problem = ""
            except (OSError, ValueError) as error:
                if str(error) != self._problem:
                    say(f"the gateway does not answer: {error}")
                self._problem = str(error)
            # Many spokes must not ask at once.
            self.stop.wait(ASK_SECONDS * random.uniform(0.7, 1.3))

    def _follow(self) -> None:
        newest = release.newer_than(self._own)
        if newest is None and self._gateway.release_number() > self._own:
            status, reason = release.store(self._config.signing_public_key, *self._gateway.release())
            if status != 409:
                say(f"the gateway's release: {status} {reason}")
            newest = release.newer_than(self._own)
        if newest is not None and self._passes(newest):
            say(f"release {newest} is well and takes over")
            self.stop.set()

    def _passes(self, number: int) -> bool:
        trial, end = release.Trial(number, "spoke"), time.monotonic() + CHECK_SECONDS
        while (passed := trial.passed()) is None:
            if time.monotonic() > end:
                trial.end()
            if self.stop.wait(0.2):
                trial.end()
                return False
            self._pulse.beat()
        if not passed:
            say(f"release {number} failed its check")
        return passed


def check() -> None:
    """What a release asks itself before it takes over; changes nothing."""
    machine.load()
    say("the configuration is well")


def main(pulse: int) -> int:
    """Run the agent with stage 0's pipe; the exit status."""
    agent = Agent(machine.load(), Pulse(pulse), release.running().number)

    def stop(*_: object) -> None:
        agent.stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    try:
        agent.run()
    except OrphanedError:
        say("stage 0 is gone")
        return 1
    return 0
