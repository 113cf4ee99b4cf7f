"""A small HTTP server for one text, bounded: a few connections at once, and none for longer than some seconds."""

from __future__ import annotations

import contextlib
import http.server
import select
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from node.exporter.text import CONTENT_TYPE
from node.log import say

CONNECTIONS = 8
"""At once; as many more wait in the kernel's queue."""
LIFETIME_SECONDS = 10.0
"""A connection's life, however slow its client is; Prometheus waits for so long if it is not told otherwise."""
_SLICE = 0.5
_FULL_SLICE = 0.02


class Server:
    """Answers ``GET /metrics`` on the socket ``listener`` with what ``text`` gives, which is asked once at a time."""

    def __init__(self, listener: socket.socket, text: Callable[[], bytes]) -> None:
        self._listener = listener
        self._text = text
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        """The connections, each with when it came (monotonic)."""
        self._problem = ""

    def serve(self, is_over: Callable[[], bool]) -> None:
        """Until ``is_over``, which is asked again and again; whoever is connected then is cut off."""
        self._listener.setblocking(False)
        try:
            while not is_over():
                self._cut(LIFETIME_SECONDS)
                if len(self._open) >= CONNECTIONS:
                    time.sleep(_FULL_SLICE)
                elif select.select([self._listener], [], [], _SLICE)[0]:
                    self._accept()
        finally:
            self._cut(0.0)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            time.sleep(_SLICE)
            return
        with self._lock:
            self._open[connection] = time.monotonic()
        threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _cut(self, seconds: float) -> None:
        """End the connections that are there for longer: their threads see that, and close them."""
        now = time.monotonic()
        with self._lock:
            for connection, since in self._open.items():
                if now - since >= seconds:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                _Handler(connection, self._made)
                connection.shutdown(socket.SHUT_WR)
        finally:
            with self._lock:
                del self._open[connection]
            connection.close()

    def _made(self) -> bytes | None:
        """The text; None when it cannot be made, which nobody outside must be able to end the agent with."""
        with self._turn:
            try:
                found, problem = self._text(), ""
            except Exception as error:
                found, problem = None, f"{type(error).__name__}: {error}"
            if problem and problem != self._problem:
                say(f"the metrics cannot be made: {problem}")
            self._problem = problem
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request, answered in HTTP/1.0: the connection ends with it."""

    timeout = LIFETIME_SECONDS

    def __init__(self, connection: socket.socket, text: Callable[[], bytes | None]) -> None:
        self._text = text
        super().__init__(connection, ("", 0), cast("Any", None))

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        text = self._text()
        if text is None:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def version_string(self) -> str:
        return "hybridnet"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who asks is of no interest."""
