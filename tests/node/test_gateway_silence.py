"""Whose lease ends for silence, and when nobody's does: with a clock that goes when it is told to."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node.gateway.cleanup import ANNOUNCE_SECONDS, Cleanup
from node.gateway.lease import Lease
from tests.node.clocked import SPOKE, Scene
from tests.node.support import Stack, Time, key


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


async def test_while_nobody_answers_nobody_is_forgotten(scene: Scene) -> None:
    leases = [scene.join(number) for number in range(3)]
    await scene.go(10)
    alive, scene.probe.alive = scene.probe.alive, set()
    await scene.go(1000)
    assert scene.network.leases.live() == leases
    assert scene.members.status()["cleanup"] == "no peer answers"
    assert scene.events().count("cleanup") == 1
    scene.probe.alive = alive - {leases[0].address}
    await scene.go(290)
    assert scene.network.leases.live() == leases, "silence counts from the end of the pause"
    assert scene.members.status()["cleanup"] is None
    assert scene.events().count("cleanup") == 2
    await scene.go(20)
    assert scene.network.leases.live() == leases[1:]


async def test_machines_are_forgotten_though_every_declared_spoke_is_down(scene: Scene) -> None:
    gone, there = scene.join(1), scene.join(2)
    await scene.go(10)
    scene.probe.alive -= {SPOKE, gone.address}
    await scene.go(310)
    assert scene.network.leases.live() == [there]
    assert scene.members.status()["cleanup"] is None
    assert "cleanup" not in scene.events()


@pytest.mark.parametrize("spokes", [0])
async def test_without_declared_spokes_a_silent_pool_is_kept(scene: Scene) -> None:
    leases = [scene.join(number) for number in range(2)]
    await scene.go(10)
    scene.probe.alive.clear()
    await scene.go(1000)
    assert scene.network.leases.live() == leases
    assert scene.members.status()["cleanup"] == "no peer answers"
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


def test_a_gateway_that_no_declared_node_answers_pauses_nothing_while_it_has_no_lease() -> None:
    time = Time()
    cleanup = Cleanup(time.clock, time.ticks)
    for _ in range(3):
        assert cleanup.due([], {"burst": 300}, {}, set(), [SPOKE]) == []
        assert cleanup.pause is None
        time.go(ANNOUNCE_SECONDS)


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
