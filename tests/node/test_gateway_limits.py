"""Who may fail how often, over real HTTPS."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from node import joining
from node.gateway.lease import Refusal
from overlay.pools import token_digest
from tests.node.pools import TOKENS, Member, PoolGateway, key_pair, pool, pool_roster

pytestmark = pytest.mark.usefixtures("still")


async def test_failures_are_counted_for_those_who_fail(gateway: PoolGateway) -> None:
    nat, wrong = "127.9.9.1", Member("i-1", token="wrong")
    statuses = [(await gateway.join(wrong, nat))[0] for _ in range(75)]
    assert statuses == [403] * 60 + [429] * 15
    assert (await gateway.join(wrong, nat))[1]["retry_after"] == 2
    assert (await gateway.ask("GET", "/v1/release", source=nat))[0] == 429
    assert (await gateway.join(Member("i-2"), nat))[0] == 201, "a valid token pays for nobody else"
    assert (await gateway.join(wrong, "127.9.9.2"))[0] == 403
    lines = [line for line in gateway.audit() if line["event"] == "refuse"]
    assert len(lines) == 61


async def test_a_member_that_fails_pays_for_itself_alone(gateway: PoolGateway) -> None:
    nat, broken = "127.9.9.1", Member("i-1")
    outside = IPv4Address("127.0.1.1")
    statuses = [(await gateway.join(broken, nat, address=outside))[0] for _ in range(30)]
    assert statuses == [400] * 20 + [429] * 10
    assert (await gateway.join(Member("i-2"), nat))[0] == 201


async def test_who_does_not_hold_a_key_locks_its_holder_out_by_nothing(gateway: PoolGateway) -> None:
    nat, victim = "127.9.9.1", Member("i-1")
    assert (await gateway.join(victim, nat))[0] == 201
    thief, fresh = Member("i-1", keys=(key_pair()[0], victim.public_key)), Member("i-2")
    statuses = [(await gateway.join(thief, nat))[0] for _ in range(75)]
    assert statuses == [403] * 60 + [429] * 15
    headers = {"Authorization": f"Bearer {TOKENS['burst']}"}
    assert (await gateway.ask("POST", "/v1/join", b"{", headers, source=nat))[0] == 429
    assert (await gateway.join(victim, nat))[0] == 200
    assert (await gateway.join(fresh, nat))[0] == 201
    assert (await gateway.join(thief, "127.9.9.2"))[0] == 403


async def test_a_ticket_is_seen_behind_whoever_fails_with_an_old_token(gateway: PoolGateway) -> None:
    nat, old, late = "127.9.9.1", Member("i-1"), Member("i-2")
    for member in (old, late):
        assert (await gateway.join(member, nat))[0] == 201
    assert old.answer
    assert late.answer
    await gateway.push(pool_roster(2, pools=(pool(token_sha256=token_digest("a new one")),)))
    assert (await gateway.tell(late, "DELETE"))[0] == 200
    statuses = [(await gateway.join(Member("i-3"), nat))[0] for _ in range(75)]
    assert statuses == [403] * 60 + [429] * 15
    assert (await gateway.join(old, nat, ticket=old.answer.ticket))[0] == 200
    assert (await gateway.join(late, nat, ticket=late.answer.ticket))[0] == 201
    assert (await gateway.join(old, nat))[0] == 429
    assert (await gateway.join(Member("i-3"), nat, ticket=old.answer.ticket))[0] == 429

    async def read() -> bytes:
        raise AssertionError("no ticket can be in it")

    for token, length in ((TOKENS["burst"], None), (TOKENS["burst"], joining.LIMIT + 1), (None, 900)):
        with pytest.raises(Refusal, match="too many failed attempts"):
            await gateway.service.joins.join(nat, token, None, length, read)
    outside = IPv4Address("127.0.1.1")
    await gateway.tell(late, "DELETE")
    statuses = [(await gateway.join(late, nat, ticket=late.answer.ticket, address=outside))[0] for _ in range(30)]
    assert statuses == [400] * 20 + [429] * 10, "its own failures are its own"


async def test_a_lease_that_is_changed_all_the_time(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    answers = [await gateway.tell(member, "PATCH", {"weight": number}) for number in range(1, 41)]
    statuses = [status for status, _ in answers]
    assert (statuses[:10], set(statuses)) == ([200] * 10, {200, 429})
    assert all(answer["retry_after"] > 0 for status, answer in answers if status == 429)
    events = gateway.events()
    assert (events.count("weight"), events.count("refuse")) == (statuses.count(200), 0)
    assert (await gateway.tell(member, "GET"))[0] == 200


async def test_refusals_that_are_left_out_of_the_log_are_counted(gateway: PoolGateway) -> None:
    wrong = Member("i-1", token="wrong")
    for _ in range(80):
        await gateway.join(wrong)
    await gateway.join(wrong, "127.9.9.2")
    lines = [line for line in gateway.audit() if line["event"] == "refuse"]
    assert len(lines) == 61
    assert sum(1 + line.get("unwritten", 0) for line in lines) == 81
    assert (lines[-1]["source"], lines[-1]["status"]) == ("127.9.9.2", 403)
