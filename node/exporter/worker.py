"""The exporter of an agent: one of its threads, at the overlay address alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address

from node.exporter import PORT
from node.exporter.server import CONNECTIONS, Server
from node.log import say

_RETRY_SECONDS = 2.0


class Exporter:
    """Serves what ``text`` gives at the address that ``address`` says, None for as long as there is none."""

    def __init__(
        self,
        text: Callable[[], bytes],
        address: Callable[[], IPv4Address | None],
        stop: threading.Event,
        port: int = PORT,
    ) -> None:
        self._text = text
        self._address = address
        self._stop = stop
        self._port = port
        self._problem = ""

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Until ``stop`` is set. The address may come later than this, and become another one."""
        while not self._stop.is_set():
            beat()
            address = self._address()
            listener = None if address is None else self._bound(address)
            if listener is None:
                self._stop.wait(_RETRY_SECONDS)
                continue

            def is_over(served: IPv4Address | None = address) -> bool:
                beat()
                return self._stop.is_set() or self._address() not in (None, served)

            with listener:
                Server(listener, self._text).serve(is_over)

    def _bound(self, address: IPv4Address) -> socket.socket | None:
        try:
            listener = socket.create_server((str(address), self._port), backlog=CONNECTIONS)
        except OSError as error:
            problem = f"no metrics at {address}:{self._port} yet: {error.strerror}"
            if problem != self._problem:
                say(problem)
            self._problem = problem
            return None
        self._problem = ""
        return listener
