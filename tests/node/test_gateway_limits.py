"""Who may fail how often, over real HTTPS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node import stage0
from node.gateway.identity.gcp import GoogleKeys
from tests.node.identities import google_keys
from tests.node.pools import (
    Member,
    PoolGateway,
    pool_roster,
    serving,
)
from tests.node.support import Stack


@pytest.fixture
async def gateway(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PoolGateway]:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    async with serving(tmp_path, stack, google=GoogleKeys(google_keys)) as found:
        await found.push(pool_roster())
        yield found


async def test_failures_are_counted_for_those_who_fail(gateway: PoolGateway) -> None:
    nat, wrong = "127.9.9.1", Member("i-1", token="wrong")
    statuses = [(await gateway.join(wrong, nat))[0] for _ in range(75)]
    assert statuses[:60] == [403] * 60
    assert statuses[-1] == 429
    assert (await gateway.join(wrong, nat))[1]["retry_after"] == 1
    assert (await gateway.ask("GET", "/v1/release", source=nat))[0] == 429
    assert (await gateway.join(Member("i-2"), nat))[0] == 201, "a valid token pays for nobody else"
    assert (await gateway.join(wrong, "127.9.9.2"))[0] == 403
    lines = [line for line in gateway.audit() if line["event"] == "refuse"]
    assert len(lines) < 75


async def test_a_member_that_fails_pays_for_itself_alone(gateway: PoolGateway) -> None:
    nat, broken = "127.9.9.1", Member("i-1")
    outside = IPv4Address("127.0.1.1")
    statuses = [(await gateway.join(broken, nat, address=outside))[0] for _ in range(30)]
    assert statuses[:20] == [400] * 20
    assert statuses[-1] == 429
    assert (await gateway.join(Member("i-2"), nat))[0] == 201


async def test_refusals_that_are_left_out_of_the_log_are_counted(gateway: PoolGateway) -> None:
    wrong = Member("i-1", token="wrong")
    for _ in range(80):
        await gateway.join(wrong)
    await gateway.join(wrong, "127.9.9.2")
    lines = [line for line in gateway.audit() if line["event"] == "refuse"]
    assert len(lines) < 80
    assert sum(1 + line.get("unwritten", 0) for line in lines) == 81
    assert (lines[-1]["source"], lines[-1]["status"]) == ("127.9.9.2", 403)
