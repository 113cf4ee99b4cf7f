"""What becomes of leases: leaving, draining, silence, the gateway's own blindness, and its restart."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node import config as machine
from node import stage0
from node.gateway import audit as auditing
from node.gateway import service as serving_
from node.gateway.admission import Admission, Store
from node.gateway.audit import Audit
from node.gateway.boot import check
from node.gateway.cleanup import Cleanup
from node.gateway.health import Health
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.lease import Lease
from node.gateway.limits import Buckets, source_of
from node.gateway.members import Members
from node.gateway.network import Network
from node.gateway.tickets import load_seal
from node.joining import Request
from tests.node.pools import SEAL_KEY, Member, PoolGateway, pool, pool_roster, serving
from tests.node.support import MemoryFirewall, MemoryProbe, MemoryWireGuard, Stack, key, signed, wait_for, write_config

SPOKE = IPv4Address("127.0.1.1")


@pytest.fixture
async def gateway(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PoolGateway]:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    async with serving(tmp_path, stack) as found:
        await found.push(pool_roster())
        yield found


async def test_a_machine_drains_and_leaves(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    told = {"schema_version": 1, "name": "burst-i1", "pool": "burst", "address": member.address}
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
    }
    assert status["pools"] == {
        "burst": {"limit": 8, "working": 1, "leases": 1, "resting": 0, "free": 126},
        "other": {"limit": 8, "working": 0, "leases": 0, "resting": 0, "free": 127},
    }
    assert status["cleanup"] is None
    assert [peer["name"] for peer in status["peers"]] == ["spoke-1"], "peers are the declared ones"
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


# Silence, with a clock that goes when it is told to.


class Time:
    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.steady = 50.0

    def clock(self) -> float:
        return self.wall

    def ticks(self) -> float:
        return self.steady

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Scene:
    """A gateway's members without the service around them."""

    def __init__(self, folder: Path, stack: Stack, spokes: int) -> None:
        write_config(folder / "config", stack, "gateway", "127.0.0.1:8443")
        (folder / "config" / "seal.key").write_text(SEAL_KEY)
        (folder / "state").mkdir()
        config = machine.Config(
            "gateway", "gw", (IPv4Address("127.0.0.1"), 8443), stack.public_key, folder / "state", folder / "config"
        )
        self.time = Time()
        self.wireguard, self.probe = MemoryWireGuard(), MemoryProbe()
        self.network = Network(config, self.wireguard, MemoryFirewall(), self.time.clock)
        self.network.load()
        self.network.rosters.offer(*signed(stack, pool_roster(spokes=spokes)))
        self.health = Health(self.probe, self.time.ticks)
        self.store, self.audit = Store(), Audit(folder / "state" / "audit.jsonl", self.time.clock)
        seal = load_seal(folder / "config" / "seal.key")
        admission = Admission(self.network, self.health, self.store, self.audit, self._flush, seal, None, GoogleKeys())
        self.members = Members(
            self.network, self.health, self.store, self.audit, self._flush, seal, admission, self.time.clock,
            self.time.ticks,
        )  # fmt: skip

    async def _flush(self) -> None:
        self.network.apply_leases()

    def join(self, number: int) -> Lease:
        request = Request("burst", key(f"m{number}"), f"i-{number}")
        lease = self.network.leases.join(request, None, None, lambda _: True).lease
        self.probe.alive.add(lease.address)
        return lease

    async def go(self, seconds: float) -> None:
        """Let time pass, with everything that a service does on the way."""
        for _ in range(int(seconds / 2)):
            self.time.go(2)
            self.network.reconcile()
            for _ in range(3):
                self.health.round(self.network.addresses())
            self.members.watch()
            await self.members.tick()

    def events(self, node: str | None = None) -> list[str]:
        lines = [json.loads(line) for line in (self.network.config.state / "audit.jsonl").read_text().splitlines()]
        return [line["event"] for line in lines if node is None or line.get("node") == node]

    def close(self) -> None:
        self.store.close()
        self.audit.close()
        self.network.leases.close()


