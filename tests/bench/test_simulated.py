"""Simulated machines join a real service."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.simulated import Joiner, Refused, Task, new_key, public_key
from node import stage0
from tests.node.pools import GATEWAY_KEYS, PUBLIC_ADDRESS, TOKENS, PoolGateway, pool_roster, serving
from tests.node.support import Stack


@pytest.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PoolGateway]:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    async with serving(tmp_path, Stack()) as found:
        await found.push(pool_roster())
        yield found


def joiner(gateway: PoolGateway, token: str = TOKENS["burst"]) -> Joiner:
    url = f"https://{PUBLIC_ADDRESS}:{gateway.port}"
    return Joiner(url, gateway.stack.ca_pem, token, "burst", GATEWAY_KEYS[1])


async def test_each_joins_with_a_key_of_its_own_and_one_key_has_one_lease(gateway: PoolGateway) -> None:
    key, ours = new_key(), joiner(gateway)
    first = await asyncio.to_thread(ours.join, "i-1", key)
    again = await asyncio.to_thread(ours.join, "i-1", key, first.ticket)
    others = await asyncio.gather(*(asyncio.to_thread(ours.join, f"i-{number}") for number in range(2, 6)))
    assert again == first
    assert len({answer.address for answer in (first, *others)}) == 5
    assert public_key(key) in gateway.wireguard.state
    assert len(gateway.live()) == 5


async def test_a_refusal_has_its_status_and_reason(gateway: PoolGateway) -> None:
    with pytest.raises(Refused, match="403 unknown join token") as caught:
        await asyncio.to_thread(joiner(gateway, "another").join, "i-1")
    assert caught.value.status == 403
    assert gateway.live() == []


async def test_a_process_of_a_measurement_does_what_it_is_told(gateway: PoolGateway) -> None:
    url = f"https://{PUBLIC_ADDRESS}:{gateway.port}"
    task = Task(url, gateway.stack.ca_pem, TOKENS["burst"], "burst", GATEWAY_KEYS[1], "a", 3)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.simulated", stdin=PIPE, stdout=PIPE)
    said, _ = await process.communicate(f"{json.dumps(asdict(task))}\nstatus\njoin\n".encode())
    ready, status, joins = said.decode().splitlines()
    assert ready == "ready"
    assert (len(json.loads(status)["seconds"]), json.loads(status)["addresses"]) == (3, [])
    assert len(json.loads(joins)["seconds"]) == 3
    assert set(json.loads(joins)["addresses"]) == {str(lease.address) for lease in gateway.live()}
    assert len(gateway.live()) == 3
