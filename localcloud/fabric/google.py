"""Google's public keys at the address that programs ask for them: https://www.googleapis.com/oauth2/v3/certs.

A place on the local internet of its own, whose certificate machines trust and whose name they find in /etc/hosts.
"""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from localcloud.cloud import GOOGLE_ADDRESS, Cloud
from localcloud.fabric.authority import Authority
from localcloud.fabric.listeners import Listeners

PATH = "/oauth2/v3/certs"
MAX_AGE = 20_000
"""Seconds for which the answer may be kept; Google's differs from answer to answer, about as long."""


class GoogleServer:
    """Serves while the local internet has Google's place."""

    def __init__(self, cloud: Cloud) -> None:
        authority = Authority(cloud)
        keys = json.dumps(authority.key_set()).encode()
        context = authority.server_context()

        def serve(listening: socket.socket, namespace: str) -> ThreadingHTTPServer:
            del namespace
            # The handshake is the business of the thread that answers, not of the one that accepts.
            return _Server(context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False), keys)

        self._listeners = Listeners(lambda: {cloud.google}, (GOOGLE_ADDRESS, 443), serve)

    def follow(self) -> None:
        """Serve where Google's place is now."""
        self._listeners.follow()

    def close(self) -> None:
        """Stop serving."""
        self._listeners.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, keys: bytes) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.keys = keys

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break off, or are no TLS, are nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        found = self.path.partition("?")[0] == PATH
        body = self.server.keys if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        if found:
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Cache-Control", f"public, max-age={MAX_AGE}, must-revalidate, no-transform")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Requests are not logged."""
