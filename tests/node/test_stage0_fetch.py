"""How a machine without a release asks its gateway for the first one."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.node.support import Stack, wait_for, write_config
from tests.node.test_stage0 import GOOD, Machine, release, running


class FakeGateway(BaseHTTPRequestHandler):
    """Serves ``archive`` with ``headers`` at /v1/release; 404 while there is none."""

    archive: ClassVar[bytes] = b""
    signed: ClassVar[dict[str, str]] = {}
    asked: ClassVar[int] = 0
    shown: ClassVar[str | None] = None

    def do_GET(self) -> None:
        FakeGateway.shown = self.headers.get("Authorization")
        found = self.path == "/v1/release" and bool(self.archive)
        self.send_response(200 if found else 404)
        for name, value in self.signed.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive)
        FakeGateway.asked += 1

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def gateway(tmp_path: Path, stack: Stack) -> Iterator[HTTPServer]:
    write_config(tmp_path / "pem", stack, "gateway", "127.0.0.1:0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem" / "tls.crt", tmp_path / "pem" / "tls.key")
    server = HTTPServer(("127.0.0.1", 0), FakeGateway)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_spoke_fetches_its_first_release_and_only_a_signed_one(
    tmp_path: Path, stack: Stack, gateway: HTTPServer
) -> None:
    machine = Machine(tmp_path / "spoke", stack, "spoke", gateway.server_port)
    body = release(GOOD)
    FakeGateway.archive, FakeGateway.signed = body, Stack().release_headers(1, body)
    FakeGateway.asked = 0
    machine.start()
    try:
        wait_for("a second question", lambda: FakeGateway.asked == 2)
        assert machine.starts() == []
        FakeGateway.signed = stack.release_headers(1, body)
        wait_for("release 1", lambda: running(machine, 1))
    finally:
        machine.end()


def test_only_a_machine_with_a_join_token_shows_one(tmp_path: Path, stack: Stack, gateway: HTTPServer) -> None:
    FakeGateway.archive, FakeGateway.signed = b"", {}
    for role, token, shown in (("spoke", None, None), ("pool", "a-token\n", "Bearer a-token")):
        machine = Machine(tmp_path / role, stack, role, gateway.server_port)
        if token:
            (machine.config / "token").write_text(token)
        FakeGateway.asked = 0
        machine.start()
        try:
            wait_for("a question", lambda: FakeGateway.asked > 0)
            assert FakeGateway.shown == shown
        finally:
            machine.end()
