"""Asks for the network document: through the tunnel, and on the internet when nothing comes back through it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from node.control import Reply
from node.joining import POSSESSION, JoinError, possession
from node.log import say
from node.network.agent import NetworkAgent
from node.network.bell import Bell
from node.network_document import LIMIT, Request, parse_document, request_body
from node.network_words import DocumentError

ASK_SECONDS = 10.0
SILENCE_SECONDS = 15.0
"""Without an answer through the tunnel for this long a declared machine asks on the internet."""
_PAUSE_SECONDS = 0.2
"""Between two questions at least, however often the machine is nudged."""
_RETRY_SECONDS = 2.0
_SLICE = 1.0
PATH = "/v1/network"


class Gateway(Protocol):
    """A gateway's control plane (``node.control.ControlPlane``)."""

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int,
        beat: Callable[[], None],
    ) -> Reply: ...


@dataclass(frozen=True)
class Doorway:
    """How a declared machine gets an answer on the internet: it shows that it has its key.

    ``first`` is the gateway of first boot, (endpoint, public key), for the time before any roster.
    """

    private_key: str
    first: tuple[str, str]


class Asker:
    """Asks for ``network``. ``connect`` makes a client of the control plane at a host.

    ``doorway`` is None for whoever has another way back into the network, as machines of pools have.
    """

    def __init__(
        self,
        network: NetworkAgent,
        bell: Bell,
        connect: Callable[[str], Gateway],
        doorway: Callable[[], Doorway | None],
        stop: threading.Event,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._bell = bell
        self._connect = connect
        self._doorway = doorway
        self._stop = stop
        self._ticks = ticks
        self._heard = ticks()
        self.answered: tuple[IPv4Address, bool] | None = None
        """The control plane that was asked last through the tunnel, and whether it answered."""
        self._problems: dict[str, str] = {}

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Until ``stop`` is set."""
        self._network.round()
        self._network.settle()
        try:
            while not self._stop.is_set():
                beat()
                me = self._network.myself()
                self._bell.listen(None if me is None else me.address, self._network.controls())
                seconds = self.turn(beat)
                self._network.settle()
                beat()
                self._wait(seconds, beat)
        finally:
            self._bell.close()

    def _wait(self, seconds: float, beat: Callable[[], None]) -> None:
        end = self._ticks() + seconds
        self._stop.wait(min(_PAUSE_SECONDS, seconds))
        while not self._stop.is_set() and (left := end - self._ticks()) > 0:
            beat()
            if self._bell.wait(min(left, _SLICE)):
                return

    def turn(self, beat: Callable[[], None] = lambda: None) -> float:
        """Ask once; the seconds to the next time."""
        asked, controls = self._network.request(), self._network.controls()
        if asked is None or not controls:
            self._heard = self._ticks()
            return _SLICE
        control = controls[0]
        try:
            reply = self._connect(str(control)).ask(
                "POST", PATH, request_body(asked), _headers(), limit=LIMIT, beat=beat
            )
        except OSError as error:
            self.answered = control, False
            self._tell("tunnel", f"no answer about the network from {control}: {error}")
            if self._ticks() - self._heard > SILENCE_SECONDS:
                self._ask_on_the_internet(beat)
            return _RETRY_SECONDS * random.uniform(0.5, 1.5)
        self._heard, self.answered = self._ticks(), (control, True)
        self._network.find()
        self._problems.pop("tunnel", None)
        return self._read(reply, asked, str(control))

    def _read(self, reply: Reply, asked: Request, place: str) -> float:
        if reply.status == 404:
            self._tell(place, f"the release of {place} tells nothing of the network: the tunnel stays as it is")
        elif reply.status != 200:
            self._tell(place, f"the gateway {place} does not tell of the network: status {reply.status}")
        else:
            try:
                self._network.take(parse_document(reply.body), asked)
                self._problems.pop(place, None)
            except DocumentError as error:
                self._tell(place, f"what the gateway {place} tells of the network cannot be used: {error}")
                self._network.ask_for_roster()
        return ASK_SECONDS * random.uniform(0.8, 1.2)

    def _ask_on_the_internet(self, beat: Callable[[], None]) -> None:
        """Ask each gateway until one tells what can be used: what it says of where to hang is done at once."""
        doorway = self._doorway()
        if doorway is None:
            return
        self._network.lose()
        asked = self._network.request()
        if asked is None:
            return
        body = request_body(asked)
        for endpoint, public_key in self._network.public() or [doorway.first]:
            beat()
            host = endpoint.rpartition(":")[0].strip("[]")
            try:
                headers = {**_headers(), POSSESSION: possession(doorway.private_key, public_key, body)}
                reply = self._connect(host).ask("POST", PATH, body, headers, limit=LIMIT, beat=beat)
            except (OSError, JoinError) as error:
                self._tell(host, f"no answer about the network on the internet, either: {host}: {error}")
                continue
            self._read(reply, asked, host)
            if host not in self._problems:
                return

    def _tell(self, about: str, problem: str) -> None:
        """Say what is wrong, once until it is something else."""
        if problem != self._problems.get(about):
            say(problem)
        self._problems[about] = problem


def _headers() -> dict[str, str]:
    return {"Content-Type": "application/json"}
