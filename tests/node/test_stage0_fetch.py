"""How a machine without a release asks its gateway for the first one."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from node import stage0
from node.joining import POSSESSION, is_possessed
from tests.node.support import Stack, wait_for, write_config
from tests.node.test_stage0 import GOOD, Machine, release, running


def keys() -> tuple[str, str]:
    """A WireGuard key's private and public half."""
    made = X25519PrivateKey.generate()
    raw = serialization.Encoding.Raw
    private = made.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    public = made.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    return base64.b64encode(private).decode(), base64.b64encode(public).decode()


class FakeGateway(BaseHTTPRequestHandler):
    """Serves ``archive`` with ``headers`` at /v1/release; 404 while there is none."""

    archive: ClassVar[bytes] = b""
    signed: ClassVar[dict[str, str]] = {}
    asked: ClassVar[int] = 0
    shown: ClassVar[str | None] = None
    claims: ClassVar[list[tuple[str | None, str | None]]] = []
    """Name and possession, if any, of each question."""
    keys: ClassVar[tuple[str, str] | None] = None
    """The gateway's private key and the node's public one, if it answers none but whoever has that node's key."""

    def do_GET(self) -> None:
        FakeGateway.shown = self.headers.get("Authorization")
        claim = self.headers.get(POSSESSION)
        self.claims.append((self.headers.get("X-Hybridnet-Name"), claim))
        if self.keys and not is_possessed(claim, *self.keys, b""):
            self.send_error(403)
            return
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


class Server6(HTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture
def gateway(tmp_path: Path, stack: Stack) -> Iterator[Callable[[str], HTTPServer]]:
    """Starts a gateway at an address."""
    write_config(tmp_path / "pem", stack, "gateway", "127.0.0.1:0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem" / "tls.crt", tmp_path / "pem" / "tls.key")
    with contextlib.ExitStack() as ends:

        def start(host: str) -> HTTPServer:
            server = (Server6 if ":" in host else HTTPServer)((host, 0), FakeGateway)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            for end in (server.server_close, thread.join, server.shutdown):
                ends.callback(end)
            return server

        yield start


def test_a_spoke_fetches_its_first_release_and_only_a_signed_one(
    tmp_path: Path, stack: Stack, gateway: Callable[[str], HTTPServer]
) -> None:
    machine = Machine(tmp_path / "spoke", stack, "spoke", gateway("127.0.0.1").server_port)
    body = release(GOOD)
    FakeGateway.archive, FakeGateway.signed = body, Stack().release_headers(1, body)
    FakeGateway.asked = 0
    machine.start()
    try:
        wait_for("a second question", lambda: FakeGateway.asked >= 2)
        assert machine.starts() == []
        FakeGateway.signed = stack.release_headers(1, body)
        wait_for("release 1", lambda: running(machine, 1))
    finally:
        machine.end()


def test_only_a_machine_with_a_join_token_shows_one(
    tmp_path: Path, stack: Stack, gateway: Callable[[str], HTTPServer]
) -> None:
    port = gateway("127.0.0.1").server_port
    FakeGateway.archive, FakeGateway.signed = b"", {}
    for role, token, shown in (("spoke", None, None), ("pool", "a-token\n", "Bearer a-token")):
        machine = Machine(tmp_path / role, stack, role, port)
        if token:
            (machine.config / "token").write_text(token)
        FakeGateway.asked = 0
        machine.start()
        try:
            wait_for("a question", lambda: FakeGateway.asked > 0)
            assert FakeGateway.shown == shown
        finally:
            machine.end()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_spoke_whose_tunnel_is_silent_asks_on_the_internet_and_shows_that_it_has_its_key(
    tmp_path: Path, stack: Stack, gateway: Callable[[str], HTTPServer], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    found = gateway(host.strip("[]"))
    (own, public), (theirs, peer) = keys(), keys()
    # Nobody answers at 127.0.0.9, which stands for the gateway's address on the overlay.
    machine = Machine(tmp_path / "spoke", stack, "spoke", found.server_port)
    write_config(machine.config, stack, "spoke", f"127.0.0.9:{found.server_port}")
    tunnel = tmp_path / "wg0.conf"
    tunnel.write_text(
        f"[Interface]\nAddress = 10.100.1.1/32\nPrivateKey = {own}\nListenPort = 51820\n\n"
        f"[Peer]\nPublicKey = {peer}\nEndpoint = {host}:51820\nAllowedIPs = 10.100.0.0/16\n"
    )
    monkeypatch.setenv("HYBRIDNET_WIREGUARD", str(tunnel))
    body = release(GOOD)
    FakeGateway.archive, FakeGateway.signed = body, stack.release_headers(1, body)
    FakeGateway.claims, FakeGateway.keys = [], (theirs, public)
    machine.start()
    try:
        wait_for("release 1", lambda: running(machine, 1))
        assert [name for name, _ in FakeGateway.claims] == ["spoke-1"]
    finally:
        machine.end()
        FakeGateway.keys = None


def test_a_machine_with_a_join_token_never_shows_a_key(
    tmp_path: Path, stack: Stack, gateway: Callable[[str], HTTPServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gateway("127.0.0.1")
    machine = Machine(tmp_path / "pool", stack, "pool", found.server_port)
    (machine.config / "token").write_text("a-token\n")
    tunnel = tmp_path / "wg0.conf"
    tunnel.write_text(f"PrivateKey = {keys()[0]}\nPublicKey = {keys()[1]}\nEndpoint = 127.0.0.1:51820\n")
    monkeypatch.setenv("HYBRIDNET_WIREGUARD", str(tunnel))
    FakeGateway.archive, FakeGateway.signed, FakeGateway.claims = b"", {}, []
    machine.start()
    try:
        wait_for("five questions", lambda: len(FakeGateway.claims) > 4)
        assert set(FakeGateway.claims) == {(None, None)}
    finally:
        machine.end()


def test_a_newer_signing_key_takes_the_place_of_first_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path / "releases")
    first, newer = Stack().public_key, Stack().public_key
    config = {"signing_public_key": first}
    assert stage0.signing_key(config) == first
    (tmp_path / "signing.pub").write_text(f"{newer}\n")
    assert stage0.signing_key(config) == newer
    for broken in ("", "no base64!", newer[:-8]):
        (tmp_path / "signing.pub").write_text(broken)
        assert stage0.signing_key(config) == first, broken


def test_stage_0_takes_a_release_that_the_newer_key_has_signed(
    tmp_path: Path, stack: Stack, gateway: Callable[[str], HTTPServer]
) -> None:
    found, newer = gateway("127.0.0.1"), Stack()
    machine = Machine(tmp_path / "spoke", stack, "spoke", found.server_port)
    (machine.state / "signing.pub").write_text(newer.public_key)
    body = release(GOOD)
    FakeGateway.archive, FakeGateway.signed = body, newer.release_headers(1, body)
    machine.start()
    try:
        wait_for("release 1", lambda: running(machine, 1))
    finally:
        machine.end()
