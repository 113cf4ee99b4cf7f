"""The gateway's API over real TLS on loopback, with an interface and a firewall in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from node import config as machine
from node import stage0
from node.gateway import listener as listening
from node.gateway.api import application
from node.gateway.health import Health
from node.gateway.listener import Listener
from node.gateway.network import Network
from node.gateway.service import Service
from node.pulse import Pulse
from node.release import Release
from overlay.roster import content_digest
from tests.node.serving import MemoryNginx
from tests.node.support import (
    GATEWAY_ADDRESS,
    MemoryFirewall,
    MemoryProbe,
    MemoryWireGuard,
    Stack,
    archive,
    key,
    roster,
    signed,
    write_config,
)

PUBLIC_ADDRESS = "127.0.0.2"
Answer = tuple[int, dict[str, Any]]


@dataclass
class Gateway:
    """A running service and a client of it."""

    service: Service
    network: Network
    wireguard: MemoryWireGuard
    firewall: MemoryFirewall
    stack: Stack
    port: int
    session: aiohttp.ClientSession
    state: Path

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        address: str = PUBLIC_ADDRESS,
    ) -> Answer:
        url = f"https://{address}:{self.port}{path}"
        async with self.session.request(method, url, data=io.BytesIO(body), headers=headers) as answer:
            return answer.status, cast("dict[str, Any]", await answer.json())

    async def push(self, body: bytes, signature: str | None) -> Answer:
        return await self.ask("PUT", "/v1/roster", body, {"X-Hybridnet-Signature": signature} if signature else {})

    async def until_applied(self, number: int) -> None:
        async def applied() -> None:
            while True:
                told = (await self.ask("GET", "/v1/status", address=GATEWAY_ADDRESS))[1]
                if (
                    told["roster"]
                    and told["roster"]["number"] == number
                    and len(self.wireguard.state) == len(told["peers"])
                ):
                    return
                await asyncio.sleep(0.02)

        await asyncio.wait_for(applied(), 60)

    def peers(self) -> set[str]:
        return set(self.wireguard.state)


RELEASE = Release(3, b"an archive", "c2lnbmF0dXJl")


@pytest.fixture
async def gateway(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    state = tmp_path / "state"
    (state / "releases").mkdir(parents=True)
    monkeypatch.setattr(stage0, "RELEASES", state / "releases")
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path / "config"))
    with socket.create_server(("", 0), backlog=1024) as listener:
        port = int(listener.getsockname()[1])
        write_config(tmp_path / "config", stack, "gateway", f"{GATEWAY_ADDRESS}:{port}")
        wireguard, firewall = MemoryWireGuard(), MemoryFirewall()
        network = Network(machine.load(), wireguard, firewall)
        network.load()
        ours, theirs = os.pipe()
        health, nginx = Health(MemoryProbe({IPv4Address("10.100.1.1")})), MemoryNginx(state / "nginx")
        service = Service(network, health, Pulse(theirs), RELEASE, nginx)
        https = Listener(application(service), listener, lambda: service.certificates.tls)
        await https.start()
        running = asyncio.create_task(service.run())
        client = ssl.create_default_context(cadata=stack.ca_pem)
        connector = aiohttp.TCPConnector(ssl=client, limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Gateway(service, network, wireguard, firewall, stack, port, session, state)
        service.end()
        await running
        await https.close()
        os.close(ours)
        os.close(theirs)


async def test_a_signed_roster_is_taken_and_followed(gateway: Gateway) -> None:
    made = roster(1, spokes=3)
    body, signature = signed(gateway.stack, made)
    assert await gateway.push(body, signature) == (201, {"status": 201, "reason": "taken"})
    await gateway.until_applied(1)
    assert gateway.peers() == {key("spoke-1"), key("spoke-2"), key("spoke-3")}
    assert gateway.firewall.roster == made
    status = (await gateway.ask("GET", "/v1/status"))[1]
    assert status["roster"]["content"] == content_digest(made)
    assert (status["schema_version"], status["stage"], status["healthy"]) == (1, "service", True)


async def test_what_is_not_a_newer_signed_roster_is_refused_and_changes_nothing(gateway: Gateway) -> None:
    body, signature = signed(gateway.stack, roster(5))
    assert (await gateway.push(body, signature))[0] == 201
    await gateway.until_applied(5)
    peers, applied = dict(gateway.wireguard.state), len(gateway.wireguard.applied)
    stored = (gateway.state / "roster.json").read_bytes()
    sign = gateway.stack.sign_roster
    older, other = signed(gateway.stack, roster(4, spokes=9)), signed(gateway.stack, roster(5, spokes=9))
    nodes = (replace(roster().nodes[0], name="other"), *roster().nodes[1:])
    stranger = signed(gateway.stack, replace(roster(6), nodes=nodes))
    before = signed(gateway.stack, replace(roster(4), nodes=nodes))
    cases: list[tuple[int, bytes, str | None]] = [
        (403, body, None),
        (403, body, "no signature"),
        (403, body, older[1]),
        (403, *signed(Stack(), roster(6))),
        (403, body[:-1], signature),
        (409, *older),
        (409, *other),
        (409, *before),
        (400, b"{}", sign(b"{}")),
        (400, body + b" ", sign(body + b" ")),
        (400, b"[" * 100_000, sign(b"[" * 100_000)),
        (400, *stranger),
        (413, b"x" * 50_000_000, signature),
        (200, body, signature),
    ]
    for status, sent, mark in cases:
        assert (await gateway.push(sent, mark))[0] == status, sent[:60]
    assert dict(gateway.wireguard.state) == peers
    assert len(gateway.wireguard.applied) == applied
    assert (gateway.state / "roster.json").read_bytes() == stored
    assert (await gateway.ask("GET", "/v1/status"))[1]["healthy"] is True


async def test_the_roster_is_on_disk_before_the_answer_and_for_root_alone(gateway: Gateway) -> None:
    body, signature = signed(gateway.stack, roster(1))
    await gateway.push(body, signature)
    path = gateway.state / "roster.json"
    assert path.stat().st_mode & 0o777 == 0o600
    again = Network(machine.load(), MemoryWireGuard(), MemoryFirewall())
    again.load()
    again.rosters.verify()
    assert again.rosters.kept is not None
    assert again.rosters.kept.body == body


async def test_a_shrinking_roster_removes_exactly_the_gone_peer(gateway: Gateway) -> None:
    await gateway.push(*signed(gateway.stack, roster(1, spokes=3)))
    await gateway.until_applied(1)
    kept = {name: gateway.wireguard.state[name] for name in (key("spoke-1"), key("spoke-2"))}
    gateway.wireguard.applied.clear()
    await gateway.push(*signed(gateway.stack, roster(2, spokes=2)))
    await gateway.until_applied(2)
    assert gateway.wireguard.state == kept
    assert [(change.public_key, change.remove) for change in gateway.wireguard.applied] == [(key("spoke-3"), True)]


async def test_drift_is_repaired_and_counted(gateway: Gateway) -> None:
    async def counted() -> int:
        while True:
            status = (await gateway.ask("GET", "/v1/status", address=GATEWAY_ADDRESS))[1]
            if status["drift_repaired"]:
                return status["drift_repaired"]

    await gateway.push(*signed(gateway.stack, roster(1, spokes=2)))
    await gateway.until_applied(1)
    del gateway.wireguard.state[key("spoke-1")]
    await gateway.until_applied(1)
    assert key("spoke-1") in gateway.wireguard.state
    assert await asyncio.wait_for(counted(), 60) == 1


async def test_an_interface_that_does_not_answer_makes_the_service_say_so(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.gateway.service.STALE_SECONDS", 0.0)
    gateway.wireguard.broken = True
    assert (await gateway.ask("GET", "/v1/status"))[1]["healthy"] is False
    gateway.wireguard.broken = False
    monkeypatch.undo()


async def test_peers_are_told_only_over_the_overlay(gateway: Gateway) -> None:
    await gateway.push(*signed(gateway.stack, roster(1, spokes=2)))
    await gateway.until_applied(1)
    assert not {"peers", "drift_repaired"} & set((await gateway.ask("GET", "/v1/status"))[1])
    peers = (await gateway.ask("GET", "/v1/status", address=GATEWAY_ADDRESS))[1]["peers"]
    assert [(peer["name"], peer["address"]) for peer in peers] == [("spoke-1", "10.100.1.1"), ("spoke-2", "10.100.1.2")]
    tunnel = {"endpoint", "handshake_age", "rx", "tx", "healthy", "rtt", "rx_rate", "tx_rate"}
    assert set(peers[0]) == {"name", "public_key", "address", "site", "role", "gateway", *tunnel}


async def test_a_release_is_handed_out_only_over_the_overlay(gateway: Gateway) -> None:
    assert (await gateway.ask("GET", "/v1/release"))[0] == 403
    async with gateway.session.get(f"https://{GATEWAY_ADDRESS}:{gateway.port}/v1/release") as answer:
        assert (answer.status, await answer.read()) == (200, RELEASE.archive)
        assert answer.headers["X-Hybridnet-Number"] == "3"
        assert answer.headers["X-Hybridnet-Signature"] == RELEASE.signature


async def test_a_release_that_fails_its_check_is_told_and_this_one_goes_on(gateway: Gateway) -> None:
    body = archive({"node/__init__.py": "", "node/__main__.py": "raise SystemExit(7)"})
    headers = gateway.stack.release_headers(4, body)
    assert (await gateway.ask("PUT", "/v1/release", body, headers))[0] == 201

    async def failed() -> dict[str, Any]:
        while True:
            status = (await gateway.ask("GET", "/v1/status"))[1]
            if status["failed_release"]:
                return status
            await asyncio.sleep(0.05)

    status = await asyncio.wait_for(failed(), 60)
    assert status["failed_release"] == {"number": 4, "reason": "its self-check ended with status 7"}
    assert status["release"]["number"] == 3
    assert not gateway.service.stop.is_set()
    assert (await gateway.ask("PUT", "/v1/release", body, headers))[0] == 409


async def test_a_release_that_finds_itself_well_makes_this_one_stop(gateway: Gateway) -> None:
    body = archive(
        {"node/__init__.py": "", "node/__main__.py": "import sys; assert sys.argv[1:] == ['gateway', 'check']"}
    )
    for number in (4, 4):
        headers = gateway.stack.release_headers(number, body)
        assert (await gateway.ask("PUT", "/v1/release", body, headers))[0] in (200, 201)
    await asyncio.wait_for(gateway.service.stop.wait(), 60)


async def test_an_older_release_is_refused(gateway: Gateway) -> None:
    body = archive({"node/__init__.py": ""})
    stage0.store(gateway.stack.public_key, gateway.stack.release_headers(9, body), body)
    for number, sent, status in ((8, body, 409), (9, archive({"other": ""}), 409), (9, body, 200)):
        headers = gateway.stack.release_headers(number, sent)
        assert (await gateway.ask("PUT", "/v1/release", sent, headers))[0] == status
    wrong = {**gateway.stack.release_headers(10, body), "X-Hybridnet-Number": "11"}
    assert (await gateway.ask("PUT", "/v1/release", body, wrong))[0] == 403


async def test_unknown_paths_and_methods_are_answered_in_json(gateway: Gateway) -> None:
    assert await gateway.ask("GET", "/v2/status") == (404, {"status": 404, "reason": "not found"})
    assert (await gateway.ask("DELETE", "/v1/roster"))[0] == 405


async def test_a_thousand_requests_at_once_leave_the_service_alive(gateway: Gateway) -> None:
    await gateway.push(*signed(gateway.stack, roster(1)))
    await gateway.until_applied(1)
    peers = dict(gateway.wireguard.state)

    async def attempt() -> int | str:
        try:
            return (await gateway.push(b"{}", "A" * 86 + "=="))[0]
        except (aiohttp.ClientError, OSError) as error:
            return type(error).__name__

    seen = Counter(await asyncio.gather(*(attempt() for _ in range(1000))))
    assert seen[403] > 0
    assert not {200, 201, 500} & set(seen)
    assert (await gateway.ask("GET", "/v1/status"))[0] == 200
    assert dict(gateway.wireguard.state) == peers


async def test_a_body_is_taken_as_it_is_sent_and_never_decompressed(gateway: Gateway) -> None:
    body, signature = signed(gateway.stack, roster(1))
    packed = {"X-Hybridnet-Signature": signature, "Content-Encoding": "gzip"}
    assert (await gateway.ask("PUT", "/v1/roster", gzip.compress(body), packed))[0] == 403
    assert (await gateway.ask("PUT", "/v1/roster", body, {"X-Hybridnet-Signature": signature}))[0] == 201


async def test_slow_clients_lose_their_place_and_nobody_waits_for_them(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ssl.create_default_context(cadata=gateway.stack.ca_pem)
    head = b"PUT /v1/roster HTTP/1.1\r\nHost: gw\r\nX-Hybridnet-Signature: AA==\r\nContent-Length: 1000\r\n\r\nabc"
    for words, tls in ((b"", False), (b"", True), (b"GET /v1", True), (head, True)):
        with monkeypatch.context() as during:
            during.setattr(listening, "LIFETIME_SECONDS" if tls else "HANDSHAKE_SECONDS", 0.5)
            reader, writer = await asyncio.open_connection(PUBLIC_ADDRESS, gateway.port, ssl=client if tls else None)
            writer.write(words)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
    assert (await gateway.ask("GET", "/v1/status"))[0] == 200


async def test_a_client_that_goes_in_the_middle_of_a_body_changes_nothing(gateway: Gateway) -> None:
    body, signature = signed(gateway.stack, roster(1))
    client = ssl.create_default_context(cadata=gateway.stack.ca_pem)
    _, writer = await asyncio.open_connection(PUBLIC_ADDRESS, gateway.port, ssl=client)
    lines = [
        "PUT /v1/roster HTTP/1.1",
        "Host: gw",
        f"X-Hybridnet-Signature: {signature}",
        f"Content-Length: {len(body)}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body[:-10])
    await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    assert (await gateway.ask("GET", "/v1/status"))[1]["roster"] is None
    assert not (gateway.state / "roster.json").exists()


async def test_more_connections_than_there_is_room_for_wait_their_turn(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HANDSHAKE_SECONDS", 5.0)
    idle = [socket.create_connection((PUBLIC_ADDRESS, gateway.port)) for _ in range(listening.CONNECTIONS + 20)]
    try:
        assert (await asyncio.wait_for(gateway.ask("GET", "/v1/status"), 60))[0] == 200
    finally:
        for each in idle:
            each.close()