@pytest.fixture
def spokes() -> int:
    return 1


@pytest.fixture
async def scene(tmp_path: Path, stack: Stack, spokes: int) -> AsyncIterator[Scene]:
    made = Scene(tmp_path, stack, spokes)
    made.probe.alive.add(SPOKE)
    await made.members.follow()
    await made.go(20)
    yield made
    made.close()


async def test_a_silent_machine_loses_its_lease_at_its_ttl_and_a_declared_one_never(scene: Scene) -> None:
    one, other = scene.join(1), scene.join(2)
    await scene.go(10)
    scene.probe.alive -= {one.address}
    await scene.go(284)
    assert scene.network.leases.live() == [one, other]
    await scene.go(10)
    assert scene.network.leases.live() == [other]
    assert set(scene.wireguard.state) == {key("spoke-1"), other.public_key}
    assert scene.events(one.name) == ["connect", "disconnect", "expire"]
    scene.probe.alive -= {SPOKE}
    scene.probe.alive |= {other.address}
    await scene.go(1000)
    assert key("spoke-1") in scene.wireguard.state


async def test_a_late_handshake_counts(scene: Scene) -> None:
    lease = scene.join(1)
    scene.probe.alive -= {lease.address}
    await scene.go(200)
    state = scene.wireguard.state[lease.public_key]
    scene.wireguard.state[lease.public_key] = state._replace(handshake=int(scene.time.wall))
    await scene.go(298)
    assert scene.network.leases.live() == [lease]
    await scene.go(6)
    assert scene.network.leases.live() == []


async def test_who_answers_keeps_its_lease_without_any_handshake(scene: Scene) -> None:
    lease = scene.join(1)
    await scene.go(1000)
    assert scene.network.leases.live() == [lease]


async def test_while_no_declared_spoke_answers_nobody_is_forgotten(scene: Scene) -> None:
    leases = [scene.join(number) for number in range(3)]
    await scene.go(10)
    alive, scene.probe.alive = scene.probe.alive, set()
    await scene.go(1000)
    assert scene.network.leases.live() == leases
    assert scene.members.status()["cleanup"] == "no declared spoke answers"
    assert scene.events().count("cleanup") == 1
    scene.probe.alive = alive - {leases[0].address}
    await scene.go(290)
    assert scene.network.leases.live() == leases, "silence counts from the end of the pause"
    assert scene.members.status()["cleanup"] is None
    assert scene.events().count("cleanup") == 2
    await scene.go(20)
    assert scene.network.leases.live() == leases[1:]


@pytest.mark.parametrize("spokes", [0])
async def test_without_declared_spokes_a_silent_pool_is_kept(scene: Scene) -> None:
    leases = [scene.join(number) for number in range(2)]
    await scene.go(10)
    scene.probe.alive.clear()
    await scene.go(1000)
    assert scene.network.leases.live() == leases
    assert scene.members.status()["cleanup"] == "no machine of any pool answers"
    fresh = scene.join(3)
    await scene.go(320)
    assert scene.network.leases.live() == [fresh], "one that answers shows that the gateway is not blind"


async def test_a_clock_that_is_set_ends_no_lease(scene: Scene) -> None:
    lease = scene.join(1)
    scene.probe.alive -= {lease.address}
    await scene.go(10)
    scene.time.wall += 86400
    await scene.go(290)
    assert scene.network.leases.live() == [lease]
    await scene.go(20)
    assert scene.network.leases.live() == []


def test_silence_from_before_the_start_does_not_count() -> None:
    time = Time()
    lease = Lease("1", "burst", "n", IPv4Address("127.0.1.130"), "k", "i", "active", 100, time.wall - 10_000)
    cleanup = Cleanup(time.clock, time.ticks)

    def due() -> list[Lease]:
        return cleanup.due([lease], {"burst": 300}, {}, {SPOKE}, [SPOKE])

    time.go(300)
    assert due() == []
    time.go(1)
    assert due() == [lease]


