"""The spoke's agent as a process, run by stage 0, against a gateway that hands out releases."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from node import stage0
from tests.node.support import Stack, archive, wait_for, write_config

ROOT = Path(__file__).parents[2]
RUN = "import sys; sys.path.insert(0, sys.argv[1]); from node import stage0; \
stage0.PROBATION = 0.5; stage0.main()"
FAILS_ITS_CHECK = archive({"node/__init__.py": "", "node/__main__.py": "raise SystemExit(9)"})


def impatient(*, breaks: bool = False) -> bytes:
    """The real release, but asking every half second; one that ``breaks`` cannot look after its interface."""
    files = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for room in ("node", "overlay")
        for path in (ROOT / room).rglob("*.py")
    }
    before = files["node/follow.py"]
    files["node/follow.py"] = before.replace("ASK_SECONDS = 10.0", "ASK_SECONDS = 0.5")
    assert files["node/follow.py"] != before
    if breaks:
        files["node/network/agent.py"] = files["node/network/agent.py"].replace(
            "self._round()", "self._no_such_thing()"
        )
    return archive(files)


REAL = impatient()
BREAKS = impatient(breaks=True)


class Gateway(http.server.BaseHTTPRequestHandler):
    """Runs release ``number``, whose archive is ``body``."""

    number: ClassVar[int] = 0
    body: ClassVar[bytes] = b""
    signed: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        if self.path == "/v1/status?brief":
            answer = json.dumps({"release": {"number": self.number} if self.number else None}).encode()
        else:
            answer = self.body
        self.send_response(200)
        for name, value in self.signed.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    @classmethod
    def runs(cls, stack: Stack, number: int, body: bytes) -> None:
        cls.body, cls.signed = body, stack.release_headers(number, body)
        cls.number = number


@pytest.fixture
def gateway(tmp_path: Path, stack: Stack) -> Iterator[int]:
    write_config(tmp_path / "pem", stack, "gateway", "127.0.0.1:0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem" / "tls.crt", tmp_path / "pem" / "tls.key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_spoke_follows_its_gateway_and_stays_with_a_good_release_when_a_newer_one_fails(
    tmp_path: Path, stack: Stack, gateway: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    (state / "releases").mkdir(parents=True)
    write_config(tmp_path / "config", stack, "spoke", f"127.0.0.1:{gateway}")
    monkeypatch.setattr(stage0, "RELEASES", state / "releases")
    environment = {
        **os.environ, "STATE_DIRECTORY": str(state), "CONFIGURATION_DIRECTORY": str(tmp_path / "config")
    }  # fmt: skip
    Gateway.runs(stack, 1, REAL)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(ROOT)], env=environment)
    try:
        wait_for("release 1", lambda: stage0.has(1, "good"), 120)
        Gateway.runs(stack, 2, FAILS_ITS_CHECK)
        wait_for("the verdict on release 2", lambda: stage0.has(2, "bad"), 120)
        assert not stage0.has(2, "good")
        Gateway.runs(stack, 3, REAL)
        wait_for("release 3", lambda: stage0.has(3, "good"), 120)
        assert not stage0.has(3, "bad")
        Gateway.runs(stack, 4, BREAKS)
        wait_for("the verdict on release 4", lambda: stage0.has(4, "bad"), 120)
        assert not stage0.has(4, "good")
    finally:
        process.terminate()
        assert process.wait(20) == 0
