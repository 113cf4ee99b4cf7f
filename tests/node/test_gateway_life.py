"""What becomes of leases over real HTTPS: draining, leaving, rosters, the gateway's restart."""

from __future__ import annotations

import asyncio
import json
import stat
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node import stage0
from node.gateway.boot import check
from node.gateway.lease import Refusal
from tests.node.pools import SEAL_KEY, Member, PoolGateway, pool, pool_roster, serving
from tests.node.support import GATEWAY_ADDRESS, Stack, key, signed, write_config

SPOKE = IPv4Address("127.0.1.1")


async def test_a_service_of_which_a_part_fails_ends_and_says_why(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 0 starts it again then; without that part it would go on as if nothing were."""

    def broken(*_: object) -> None:
        raise ValueError("a mistake")

    async def live() -> None:
        async with serving(tmp_path, stack) as gateway:
            monkeypatch.setattr("node.gateway.nudges.Nudges.due", broken)
            await gateway.push(pool_roster())
            await gateway.until(gateway.service.stop.is_set, "the service's end")

    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    with pytest.raises(ValueError, match="a mistake"):
        await live()


async def test_a_machine_drains_and_leaves(gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.gateway.members.LEAVE_SECONDS", 3.0)
    member = Member("i-1")
    await gateway.join(member)
    told = {"schema_version": 1, "name": "burst-i1", "pool": "burst", "address": member.address, "port": 8000}
    assert await gateway.tell(member, "GET") == (200, {**told, "state": "active", "weight": 100})
    answer = await gateway.tell(member, "PATCH", {"weight": 10, "reason": "rebalance"})
    assert answer == (200, {**told, "state": "active", "weight": 10})
    for _ in range(2):
        answer = await gateway.tell(member, "PATCH", {"state": "draining", "reason": "spot notice"})
        assert answer == (200, {**told, "state": "draining", "weight": 10})
    (shown,) = (await gateway.status())["leases"]
    assert (shown["state"], shown["weight"]) == ("draining", 10)
    assert await gateway.tell(member, "DELETE", {"reason": "drained"}) == (200, {**told, "state": "left", "weight": 10})
    assert member.public_key in gateway.peers(), "the answer came by this peer"
    await gateway.until(lambda: gateway.peers() == {key("spoke-1")}, "the peer's end")
    assert gateway.live() == []
    story = [(line["event"], line.get("reason")) for line in gateway.audit() if line.get("node") == "burst-i1"]
    assert story == [
        ("join", None),
        ("weight", "rebalance"),
        ("drain", "spot notice"),
        ("leave", "drained"),
    ]
    assert (await gateway.tell(member, "GET"))[0] == 404


async def test_who_is_leaving_has_no_lease_any_more(gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.gateway.members.LEAVE_SECONDS", 30.0)
    member = Member("i-1")
    await gateway.join(member)
    assert (await gateway.tell(member, "DELETE"))[0] == 200
    assert [lease.state for lease in gateway.live()] == ["left"]
    for method in ("GET", "PATCH", "DELETE"):
        assert (await gateway.tell(member, method))[0] == 404
    assert gateway.events("burst-i1") == ["join", "leave"]
    for task in list(gateway.service.members.leaving.values()):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_roster_that_is_taken_holds_for_the_next_join(gateway: PoolGateway) -> None:
    body, signature = signed(gateway.stack, pool_roster(2, pools=(pool(),)))
    assert (await gateway.service.offers.roster(body, signature))[0] == 201
    with pytest.raises(Refusal, match="no such pool"):
        gateway.network.leases.examine(Member("4711", "other").request())


async def test_who_left_may_join_again_at_once(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    first = member.address
    await gateway.tell(member, "DELETE")
    assert (await gateway.join(member))[0] == 201
    assert member.address == first
    assert (await gateway.tell(member, "GET"))[0] == 200
    await gateway.until(lambda: not gateway.service.members.leaving, "the end of the leave")
    assert (await gateway.tell(member, "GET"))[0] == 200, "the old lease's end is not the new one's"
    assert member.public_key in gateway.peers()


async def test_the_status_tells_of_leases_and_pools(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    gateway.probe.alive |= {IPv4Address(member.address), SPOKE}
    await gateway.until(
        lambda: IPv4Address(member.address) in gateway.service.health.healthy(), "the first answer to a probe"
    )
    status = await gateway.status()
    (shown,) = status["leases"]
    joined = shown.pop("joined")
    assert isinstance(joined, float)
    assert shown == {
        "name": "burst-i1",
        "pool": "burst",
        "address": member.address,
        "public_key": member.public_key,
        "instance_id": "i-1",
        "state": "active",
        "weight": 100,
        "healthy": True,
        "endpoint": None,
        "handshake_age": None,
        "rx": 0,
        "tx": 0,
        "site": "aws",
        "gateway": "gw",
        "rtt": 0.002,
        "rx_rate": 0,
        "tx_rate": 0,
    }
    assert status["pools"] == {
        "burst": {"site": "aws", "limit": 8, "working": 1, "leases": 1, "resting": 0, "free": 126},
        "other": {"site": "gcp", "limit": 8, "working": 0, "leases": 0, "resting": 0, "free": 127},
    }
    assert status["cleanup"] is None
    assert [peer["name"] for peer in status["peers"]] == ["spoke-1"], "peers are the declared ones"
    stranger = (await gateway.ask("GET", "/v1/status"))[1]
    for query in ("?brief", "?brief=1"):
        assert (await gateway.ask("GET", f"/v1/status{query}", address=GATEWAY_ADDRESS))[1] == stranger
    assert not {"peers", "drift_repaired", "leases", "pools", "cleanup"} & set(stranger)
    await gateway.until(lambda: "connect" in gateway.events("burst-i1"), "the log's line")
    assert gateway.events("burst-i1") == ["join", "connect"]


async def test_no_secret_is_told_or_logged(gateway: PoolGateway) -> None:
    members = [Member("i-1"), Member("i-2")]
    for member in members:
        await gateway.join(member)
    status = json.dumps(await gateway.status())
    log = (gateway.state / "audit.jsonl").read_text()
    for member in members:
        assert member.answer
        for secret in (member.answer.secret, member.answer.ticket, member.keys[0], SEAL_KEY, "token-of"):
            assert secret not in status
            assert secret not in log
            assert secret.encode() not in (gateway.state / "leases.db").read_bytes()
    assert stat.S_IMODE((gateway.state / "audit.jsonl").stat().st_mode) == 0o600


async def test_a_restart_loses_nothing(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    stays, leaves = Member("i-1"), Member("i-2")
    async with serving(tmp_path, stack) as before:
        await before.push(pool_roster())
        await before.join(stays)
        await before.join(leaves)
        await before.tell(stays, "PATCH", {"weight": 7})
        before.network.leases.change(before.network.leases.live()[1].id, "left", None)
    async with serving(tmp_path, stack) as after:
        await after.until(lambda: after.peers() == {key("spoke-1"), stays.public_key}, "the peers of before")
        assert (await after.tell(stays, "GET"))[1]["weight"] == 7
        assert (await after.tell(leaves, "GET"))[0] == 404, "a leave that was cut short is finished"
        first = stays.answer
        assert (await after.join(stays))[0] == 200
        assert stays.answer == first
        assert after.network.drift_repaired == 0


async def test_a_roster_ends_what_it_has_no_room_for(gateway: PoolGateway) -> None:
    one, other = Member("i-1"), Member("4711", "other")
    await gateway.join(one)
    await gateway.join(other)
    await gateway.push(pool_roster(2, pools=(pool(),)))
    assert gateway.peers() == {key("spoke-1"), one.public_key}
    line = next(line for line in gateway.audit() if line.get("node") == "other-4711" and line["event"] == "roster")
    assert line["reason"] == "pool removed"


async def test_a_member_peer_that_somebody_took_away_comes_back(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    del gateway.wireguard.state[member.public_key]
    gateway.service.wake()
    await gateway.until(lambda: member.public_key in gateway.peers(), "the repair")
    await gateway.until(lambda: gateway.network.drift_repaired > 0, "that it is counted")
    assert (await gateway.status())["drift_repaired"] == 1


async def test_a_join_waits_for_the_interface_and_says_so_when_it_does_not_take_the_peer(
    gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.gateway.admission.FLUSH_SECONDS", 0.2)
    gateway.wireguard.broken = True
    member = Member("i-1")
    status, answer = await gateway.join(member)
    assert (status, answer["reason"]) == (503, "the interface has not taken the peer yet")
    gateway.wireguard.broken = False
    assert (await gateway.join(member))[0] in (200, 503)
    await gateway.until(lambda: member.public_key in gateway.peers(), "the peer")
    assert (await gateway.join(member))[0] == 200
    assert len(gateway.live()) == 1


def test_a_self_check_looks_at_the_leases_and_makes_none(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path / "config", stack, "gateway", "10.100.0.1:8443")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path / "config"))
    check()
    assert not list(tmp_path.glob("leases.db*"))
    (tmp_path / "leases.db").write_text("x" * 9000)
    with pytest.raises(Exception, match=r"leases\.db cannot be used"):
        check()
