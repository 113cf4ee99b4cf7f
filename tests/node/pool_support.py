"""What the tests of the pool machine's agent share: a gateway, a metadata service and a machine, all obedient."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from node import config as machine
from node import joining, keys
from node.joining import Answer, Request, answer_body, is_possessed, parse_request
from node.network_document import NetworkDocument, document_body
from node.network_document import Request as NetworkRequest
from node.network_document import parse_request as parse_network_request
from node.pool.agent import Agent
from node.pool.system import DRAIN, TUNNEL
from node.pool.tunnel import Tunnel
from node.pool.watch.aws import Aws
from node.pool.watch.gcp import Gcp
from node.pool.watch.hetzner import Hetzner
from node.pool.watch.metadata import Metadata
from node.pulse import Pulse
from overlay.model import Peer
from tests.node.network_support import memory_parts
from tests.node.support import GATEWAY_ADDRESS, MemoryWireGuard, Stack, write_config

AWS = "/latest/meta-data/"
PUBLIC_ADDRESS = "127.0.0.2"
OTHER_ADDRESS = "127.0.1.254"
"""Another gateway's on the internet."""
TOKEN = "join-token"
GATEWAY_KEY = base64.b64encode(hashlib.sha256(b"the gateway").digest()).decode()
PEER = Peer(keys.public_key(GATEWAY_KEY), "198.51.100.1:51820", (IPv4Network("10.100.0.0/16"),), 25)
OTHER_KEY = base64.b64encode(hashlib.sha256(b"another gateway").digest()).decode()
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class FakeGateway:
    """Answers as docs/control-plane.md says. ``refusal`` (status, reason, Retry-After) answers every join while set.

    ``token`` is the pool's present one, which nobody needs with a ticket. ``is_cut`` leaves what comes through the
    tunnel unanswered. ``log`` has a line for each request about a lease.
    """

    requests: list[Request] = field(default_factory=list[Request])
    leases: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    log: list[str] = field(default_factory=list[str])
    tokens: list[str] = field(default_factory=list[str])
    refusal: tuple[int, str, str] | None = None
    token: str = TOKEN
    is_cut: bool = False
    next_host: int = 130
    port: int = 0
    serving_port: int | None = None
    is_full: bool = False
    """Whether its disk takes no change of a lease."""
    turned_down: int = 0
    release: tuple[int, bytes, dict[str, str]] | None = None
    home: str = PUBLIC_ADDRESS
    """Where joins are taken; the other one sends machines there."""
    dead: set[str] = field(default_factory=set[str])
    """Addresses at which nobody answers."""
    peer: Peer = PEER
    """What an answer to a join gives the machine."""
    document: Callable[[NetworkRequest], NetworkDocument] | None = None
    """What it tells of the network; None for a release that tells nothing."""

    def answer(self, method: str, path: str, at: str, headers: dict[str, str], body: bytes) -> Reply:
        by_tunnel = at == GATEWAY_ADDRESS
        if (by_tunnel and self.is_cut) or at in self.dead:
            raise ConnectionAbortedError
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if (method, path) == ("POST", "/v1/join"):
            return self._join(at, token, headers, body)
        if (method, path) == ("POST", "/v1/network"):
            return self._network(by_tunnel, body)
        if path == "/v1/lease":
            return self._lease(method, by_tunnel, token, json.loads(body or b"{}"))
        if path == "/v1/status?brief":
            running = {"number": self.release[0]} if self.release else None
            return 200, {}, json.dumps({"release": running}).encode()
        assert (method, path) == ("GET", "/v1/release")
        if not by_tunnel and token != self.token:
            self.log.append("release refused")
            return 403, {}, b"{}"
        if self.release is None:
            return 503, {}, b"{}"
        return 200, self.release[2], self.release[1]

    def _network(self, by_tunnel: bool, body: bytes) -> Reply:
        assert by_tunnel, "machines of pools join again when nothing comes through the tunnel"
        asked = parse_network_request(body)
        if self.document is None:
            return 404, {}, b"{}"
        return 200, {}, document_body(self.document(asked))

    def _join(self, at: str, token: str, headers: dict[str, str], body: bytes) -> Reply:
        self.tokens.append(token)
        request = parse_request(body)
        private_key = {PUBLIC_ADDRESS: GATEWAY_KEY, OTHER_ADDRESS: OTHER_KEY}[at]
        assert is_possessed(headers.get(joining.POSSESSION.lower()), private_key, request.public_key, body)
        if at != self.home:
            self.log.append(f"sent on from {at}")
            place = {"url": f"https://{self.home}:{self.port}", "public_key": keys.public_key(OTHER_KEY)}
            return 421, {}, json.dumps({"status": 421, "reason": "not here", "gateway": place}).encode()
        refusal = self.refusal
        if token != self.token and not request.ticket:
            refusal = (403, "unknown join token", "")
        if refusal:
            self.log.append("refused")
            status, reason, retry_after = refusal
            more = {"Retry-After": retry_after} if retry_after else {}
            return status, more, json.dumps({"status": status, "reason": reason}).encode()
        self.requests.append(request)
        self.log.append("join")
        is_new = request.public_key not in self.leases
        if is_new:
            self.leases[request.public_key] = {"host": self.next_host, "state": "active", "weight": 100}
            self.next_host += 1
        return (201 if is_new else 200), {}, answer_body(self._answer_for(request))

    def _answer_for(self, request: Request) -> Answer:
        host = self.leases[request.public_key]["host"]
        return Answer(
            f"aws-burst-{host}",
            IPv4Address(f"10.100.2.{host}"),
            IPv4Network("10.100.0.0/16"),
            1380,
            IPv4Address(GATEWAY_ADDRESS),
            (self.peer,),
            f"secret of {request.public_key}",
            f"ticket of {request.public_key}",
        )

    def _lease(self, method: str, by_tunnel: bool, secret: str, document: dict[str, Any]) -> Reply:
        public_key = secret.removeprefix("secret of ")
        if not by_tunnel or public_key not in self.leases:
            return (404 if by_tunnel else 403), {}, b'{"status": 404, "reason": "no lease has this address"}'
        lease = self.leases[public_key]
        if method == "PATCH" and self.is_full:
            self.turned_down += 1
            return 507, {}, b'{"status": 507, "reason": "no room"}'
        if method == "PATCH":
            self.log.append(f"patch {json.dumps(document, sort_keys=True)}")
            lease.update({name: document[name] for name in ("state", "weight") if name in document})
        elif method == "DELETE":
            self.log.append(f"leave {document['reason']}")
            del self.leases[public_key]
        else:
            self.log.append("get")
        return 200, {}, json.dumps({"schema_version": 1, **lease, "port": self.serving_port}).encode()

    def said(self) -> list[str]:
        """The log without the questions after the lease."""
        return [line for line in self.log if line != "get"]


