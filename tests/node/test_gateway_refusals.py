"""What a gateway refuses to strangers and to machines of pools, over real HTTPS: it stays up, and nothing changes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from node import joining, stage0
from overlay.pools import token_digest
from tests.node.pools import (
    GATEWAY_KEYS,
    PUBLIC_ADDRESS,
    TOKENS,
    Member,
    PoolGateway,
    key_pair,
    pool,
    pool_roster,
    serving,
)
from tests.node.support import GATEWAY_ADDRESS, Stack, key
from tests.node.unchanging import everything, refused, unchanged


async def test_tokens_that_are_not_the_pools(gateway: PoolGateway) -> None:
    await refused(gateway, Member("i-1", token="not-a-token"), 403, "unknown join token")
    await refused(gateway, Member("i-1", token=TOKENS["other"]), 403, "another pool's")
    body = joining.request_body(Member("i-1").request())
    async with unchanged(gateway):
        assert (await gateway.ask("POST", "/v1/join", body))[0] == 403
        assert (await gateway.ask("POST", "/v1/join", body, {"Authorization": "Basic dG9rZW4="}))[0] == 403
    assert TOKENS["other"] not in (gateway.state / "audit.jsonl").read_text()


async def test_a_revoked_token_keeps_out_whoever_is_new_and_nobody_else(gateway: PoolGateway) -> None:
    old = Member("i-1")
    assert (await gateway.join(old))[0] == 201
    first = old.answer
    await gateway.push(pool_roster(2, pools=(pool(token_sha256=token_digest("a new one")),)))
    await refused(gateway, Member("i-2"), 403, "unknown join token")
    await refused(gateway, old, 403, "unknown join token")
    assert first
    assert (await gateway.join(old, ticket=first.ticket))[0] == 200
    assert old.answer == first
    await refused(gateway, Member("i-3"), 403, "unknown join token", ticket=first.ticket)
    assert (await gateway.join(Member("i-2", token="a new one")))[0] == 201


async def test_requests_that_are_none(gateway: PoolGateway) -> None:
    good = json.loads(joining.request_body(Member("i-1").request()))
    bodies = [
        b"",
        b"{",
        b"[]",
        b"[" * 10_000,
        b"\xff\xfe",
        json.dumps({**good, "more": 1}).encode(),
        json.dumps({**good, "schema_version": 2}).encode(),
        json.dumps({**good, "instance_id": ""}).encode(),
        json.dumps({**good, "instance_id": "i\n1"}).encode(),
        json.dumps({**good, "address": "127.0.1"}).encode(),
        json.dumps({**good, "public_key": "AAAA"}).encode(),
        json.dumps({**good, "public_key": base64.b64encode(bytes(32)).decode()}).encode(),
        json.dumps({**good, "proof": {"cloud": "other"}}).encode(),
        json.dumps(good).encode()[:-1] + b', "pool": "burst"}',
    ]
    async with unchanged(gateway):
        for body in bodies:
            headers = {"Authorization": f"Bearer {TOKENS['burst']}"}
            status, answer = await gateway.ask("POST", "/v1/join", body, headers)
            assert status == 400, (body, answer)


async def test_keys_that_nobody_holds_or_somebody_else_does(gateway: PoolGateway) -> None:
    first = Member("i-1")
    assert (await gateway.join(first))[0] == 201
    stranger = Member("i-2")
    for public in (first.public_key, key("spoke-1"), GATEWAY_KEYS[1], key_pair()[1]):
        await refused(gateway, replace(stranger, keys=(stranger.keys[0], public)), 403, joining.POSSESSION)
    await refused(gateway, Member("i-2", keys=first.keys), 409, "another machine has this key")
    await refused(gateway, Member("i-1", "other", keys=first.keys), 409, "another machine has this key")
    body = joining.request_body(stranger.request())
    async with unchanged(gateway):
        headers = {**stranger.headers(body), joining.POSSESSION: "nothing"}
        assert (await gateway.ask("POST", "/v1/join", body, headers))[0] == 403
        # The point 1, of order 4: every shared secret with it is zero (RFC 7748, section 6.1).
        small = base64.b64encode(bytes([1]) + bytes(31)).decode()
        body = joining.request_body(stranger.request(public_key=small))
        assert (await gateway.ask("POST", "/v1/join", body, headers))[0] == 400


async def test_keys_of_declared_nodes_and_revoked_ones(gateway: PoolGateway) -> None:
    spoke, revoked = Member("i-1"), Member("i-2")
    made = pool_roster(2, revoked_keys=(revoked.public_key,))
    nodes = tuple(replace(node, public_key=spoke.public_key) if node.name == "spoke-1" else node for node in made.nodes)
    await gateway.push(replace(made, nodes=nodes))
    await refused(gateway, spoke, 409, "a declared node has this key")
    await refused(gateway, revoked, 403, "revoked")


async def test_addresses_that_are_not_to_be_had(gateway: PoolGateway) -> None:
    holder = Member("i-1")
    assert (await gateway.join(holder, address=IPv4Address("127.0.1.200")))[0] == 201
    assert holder.address == "127.0.1.200"
    outside = ("127.0.1.1", "127.0.1.127", "127.0.2.130", "10.0.0.1", "127.0.0.1", "127.0.1.255")
    for address in outside:
        await refused(gateway, Member("i-2"), 400, "outside the pool's range", address=IPv4Address(address))
    await refused(gateway, Member("i-2"), 409, "not free", address=IPv4Address("127.0.1.200"))
    assert (await gateway.tell(holder, "DELETE"))[0] == 200
    await gateway.until(lambda: not gateway.live() and gateway.peers() == {key("spoke-1")}, "the lease's end")
    await refused(gateway, Member("i-2"), 409, "not free", address=IPv4Address("127.0.1.200"))
    assert (await gateway.join(holder))[0] == 201
    assert holder.address == "127.0.1.200", "its own address comes back although it rests"


async def test_a_full_pool(gateway: PoolGateway) -> None:
    for number in range(8):
        assert (await gateway.join(Member(f"i-{number}")))[0] == 201
    answer = await refused(gateway, Member("i-8"), 503, "full")
    assert answer["retry_after"] > 0
    assert (await gateway.join(Member("i-9", "other")))[0] == 201, "another pool has room"


async def test_a_pool_without_a_free_address(gateway: PoolGateway) -> None:
    small = pool(addresses=IPv4Network("127.0.1.128/30"), limit=2)
    await gateway.push(pool_roster(2, pools=(small,)))
    members = [Member(f"i-{number}") for number in range(5)]
    for member in members[:4]:
        assert (await gateway.join(member))[0] == 201
        assert (await gateway.tell(member, "PATCH", {"state": "draining"}))[0] == 200
    await refused(gateway, members[4], 503, "4 machines work, drain or are silent")
    assert (await gateway.tell(members[0], "DELETE"))[0] == 200
    await gateway.until(lambda: members[0].public_key not in gateway.peers(), "the lease's end")
    await refused(gateway, members[4], 503, "taken or rests")


async def test_bodies_that_are_too_large(gateway: PoolGateway) -> None:
    headers = {"Authorization": f"Bearer {TOKENS['burst']}"}
    async with unchanged(gateway):
        for size in (joining.LIMIT + 1, 10_000_000):
            assert (await gateway.ask("POST", "/v1/join", b"x" * size, headers))[0] == 413
        assert (await gateway.ask("POST", "/v1/join", b"x" * 10_000_000))[0] == 413
        assert await told_in_chunks(gateway, headers) == 413
    member = Member("i-1")
    assert (await gateway.join(member))[0] == 201
    async with unchanged(gateway):
        for method in ("PATCH", "DELETE"):
            answer = await gateway.ask(method, "/v1/lease", b" " * 5000, member.secret, GATEWAY_ADDRESS, member.address)
            assert answer[0] == 413


@pytest.mark.parametrize("header", ["Authorization: Bearer \xff", f"{joining.POSSESSION}: \xff\xfe"])
async def test_headers_that_are_no_text(gateway: PoolGateway, header: str) -> None:
    body = joining.request_body(Member("i-1").request())
    head = ["POST /v1/join HTTP/1.1", "Host: gw", header, f"Content-Length: {len(body)}"]
    if not header.startswith("Auth"):
        head.append(f"Authorization: Bearer {TOKENS['burst']}")
    async with unchanged(gateway):
        assert await told_raw(gateway, "\r\n".join([*head, "", ""]).encode("latin-1") + body) == 403


async def told_raw(gateway: PoolGateway, *parts: bytes) -> int:
    """The status of the answer to a request of exactly these bytes."""
    tls = ssl.create_default_context(cadata=gateway.stack.ca_pem)
    reader, writer = await asyncio.open_connection(PUBLIC_ADDRESS, gateway.port, ssl=tls)
    for part in parts:
        writer.write(part)
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return int(line.split()[1])


async def told_in_chunks(gateway: PoolGateway, headers: dict[str, str]) -> int:
    """The status of an answer to a body that does not say its length and is 10 MB long."""
    head = ["POST /v1/join HTTP/1.1", "Host: gw", "Transfer-Encoding: chunked"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
    return await told_raw(gateway, "\r\n".join([*head, "", ""]).encode(), *[chunk] * 100)


async def test_two_hundred_slow_bodies_keep_nobody_waiting(gateway: PoolGateway) -> None:
    tls = ssl.create_default_context(cadata=gateway.stack.ca_pem)
    lines = ["POST /v1/join HTTP/1.1", "Host: gw", f"Authorization: Bearer {TOKENS['burst']}", "Content-Length: 900"]
    before = everything(gateway)

    async def drip(number: int) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection(PUBLIC_ADDRESS, gateway.port, ssl=tls)
        # Some stop in the middle of the head, the others in that of the body.
        writer.write("\r\n".join([*lines, "", "{"]).encode()[: None if number % 2 else -40])
        await writer.drain()
        return writer

    writers = await asyncio.gather(*map(drip, range(200)))
    try:
        member = Member("i-1")
        status, _ = await asyncio.wait_for(gateway.join(member), 9)
        assert status == 201
        assert (await asyncio.wait_for(gateway.tell(member, "GET"), 9))[0] == 200
        assert everything(gateway)["leases"] != before["leases"]
    finally:
        for writer in writers:
            writer.transport.abort()


async def test_a_leave_is_only_for_oneself_and_only_once(gateway: PoolGateway) -> None:
    one, other = Member("i-1"), Member("i-2")
    await asyncio.gather(gateway.join(one), gateway.join(other))
    async with unchanged(gateway):
        for source, secret in ((one.address, other.secret), (other.address, one.secret), (one.address, {})):
            for method, body in (("DELETE", b"{}"), ("PATCH", b'{"state": "draining"}'), ("GET", b"")):
                answer = await gateway.ask(method, "/v1/lease", body, secret, GATEWAY_ADDRESS, source)
                assert answer == (403, {"status": 403, "reason": "wrong lease secret"})
        nobody = await gateway.ask("DELETE", "/v1/lease", b"{}", one.secret, GATEWAY_ADDRESS, "127.0.1.77")
        assert nobody == (404, {"status": 404, "reason": "no lease has this address"})
    assert (await gateway.tell(one, "DELETE", {"reason": "over"}))[0] == 200
    await gateway.until(lambda: one.public_key not in gateway.peers(), "the peer's end")
    assert gateway.peers() == {key("spoke-1"), other.public_key}
    async with unchanged(gateway):
        for _ in range(3):
            assert (await gateway.tell(one, "DELETE", {"reason": "over"}))[0] == 404
    assert gateway.events("burst-i1") == ["join", "leave"]


async def test_a_leave_that_is_replayed_by_the_next_holder_of_the_address(gateway: PoolGateway) -> None:
    await gateway.push(pool_roster(2, pools=(pool(rest=0),)))
    one, other = Member("i-1"), Member("i-2")
    assert (await gateway.join(one))[0] == 201
    assert (await gateway.tell(one, "DELETE"))[0] == 200
    await gateway.until(lambda: not gateway.live() and gateway.peers() == {key("spoke-1")}, "the lease's end")
    assert (await gateway.join(other, address=IPv4Address(one.address)))[0] == 201
    async with unchanged(gateway):
        assert (await gateway.tell(one, "DELETE"))[0] == 403


async def test_what_is_for_the_tunnel_only(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    async with unchanged(gateway):
        for source in ("127.9.9.9", member.address):
            for method in ("GET", "PATCH", "DELETE"):
                answer = await gateway.ask(method, "/v1/lease", b"{}", member.secret, PUBLIC_ADDRESS, source)
                assert answer == (403, {"status": 403, "reason": "only over the overlay"})
        told = (await gateway.ask("GET", "/v1/status"))[1]
        assert not {"peers", "leases", "pools", "cleanup"} & set(told)


@pytest.mark.parametrize(
    "said",
    [{"state": "active"}, {"state": "left"}, {"weight": 0}, {"weight": 101}, {"weight": True}, {"weight": "9"},
     {"reason": "x" * 201}, {"reason": 7}, {"other": 1}],
    ids=str,
)  # fmt: skip
async def test_what_a_machine_cannot_say_of_itself(gateway: PoolGateway, said: dict[str, Any]) -> None:
    member = Member("i-1")
    await gateway.join(member)
    async with unchanged(gateway):
        assert (await gateway.tell(member, "PATCH", said))[0] == 400


async def test_the_release_is_for_the_overlay_and_for_who_may_join(gateway: PoolGateway) -> None:
    cases: list[tuple[str, dict[str, str], int]] = [
        (PUBLIC_ADDRESS, {}, 403),
        (PUBLIC_ADDRESS, {"Authorization": "Bearer no-token"}, 403),
        (PUBLIC_ADDRESS, {"Authorization": f"Bearer {TOKENS['other']}"}, 200),
        (GATEWAY_ADDRESS, {}, 200),
    ]
    for address, headers, status in cases:
        assert (await gateway.ask("GET", "/v1/release", b"", headers, address))[0] == status


async def test_a_gateway_without_a_seal_key_serves_declared_nodes_and_takes_nobody(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    async with serving(tmp_path, stack, seal=None) as gateway:
        await gateway.push(pool_roster())
        assert gateway.peers() == {key("spoke-1")}
        answer = await refused(gateway, Member("i-1"), 503, "raise its `revision`")
        assert answer["retry_after"] > 0
