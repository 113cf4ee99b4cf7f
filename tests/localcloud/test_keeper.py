"""The thread that keeps the clouds' groups, over groups that only pretend."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.fabric.fabric import MachineState, Status
from localcloud.keeper import Keeper
from localcloud.provider import groups
from localcloud.provider.clouds import project
from localcloud.provider.ledger import Ledger
from localcloud.provider.members import MEMBER
from localcloud.provider.world import Record, World, save
from localcloud.spec import MachineSpec
from localcloud.wire import Value
from tests.localcloud.fabric.worlds import AWS


class Fabric:
    """Machines that are as they are said to be."""

    def __init__(self, *states: MachineState) -> None:
        self.states = states
        self.pressed: list[str] = []
        self.applied: list[Mapping[str, MachineSpec]] = []

    def machines(self) -> Sequence[MachineState]:
        return self.states

    def press_power(self, node: str) -> None:
        self.pressed.append(node)

    def apply(self, specs: Mapping[str, MachineSpec]) -> None:
        self.applied.append(specs)


def ledger_of(tmp_path: Path, fabric: Fabric) -> Ledger:
    return Ledger(tmp_path / "world.json", fabric, project)


def test_it_takes_steps_until_it_is_ended(tmp_path: Path) -> None:
    fabric, looks = Fabric(MachineState(AWS, 1, "running", ())), list[Mapping[str, Status]]()
    twice = threading.Event()

    def advance(
        ledger: Ledger, states: Callable[[], Mapping[str, Status]], now: float
    ) -> tuple[groups.PressPower, ...]:
        looks.append(states())
        if len(looks) == 2:
            twice.set()
        return (groups.PressPower("aws-1"),) if len(looks) == 1 else ()

    keeper = Keeper(ledger_of(tmp_path, fabric), fabric, advance)
    keeper.start()
    keeper.wake()
    assert twice.wait(30)
    keeper.end()
    assert looks[:2] == [{AWS.id: "running"}] * 2
    assert fabric.pressed == ["aws-1"]
    assert not fabric.applied, "no change, nothing applied"


def test_an_error_is_told_once_until_it_is_over_and_the_steps_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "localcloud")
    wrong = ["no room", "no room", "", "no room"]

    def advance(ledger: Ledger, states: object, now: float) -> tuple[groups.PressPower, ...]:
        if why := wrong.pop(0):
            raise RuntimeError(why)
        return ()

    fabric = Fabric()
    keeper = Keeper(ledger_of(tmp_path, fabric), fabric, advance)
    told: list[int] = []
    for _ in range(4):
        keeper.turn()
        told.append(caplog.text.count("RuntimeError: no room"))
    assert told == [1, 1, 1, 2]


def test_a_member_whose_machine_a_killed_daemon_ended_is_not_made_again(tmp_path: Path) -> None:
    fabric = Fabric()
    facts: dict[str, Value] = {"cloud": "aws", "group": "g", "pool": "aws-burst", "phase": "in-service"}
    save(tmp_path / "world.json", World({(MEMBER, "i-1"): Record(MEMBER, "i-1", {}, facts)}, {}))
    ledger = ledger_of(tmp_path, fabric)
    Keeper(ledger, fabric).turn()
    assert not list(ledger.world.all(MEMBER))
    assert fabric.applied == [{}]


def test_members_that_a_killed_daemon_left_are_matched_with_the_world_once(tmp_path: Path) -> None:
    member = replace(AWS, metadata={**AWS.metadata, "pool": "aws-burst"})
    fabric = Fabric(MachineState(member, 1, "running", ()))
    keeper = Keeper(ledger_of(tmp_path, fabric), fabric)
    keeper.turn()
    keeper.turn()
    assert fabric.applied == [{}]


def test_without_members_nothing_is_touched(tmp_path: Path) -> None:
    fabric = Fabric(MachineState(AWS, 1, "running", ()))
    Keeper(ledger_of(tmp_path, fabric), fabric).turn()
    assert not fabric.applied
    assert not (tmp_path / "world.json").exists()