async def test_silent_machines_make_room_after_fifteen_seconds(scene: Scene) -> None:
    lease = scene.join(1)
    await scene.go(10)
    scene.probe.alive -= {lease.address}
    await scene.go(4)
    assert scene.members.admission.is_working(lease)
    await scene.go(16)
    assert not scene.members.admission.is_working(lease)
    scene.probe.alive |= {lease.address}
    await scene.go(4)
    assert scene.members.admission.is_working(lease)


# Parts.


@pytest.fixture
def full_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audit]:
    monkeypatch.setattr(auditing, "MAX_BYTES", 2000)
    made = Audit(tmp_path / "audit.jsonl", lambda: 1_800_000_000.123)
    yield made
    made.close()


def test_the_log_is_only_added_to_and_begun_anew_when_it_is_large(full_audit: Audit, tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    for number in range(40):
        before = path.read_bytes() if path.exists() else b""
        full_audit.write("join", node=f"n-{number}", reason=None)
        assert path.read_bytes().startswith(before) or old.read_bytes() == before
    lines = [json.loads(line) for line in (old.read_text() + path.read_text()).splitlines()]
    assert [line["node"] for line in lines] == [f"n-{number}" for number in range(40)]
    assert lines[0] == {"time": "2027-01-15T08:00:00.123Z", "event": "join", "node": "n-0"}
    assert {stat.S_IMODE(each.stat().st_mode) for each in (path, old)} == {0o600}


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit = Audit(tmp_path / "nowhere" / "audit.jsonl")
    audit.write("join")
    audit.write("join")
    assert capsys.readouterr().err.count("the audit log cannot be written") == 1


def test_buckets_refill_and_remember_only_so_many() -> None:
    time = Time()
    buckets = Buckets(3, 0.5, room=10, clock=time.ticks)
    assert [buckets.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert buckets.wait("a") == 2
    assert buckets.wait("b") == 0
    time.go(2)
    assert (buckets.wait("a"), buckets.take("a"), buckets.take("a")) == (0, True, False)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets) == 10


def test_a_source_is_an_address_or_the_subnet_of_one_machine() -> None:
    assert source_of("198.51.100.7") == source_of("::ffff:198.51.100.7") == "198.51.100.7"
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2::9%eth0") == "2001:db8:1:2::"


async def test_a_batch_does_what_was_asked_before_it_began() -> None:
    runs: list[int] = []
    began, gate = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        runs.append(len(runs))
        began.set()
        await gate.wait()

    batch = serving_.Batch(job)
    first = asyncio.create_task(batch.run())
    await began.wait()
    later = [asyncio.create_task(batch.run()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *later)
    assert runs == [0, 1], "all who came during the first run share the second"


async def test_google_is_asked_seldom_and_old_keys_serve_while_it_cannot_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from node.gateway.lease import Refusal
    from tests.node.identities import google_keys

    time, answers, asked = Time(), [b"", b"{}", google_keys()], [0]

    def ask() -> bytes:
        asked[0] += 1
        answer = answers.pop(0) if answers else b""
        if not answer:
            raise OSError("no route")
        return answer

    keys = GoogleKeys(ask, time.ticks)
    for _ in range(3):
        with pytest.raises(Refusal, match="cannot be had") as caught:
            await keys.key("key-1")
        assert caught.value.status == 503
    assert asked == [1]
    time.go(30)
    with pytest.raises(Refusal, match="cannot be had"):
        await keys.key("key-1")
    time.go(30)
    assert await keys.key("key-1")
    for _ in range(5):
        with pytest.raises(Refusal, match="no key of this id"):
            await keys.key("key-2")
    assert asked == [3]
    time.go(7 * 3600)
    assert await keys.key("key-1"), "Google cannot be asked, and the key was good"
    assert asked == [4]
    wait_for("the journal's line", lambda: "no route" in capsys.readouterr().err)


def test_a_machine_that_vanishes_counts_as_unhealthy_within_fifteen_seconds() -> None:
    assert 3 * serving_.PROBE_SECONDS + serving_.PROBE_SECONDS / serving_.PROBE_STEPS < 15
