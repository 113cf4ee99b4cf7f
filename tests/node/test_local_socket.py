"""The gateway's own socket: for root alone, and every refusal has its reason."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node.command.local import ask
from node.command.shape import CommandError
from node.files import SOCKET
from node.gateway.lease import Refusal
from node.gateway.local import local_application, serve_locally
from node.gateway.revoking import Revoker


class NoRevoker(Revoker):
    """One without routes."""

    def __init__(self) -> None: ...

    def routes(self) -> list[Any]:
        return []


class Service:
    """Knows one node."""

    revoker = NoRevoker()

    def status(self, *, with_peers: bool) -> dict[str, Any]:
        raise RuntimeError("a fault of ours")

    def rotate(self, names: Sequence[str]) -> list[str]:
        if list(names) != ["spoke-1"]:
            raise Refusal(404, f"there is no node {names[0]}")
        return list(names)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[Path]:
    runner = await serve_locally(local_application(Service()), tmp_path)
    yield tmp_path
    await runner.cleanup()


def told(state: Path, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """The status and the document that whatever is sent is answered with."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(state / SOCKET))
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


async def test_only_its_owner_reaches_it(state: Path) -> None:
    assert (state / SOCKET).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("POST", "/v1/rotate", b"", 400, "not JSON"),
        ("POST", "/v1/rotate", b"{", 400, "not JSON"),
        ("POST", "/v1/rotate", b"[]", 400, "rotation"),
        ("POST", "/v1/rotate", b"\xff\xfe", 400, "not JSON"),
        ("POST", "/v1/rotate", b'{"names": "spoke-1"}', 400, "names"),
        ("POST", "/v1/rotate", b'{"names": [1]}', 400, "names"),
        ("POST", "/v1/rotate", b'{"names": [], "other": 1}', 400, "other"),
        ("POST", "/v1/rotate", b'{"names": ["' + b"x" * (1 << 18) + b'"]}', 413, "bytes"),
        ("POST", "/v1/rotate", b'{"names": ["spoke-9"]}', 404, "spoke-9"),
        ("GET", "/v1/rotate", None, 405, "/v1/rotate"),
        ("GET", "/v1/nothing", None, 404, "/v1/nothing"),
        ("GET", "/v1/status", None, 500, "a fault of ours"),
    ],
)
async def test_whatever_is_refused_has_its_reason(
    state: Path, method: str, path: str, body: bytes | None, status: int, reason: str
) -> None:
    found, document = await asyncio.to_thread(told, state, method, path, body)
    assert found == document["status"] == status
    assert reason in document["reason"]


async def test_the_command_tells_the_reason(state: Path) -> None:
    assert await asyncio.to_thread(ask, state, "POST", "/v1/rotate", {"names": ["spoke-1"]}) == {"names": ["spoke-1"]}
    with pytest.raises(CommandError, match="there is no node spoke-9"):
        await asyncio.to_thread(ask, state, "POST", "/v1/rotate", {"names": ["spoke-9"]})
    with pytest.raises(CommandError, match="a fault of ours"):
        await asyncio.to_thread(ask, state, "GET", "/v1/status")
