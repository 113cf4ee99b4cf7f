"""Who takes a place of a pool, and for how long: with a clock that goes when it is told to."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from node.gateway.lease import Lease, Refusal
from tests.node.clocked import Scene

LIMIT = 8
"""The limit of the pool ``burst``."""


def join_all(scene: Scene, first: int, *, answers: bool) -> list[Lease]:
    """The leases of as many new machines as there is room for: each talks, whether it answers echoes or not."""
    made: list[Lease] = []
    with pytest.raises(Refusal, match="the pool is full") as refused:  # noqa: PT012  the last one is refused
        for number in range(first, first + 3 * LIMIT):
            made.append(scene.join(number, answers=answers))
            scene.talking.add(made[-1].public_key)
    assert (refused.value.status, refused.value.retry_after) == (503, 10)
    return made


async def test_a_machine_that_neither_answers_nor_sends_makes_room(scene: Scene) -> None:
    lease, is_working = scene.join(1), scene.members.admission.is_working
    scene.talking.add(lease.public_key)
    await scene.go(40)
    scene.talking.clear()
    await scene.go(40)
    assert is_working(lease), "it answers, though its tunnel counts nothing"
    scene.talking.add(lease.public_key)
    scene.probe.alive -= {lease.address}
    await scene.go(40)
    assert is_working(lease), "it sends, though it answers nothing"
    scene.talking.clear()
    await scene.go(28)
    assert is_working(lease), "a keepalive may be due still"
    await scene.go(2)
    assert not is_working(lease)
    scene.talking.add(lease.public_key)
    await scene.go(2)
    assert is_working(lease)


async def test_machines_that_talk_and_never_answer_are_never_more_than_the_limit(scene: Scene) -> None:
    assert len(join_all(scene, 0, answers=False)) == LIMIT
    for number in range(5):
        await scene.go(50)
        assert join_all(scene, 100 * number + 100, answers=False) == []
    assert len(scene.network.leases.live()) == LIMIT


async def test_machines_that_fall_silent_in_turn_are_never_more_than_twice_the_limit(scene: Scene) -> None:
    for number in range(4):
        join_all(scene, 100 * number, answers=False)
        assert len(scene.network.leases.live()) <= 2 * LIMIT
        scene.talking.clear()
        await scene.go(40)
    assert len(scene.network.leases.live()) == 2 * LIMIT


async def test_machines_that_drain_in_turn_are_never_more_than_twice_the_limit(scene: Scene) -> None:
    for number in range(12):
        for lease in join_all(scene, 100 * number, answers=True):
            await scene.say(lease, "draining")
        live = scene.network.leases.live()
        assert len(live) <= 2 * LIMIT
        assert sum(map(scene.members.admission.is_working, live)) <= LIMIT
        await scene.go(50)


async def test_draining_ends(scene: Scene) -> None:
    drains, stays = scene.join(1), scene.join(2)
    await scene.go(10)
    await scene.say(drains, "draining")
    await scene.go(180)
    assert len(scene.network.leases.live()) == 2
    await scene.go(2)
    assert scene.network.leases.live() == [stays]
    assert drains.public_key not in scene.wireguard.state
    assert scene.events(drains.name) == ["connect", "drain", "expire"]
    (line,) = [line for line in scene.lines() if line["event"] == "expire"]
    assert line["reason"] == "it has drained for 180 s"


async def test_what_a_machine_says_of_itself_is_limited(scene: Scene) -> None:
    lease, other = scene.join(1), scene.join(2)
    for number in range(10):
        await scene.say(lease, weight=number + 1)
    lines = scene.lines()
    with pytest.raises(Refusal, match="too many changes") as refused:
        await scene.say(lease, weight=99)
    assert (refused.value.status, refused.value.retry_after) == (429, 2)
    with pytest.raises(Refusal, match="too many changes"):
        await scene.members.leave(str(lease.address), scene.secret(lease), None)
    kept = scene.network.leases.at(IPv4Address(lease.address))
    assert kept
    assert (kept.state, kept.weight) == ("active", 10)
    assert scene.lines() == lines
    await scene.say(other, weight=50)
    scene.time.go(1)
    await scene.say(lease, weight=99)
    with pytest.raises(Refusal, match="too many changes"):
        await scene.say(lease, weight=98)
