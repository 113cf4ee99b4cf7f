"""What the tests of pools share: a gateway behind real TLS on loopback, and machines that join it.

The overlay lies in 127.0.0.0/16, so a machine can speak from its own overlay address without any tunnel.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, cast

import aiohttp
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from node import config as machine
from node import joining
from node.gateway.api import application
from node.gateway.health import Health
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.lease import Lease
from node.gateway.listener import Listener
from node.gateway.network import Network
from node.gateway.service import Service
from node.pulse import Pulse
from node.release import Release
from overlay.model import Network as Overlay
from overlay.model import Node, Site
from overlay.pools import Pool, token_digest
from overlay.roster import Roster
from tests.node.serving import MemoryNginx
from tests.node.support import (
    GATEWAY_ADDRESS,
    MemoryFirewall,
    MemoryProbe,
    MemoryWireGuard,
    Stack,
    key,
    signed,
    write_config,
)

PUBLIC_ADDRESS = "127.0.0.2"
STRANGER = "127.9.9.9"
SEAL_KEY = base64.b64encode(hashlib.sha256(b"seal").digest()).decode()
RELEASE = Release(3, b"an archive", "c2lnbmF0dXJl")
Answer = tuple[int, dict[str, Any]]


def key_pair() -> tuple[str, str]:
    """A WireGuard key: private and public half, base64."""
    private = X25519PrivateKey.generate()
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(raw).decode(), base64.b64encode(public).decode()


GATEWAY_KEYS = key_pair()
TOKENS = {"burst": "token-of-burst", "other": "token-of-other"}


def pool(name: str = "burst", **changes: object) -> Pool:
    """``burst`` draws from 127.0.1.128/25, ``other`` from 127.0.2.128/25."""
    addresses = IPv4Network({"burst": "127.0.1.128/25", "other": "127.0.2.128/25"}[name])
    site = {"burst": "aws", "other": "gcp"}[name]
    made = Pool(name, site, addresses, 8, token_digest(TOKENS[name]), 300, 600, 8000, "/health")
    return replace(made, **changes)  # type: ignore[arg-type]


def pool_roster(number: int = 1, pools: tuple[Pool, ...] | None = None, spokes: int = 1, **changes: object) -> Roster:
    """A gateway ``gw``, declared spokes in the site ``aws``, and pools."""
    sites = (
        Site("aws", "aws", IPv4Network("127.0.1.0/24"), "eu-central-1"),
        Site("gcp", "gcp", IPv4Network("127.0.2.0/24"), "europe-west3"),
    )
    nodes = [Node("gw", "aws", IPv4Address(GATEWAY_ADDRESS), "gateway", GATEWAY_KEYS[1], "198.51.100.1:51820")]
    nodes += [
        Node(f"spoke-{index}", "aws", IPv4Address(f"127.0.1.{index}"), "spoke", key(f"spoke-{index}"))
        for index in range(1, spokes + 1)
    ]
    made = Roster(
        number,
        Overlay(IPv4Network("127.0.0.0/16"), sites, "hub"),
        1380,
        tuple(nodes),
        (IPv4Network("0.0.0.0/0"),),
        (),
        pools=(pool(), pool("other")) if pools is None else pools,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class Member:
    """A machine of a pool: its key, what it asks, and what it was answered."""

    instance: str
    pool: str = "burst"
    token: str | None = None
    keys: tuple[str, str] = field(default_factory=key_pair)
    gateway_key: str = GATEWAY_KEYS[1]
    answer: joining.Answer | None = None

    @property
    def public_key(self) -> str:
        return self.keys[1]

    def request(self, **changes: object) -> joining.Request:
        made = joining.Request(self.pool, self.public_key, self.instance)
        return replace(made, **changes)  # type: ignore[arg-type]

    def headers(self, body: bytes) -> dict[str, str]:
        possession = joining.possession(self.keys[0], self.gateway_key, body)
        return {"Authorization": f"Bearer {self.token or TOKENS[self.pool]}", joining.POSSESSION: possession}

    @property
    def address(self) -> str:
        assert self.answer
        return str(self.answer.address)

    @property
    def secret(self) -> dict[str, str]:
        assert self.answer
        return {"Authorization": f"Bearer {self.answer.secret}"}


@dataclass
class PoolGateway:
    """A running service with pools, and how one speaks to it."""

    service: Service
    network: Network
    wireguard: MemoryWireGuard
    probe: MemoryProbe
    stack: Stack
    port: int
    state: Path
    files: Path
    nginx: MemoryNginx

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        address: str = PUBLIC_ADDRESS,
        source: str = STRANGER,
    ) -> Answer:
        """One request on a connection of its own."""
        tls = ssl.create_default_context(cadata=self.stack.ca_pem)
        connector = aiohttp.TCPConnector(ssl=tls, force_close=True, local_addr=(source, 0))
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"https://{address}:{self.port}{path}"
            async with session.request(method, url, data=io.BytesIO(body), headers=headers) as answer:
                text = await answer.read()
                found = cast("dict[str, Any]", json.loads(text)) if text[:1] == b"{" else {}
                if "Retry-After" in answer.headers:
                    found["retry_after"] = int(answer.headers["Retry-After"])
                return answer.status, found

    async def push(self, roster: Roster) -> None:
        body, signature = signed(self.stack, roster)
        status, answer = await self.ask("PUT", "/v1/roster", body, {"X-Hybridnet-Signature": signature})
        assert status == 201, answer
        digest = hashlib.sha256(body).hexdigest()
        await self.until(lambda: self.network.applied == digest, "the roster on the interface")

    async def join(self, member: Member, source: str = STRANGER, **changes: object) -> Answer:
        """Ask to join; the member keeps a good answer."""
        body = joining.request_body(member.request(**changes))
        status, found = await self.ask("POST", "/v1/join", body, member.headers(body), source=source)
        if status in (200, 201):
            member.answer = joining.parse_answer(json.dumps(found).encode())
        return status, found

    async def tell(self, member: Member, method: str, said: dict[str, Any] | None = None) -> Answer:
        """What ``member`` asks about its lease through the tunnel."""
        body = json.dumps(said).encode() if said is not None else b""
        return await self.ask(method, "/v1/lease", body, member.secret, GATEWAY_ADDRESS, member.address)

    async def status(self) -> dict[str, Any]:
        return (await self.ask("GET", "/v1/status", address=str(self.network.config.control[0])))[1]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            await asyncio.sleep(0.01)

    def live(self) -> list[Lease]:
        return self.network.leases.live()

    def peers(self) -> set[str]:
        return set(self.wireguard.state)

    def audit(self) -> list[dict[str, Any]]:
        path = self.state / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def events(self, node: str | None = None) -> list[str]:
        return [line["event"] for line in self.audit() if node is None or line.get("node") == node]


@dataclass(frozen=True)
class Who:
    """A gateway: its name, overlay address and keys. It listens at ``listens``, everywhere if that is empty."""

    name: str = "gw"
    address: str = GATEWAY_ADDRESS
    keys: tuple[str, str] = GATEWAY_KEYS
    listens: str = ""
    port: int = 0


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    stack: Stack,
    *,
    seal: str | None = SEAL_KEY,
    google: GoogleKeys | None = None,
    who: Who = Who(),
) -> AsyncGenerator[PoolGateway]:
    """A service with its state in ``folder``: started again there, it has the state of before."""
    state, files = folder / "state", folder / "config"
    state.mkdir(parents=True, exist_ok=True)
    wireguard, probe = MemoryWireGuard(), MemoryProbe()
    with socket.create_server((who.listens, who.port), backlog=1024) as listener:
        port = int(listener.getsockname()[1])
        write_config(files, stack, "gateway", f"{who.address}:{port}")
        if seal:
            (files / "seal.key").write_text(seal + "\n")
        config = machine.Config("gateway", who.name, (IPv4Address(who.address), port), stack.public_key, state, files)
        network = Network(config, wireguard, MemoryFirewall())
        network.load()
        ours, theirs = os.pipe()
        nginx = MemoryNginx(state / "nginx")
        service = Service(network, Health(probe), Pulse(theirs), RELEASE, nginx, who.keys[0], google)
        https = Listener(application(service), listener, lambda: service.certificates.tls)
        await https.start()
        running = asyncio.create_task(service.run())
        try:
            yield PoolGateway(service, network, wireguard, probe, stack, port, state, files, nginx)
        finally:
            service.end()
            try:
                await running
            finally:
                await https.close()
                service.close()
                os.close(ours)
                os.close(theirs)