@contextmanager
def serving(gateway: FakeGateway, stack: Stack, folder: Path) -> Generator[FakeGateway]:
    """``gateway`` over HTTPS on a free port (or its own, if it has one)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            at = str(self.connection.getsockname()[0])
            try:
                status, more, answer = gateway.answer(self.command, self.path, at, headers, body)
            except ConnectionAbortedError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def __getattr__(self, name: str) -> object:
            if name.startswith("do_"):
                return self._any
            raise AttributeError(name)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    write_config(folder, stack, "gateway", "127.0.0.1:0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    server = http.server.ThreadingHTTPServer(("0.0.0.0", gateway.port), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    gateway.port = server.server_port
    thread = threading.Thread(target=lambda: server.serve_forever(0.05))
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class FakeMetadata:
    """Text by path; asks for a session token (PUT) as EC2 does, or for Google's header. ``asked`` has the paths.

    Paths that begin with ``failing``, unless it is empty, get 500.
    """

    texts: dict[str, str]
    failing: str = ""
    asked: list[str] = field(default_factory=list[str])
    sessions: int = 0
    address: tuple[str, int] = ("127.0.0.1", 0)

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        self.asked.append(path)
        if self.failing and path.startswith(self.failing):
            return 500, "Internal Server Error"
        if (method, path) == ("PUT", "/latest/api/token"):
            assert 1 <= int(headers["x-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
            self.sessions += 1
            return 200, f"session {self.sessions}"
        if path.startswith("/latest/") and headers.get("x-aws-ec2-metadata-token") != f"session {self.sessions}":
            return 401, "Unauthorized"
        if path.startswith("/computeMetadata/") and headers.get("metadata-flavor") != "Google":
            return 403, "Forbidden"
        return (200, self.texts[path]) if path in self.texts else (404, "Not Found")


@contextmanager
def telling(metadata: FakeMetadata) -> Generator[FakeMetadata]:
    """``metadata`` over HTTP."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _any(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, text = metadata.answer(self.command, self.path, headers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def __getattr__(self, name: str) -> object:
            if name.startswith("do_"):
                return self._any
            raise AttributeError(name)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    metadata.address = ("127.0.0.1", server.server_port)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05))
    thread.start()
    try:
        yield metadata
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class MemorySystem:
    """A machine's systemd. ``log`` has what was asked of it; a drain hook works until a test says it is done."""

    states: dict[str, str] = field(default_factory=dict[str, str])
    log: list[str] = field(default_factory=list[str])
    looks: list[int] = field(default_factory=list[int])
    interface: bool = False
    stopping: bool = False
    boot: str = "boot 1"
    requests: int = 0

    def restart(self, unit: str) -> None:
        self.log.append(f"restart {unit}")
        self.interface = self.interface or unit == TUNNEL

    def start(self, unit: str) -> None:
        self.states[unit] = "activating"
        self.log.append(f"start {unit}")

    def stop(self, unit: str) -> None:
        self.log.append(f"stop {unit}")
        self.interface = self.interface and unit != TUNNEL

    def state(self, unit: str) -> str:
        return self.states.get(unit, "inactive")

    def is_stopping(self) -> bool:
        return self.stopping

    def power_off(self) -> None:
        self.log.append("poweroff")

    def has_interface(self) -> bool:
        return self.interface

    def connections(self, port: int) -> int:
        self.looks.append(port)
        return self.requests

    def boot_id(self) -> str:
        return self.boot

    def finish_drain(self) -> None:
        self.states[DRAIN] = "active"

    def reboot(self) -> None:
        self.states.clear()
        self.interface = False
        self.boot += "1"


