"""Joining a pool over real HTTPS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from node import stage0
from tests.node.pools import GATEWAY_KEYS, Member, PoolGateway, pool, pool_roster, serving
from tests.node.support import GATEWAY_ADDRESS, Stack


@pytest.fixture
async def gateway(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PoolGateway]:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    async with serving(tmp_path, stack) as found:
        await found.push(pool_roster())
        yield found


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
