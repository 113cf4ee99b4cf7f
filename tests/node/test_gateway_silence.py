"""Whose lease ends for silence, and when nobody's does: with a clock that goes when it is told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node import config as machine
from node.gateway.admission import Admission, Store
from node.gateway.audit import Audit
from node.gateway.cleanup import Cleanup
from node.gateway.health import Health
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.lease import Lease
from node.gateway.members import Members
from node.gateway.network import Network
from node.gateway.tickets import load_seal
from node.joining import Request
from tests.node.pools import SEAL_KEY, pool_roster
from tests.node.support import (
    MemoryFirewall,
    MemoryProbe,
    MemoryWireGuard,
    Stack,
    Time,
    key,
    signed,
    write_config,
)

SPOKE = IPv4Address("127.0.1.1")


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


async def test_a_restart_is_nobodys_coming_or_going(tmp_path: Path, stack: Stack) -> None:
    made = Scene(tmp_path, stack, 1)
    await made.members.follow()
    await made.go(6)
    made.probe.alive.add(SPOKE)
    await made.go(20)
    made.audit.write("roster")
    assert made.events("spoke-1") == []
    made.probe.alive.clear()
    await made.go(6)
    assert made.events("spoke-1") == ["disconnect"]
    made.close()


async def test_a_lease_that_comes_by_a_full_look_is_no_drift(scene: Scene) -> None:
    lease = scene.join(1)
    assert [change.public_key for change in scene.network.reconcile()] == [lease.public_key]
    assert scene.network.drift_repaired == 0
    del scene.wireguard.state[lease.public_key]
    scene.network.reconcile()
    assert scene.network.drift_repaired == 1


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