def pool_config(folder: Path, stack: Stack, port: int, token: str = TOKEN, **changes: object) -> None:
    """First boot's files of a machine of the pool ``aws-burst``; ``changes`` are to its config.json."""
    write_config(folder, stack, "pool", f"{PUBLIC_ADDRESS}:{port}")
    document = json.loads((folder / "config.json").read_text())
    more = {"name": "aws-burst", "cloud": "aws", "gateway_public_key": keys.public_key(GATEWAY_KEY)}
    (folder / "config.json").write_text(json.dumps({**document, **more, **changes}))
    (folder / "token").write_text(token + "\n")


class Member:
    """A pool machine: its folders, its systemd, its metadata service, and its agent while that runs."""

    def __init__(self, folder: Path, stack: Stack, gateway: FakeGateway, metadata: FakeMetadata) -> None:
        self.gateway = gateway
        self.metadata = metadata
        self.system = MemorySystem()
        self.state, self.files = folder / "state", folder / "files"
        self.conf = folder / "wireguard" / "wg0.conf"
        for each in (self.state, self.conf.parent):
            each.mkdir(parents=True)
        pool_config(self.files, stack, gateway.port)
        self.wireguard = MemoryWireGuard()
        self.parts = memory_parts(self.wireguard)
        self.agent: Agent | None = None
        self._pipe: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self.status: int | None = None

    def start(self, *, cloud: str = "aws") -> None:
        """Start the agent, as a release does."""
        config = machine.load()
        assert config.membership is not None
        tunnel = Tunnel(self.system, self.conf)
        source = {"aws": Aws, "gcp": Gcp, "hetzner": Hetzner}[cloud](Metadata(self.metadata.address))
        self._pipe = os.pipe()
        agent = Agent(config, config.membership, Pulse(self._pipe[1]), self.system, source, tunnel, self.parts, 1)

        def run() -> None:
            self.status = agent.run()

        self.agent, self._thread = agent, threading.Thread(target=run)
        self._thread.start()

    def ends(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def end(self) -> None:
        """As systemd ends it: SIGTERM."""
        if self.agent is None or self._thread is None or self._pipe is None:
            return
        self.agent.terminated = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        for each in self._pipe:
            os.close(each)
        self.agent = None

    def beats(self) -> int:
        """How many beats have come since the last call."""
        assert self._pipe is not None
        os.set_blocking(self._pipe[0], False)
        try:
            return len(os.read(self._pipe[0], 65536))
        except BlockingIOError:
            return 0

    def private_key(self) -> str:
        return str(json.loads((self.state / "identity.json").read_text())["private_key"])

    def is_member(self) -> bool:
        return "get" in self.gateway.log
