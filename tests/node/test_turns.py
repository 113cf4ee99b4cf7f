"""Keys change in a world of interfaces: in whatever order everybody acts, no packet and nobody is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.network.asker import SILENCE_SECONDS
from tests.node.keyed_tests import Made, ask, change, declared, keys, nothing_lost, world
from tests.node.keyed_world import GatewayBox, SpokeBox

__all__ = ["world"]
SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("who", ["a-1", "gw-a", "gw-b"])
def test_a_key_changes_and_no_packet_is_lost(world: Made, who: str, seed: int) -> None:
    there = world(seed)
    nothing_lost(there)
    change(there, who)
    assert there.boxes[who].first.private != there.boxes[who].enrolment


@pytest.mark.parametrize("topology", ["hub", "mesh"])
def test_in_every_topology_all_keys_change_and_no_packet_is_lost(world: Made, topology: str) -> None:
    there = world(0, declared(topology))
    nothing_lost(there)
    change(there, *there.boxes)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_keys_change_twice_and_no_packet_is_lost(world: Made, seed: int) -> None:
    there = world(seed)
    nothing_lost(there)
    for _ in range(2):
        there.time.go(10)
        change(there, *there.boxes)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("who", ["b-1", "gw-b"])
def test_whoever_crashes_or_boots_at_any_step_ends_on_one_key(world: Made, who: str, seed: int) -> None:
    there = world(seed)
    ask(there, who)
    victim = there.boxes[there.random.choice(["b-1", "gw-b", "gw-a"])]
    for _ in range(there.random.randrange(40)):
        there.step()
    if isinstance(victim, GatewayBox):
        victim.close()
    (victim.start if seed % 2 else victim.boot)()
    there.settles(900)


def test_who_was_off_during_its_gateways_change_comes_back(world: Made) -> None:
    there = world()
    off = there.boxes["a-1"]
    off.is_up = False
    ask(there, "gw-a")
    gateway = there.boxes["gw-a"]
    for _ in range(100):
        there.step()
    assert not gateway.own.is_turning
    assert gateway.own.keys.first
    off.is_up = True
    off.boot()
    there.settles()


def test_who_boots_after_its_gateways_change_needs_nobody_on_the_internet(world: Made) -> None:
    there = world()
    change(there, "gw-a")
    there.boxes["a-1"].boot()
    steps = there.settles()
    assert steps * 0.2 < SILENCE_SECONDS


def test_a_machine_made_anew_enrols_again_with_its_first_key(world: Made) -> None:
    there = world()
    change(there, "a-1")
    spoke = there.boxes["a-1"]
    assert spoke.own.keys.first
    for file in spoke.state.iterdir():
        file.unlink()
    there.time.go(5)
    spoke.boot()
    there.settles()
    assert spoke.first.private == spoke.enrolment


def test_a_gateway_made_anew_has_its_first_key_and_learns_those_of_others(world: Made) -> None:
    there = world()
    change(there, "a-1", "gw-a")
    gateway, spoke = there.boxes["gw-a"], there.boxes["a-1"]
    assert isinstance(gateway, GatewayBox)
    gateway.close()
    for file in gateway.state.iterdir():
        file.unlink()
    gateway.boot()
    there.settles()
    assert gateway.first.private == gateway.enrolment
    assert spoke.first.private != spoke.enrolment


def test_a_change_that_cannot_be_made_is_taken_back(world: Made) -> None:
    there = world()
    nothing_lost(there)
    before = keys(there)
    gateway = there.boxes["gw-a"]
    gateway.second.refuses = True
    ask(there, "a-1")
    for _ in range(400):
        there.step()
    assert keys(there) == before
    there.settles()


def test_a_key_that_is_somebody_elses_is_not_believed(world: Made) -> None:
    there = world()
    gateway = there.boxes["gw-a"]
    assert isinstance(gateway, GatewayBox)
    spoke = there.boxes["a-1"]
    assert isinstance(spoke, SpokeBox)
    while (report := gateway.network.reports.of("a-1")) is None:
        there.step()
    stolen = there.roster.node("b-1").public_key
    gateway.network.take_reports([replace(report, stamp=report.stamp + 1, keys=replace(report.keys, first=stolen))])
    gateway.tick()
    assert stolen not in gateway.first.state
    assert spoke.node.public_key in gateway.first.state


def test_keys_change_by_themselves_between_day_75_and_85(world: Made) -> None:
    there = world()
    before = keys(there)
    there.time.go(74 * 86400)
    for _ in range(5):
        there.step()
    assert keys(there) == before
    there.time.go(11 * 86400)
    for _ in range(2000):
        there.step()
        if set(before.values()).isdisjoint(keys(there).values()):
            break
    assert set(before.values()).isdisjoint(keys(there).values())
