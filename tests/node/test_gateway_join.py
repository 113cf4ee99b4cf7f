"""Joining a pool over real HTTPS."""

from __future__ import annotations

import asyncio
import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from node import stage0
from tests.node.pools import GATEWAY_KEYS, TOKENS, Member, PoolGateway, pool, pool_roster, serving
from tests.node.support import GATEWAY_ADDRESS, Stack


async def test_a_machine_joins_and_is_a_peer_before_it_is_answered(gateway: PoolGateway) -> None:
    member = Member("i-0abc1234def567890")
    status, _ = await gateway.join(member)
    assert status == 201
    answer = member.answer
    assert answer
    assert gateway.wireguard.state[member.public_key].allowed_ips == {f"{answer.address}/32"}
    assert (answer.name, answer.address) == ("burst-ef567890", IPv4Address("127.0.1.128"))
    assert (answer.overlay, answer.mtu, str(answer.control)) == (IPv4Network("127.0.0.0/16"), 1380, GATEWAY_ADDRESS)
    (peer,) = answer.peers
    assert (peer.public_key, peer.endpoint, peer.keepalive) == (GATEWAY_KEYS[1], "198.51.100.1:51820", 25)
    assert peer.allowed_ips == (IPv4Network("127.0.0.0/16"),)


async def test_the_same_key_again_gets_the_same_answer(gateway: PoolGateway) -> None:
    member = Member("i-1")
    first = (await gateway.join(member))[1]
    applied = len(gateway.wireguard.applied)
    assert await gateway.join(member) == (200, first)
    assert len(gateway.live()) == 1
    assert len(gateway.wireguard.applied) == applied
    assert gateway.events("burst-i1") == ["join", "rejoin"]


async def test_many_at_once_share_nothing(gateway: PoolGateway) -> None:
    await gateway.push(pool_roster(2, pools=(pool(limit=60),)))
    members = [Member(f"i-{number:017x}") for number in range(60)]
    assert {status for status, _ in await asyncio.gather(*map(gateway.join, members))} == {201}
    assert len({member.address for member in members}) == 60
    assert {member.public_key for member in members} < gateway.peers()
    assert len({lease.name for lease in gateway.live()}) == 60


async def test_after_a_lost_disk_each_machine_is_back_where_it_was(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    members = [Member(f"i-{number}") for number in range(3)]
    async with serving(tmp_path / "first", stack) as gateway:
        await gateway.push(pool_roster())
        for member in members:
            await gateway.join(member)
    before = [member.answer for member in members]
    async with serving(tmp_path / "second", stack) as gateway:
        await gateway.push(pool_roster(8))
        status, answer = await gateway.join(Member("i-9"))
        assert (status, answer["retry_after"] > 0) == (503, True), "whoever is new waits for those who were here"
        for member, old in zip(reversed(members), reversed(before), strict=True):
            assert old
            assert (await gateway.join(member, ticket=old.ticket))[0] == 201
        assert [member.answer for member in members] == before
        assert (await gateway.tell(members[0], "GET"))[0] == 200, "the secret of before is that of now"


async def test_a_member_that_was_broken_into_reaches_nothing_of_others(gateway: PoolGateway) -> None:
    """With one machine's key, token, ticket and lease secret: only more machines of its own pool, up to its limit."""
    victim, evil, elsewhere = Member("i-1"), Member("i-2"), Member("4711", "other")
    for member in (victim, evil, elsewhere):
        assert (await gateway.join(member))[0] == 201
    assert victim.answer
    assert evil.answer
    others = {lease.id: lease for lease in gateway.live() if lease.public_key != evil.public_key}

    thefts = [
        Member("i-1", keys=(evil.keys[0], victim.public_key)),
        Member("i-1", keys=evil.keys),
        Member("i-1"),
        Member("4711", "other", token=TOKENS["burst"]),
        Member("i-3", "other", token=TOKENS["burst"], keys=evil.keys),
    ]
    for theft in thefts:
        assert (await gateway.join(theft))[0] in (403, 409)
        assert (await gateway.join(theft, ticket=evil.answer.ticket))[0] in (403, 409)
        assert (await gateway.join(theft, ticket=victim.answer.ticket))[0] in (403, 409)
        assert theft.answer is None
    for address in ("127.0.2.130", "127.0.1.1", GATEWAY_ADDRESS):
        assert (await gateway.join(Member("i-3"), address=IPv4Address(address)))[0] == 400
    assert (await gateway.join(Member("i-3"), address=IPv4Address(victim.address)))[0] == 409

    for method, said in (("GET", {}), ("PATCH", {"state": "draining"}), ("DELETE", {})):
        for source, secret in ((evil.address, victim.secret), (victim.address, evil.secret)):
            body = json.dumps(said).encode()
            assert (await gateway.ask(method, "/v1/lease", body, secret, GATEWAY_ADDRESS, source))[0] == 403
    told = json.dumps((await gateway.ask("GET", "/v1/status", address=GATEWAY_ADDRESS, source=evil.address))[1])
    for member in (victim, elsewhere):
        assert member.answer
        assert not [each for each in (member.answer.secret, member.answer.ticket, *TOKENS.values()) if each in told]

    more = [Member(f"i-{number}") for number in range(10, 30)]
    statuses = [(await gateway.join(member))[0] for member in more]
    assert statuses == [201] * 6 + [503] * 14
    for room in (6, 2):
        for member in more:
            if member.answer:
                assert (await gateway.tell(member, "PATCH", {"state": "draining"}))[0] == 200
        more = [Member(f"i-{number}-{room}") for number in range(10)]
        statuses = [(await gateway.join(member))[0] for member in more]
        assert statuses == [201] * room + [503] * (10 - room), "twice the limit in all, whatever drains"
    live = {lease.id: lease for lease in gateway.live()}
    assert {ident: live[ident] for ident in others} == others
    added = [lease for lease in live.values() if lease.id not in others]
    assert {lease.pool for lease in added} == {"burst"}
    assert all(lease.address in pool().addresses for lease in added)
    assert gateway.wireguard.state[victim.public_key].allowed_ips == {f"{victim.address}/32"}
