"""Which lost requests are excused, on a made-up account of what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.compared import MACHINES
from bench.load import Outcome, Task
from bench.place import Place
from bench.serving import Served, Serving
from bench.stacks import PREFIX
from bench.steady import HEALTH_PATH, POOL, SECONDS, VICTIM, VICTIM_ADDRESS, WEIGHT, Report, report_rows, steady
from bench.traffic import TrafficStack
from components.plan import make_plan
from components.settings import load as settings

KILLED, NOTICED = 100.0, 110.0
LOST = "nobody answered"


def report(*outcomes: Outcome, refused: tuple[Served, ...] = ()) -> Report:
    return Report(outcomes, refused, KILLED, NOTICED)


def test_an_answer_is_no_loss_whenever_it_came() -> None:
    seen = report(Outcome(99, 101, 200, "a"), Outcome(105, 107, 200, "b"), Outcome(105, 107, 200, "b"))
    assert (seen.failed, seen.unexplained) == ([], [])
    assert seen.machines == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("sent", "ended", "where"),
    [
        (90, 99, "unexplained"),
        (99, 120, "in_flight"),
        (101, 120, "too_early"),
        (110, 120, "unexplained"),
    ],
)
def test_a_loss_is_excused_only_by_the_power_cut(sent: float, ended: float, where: str) -> None:
    lost = Outcome(sent, ended, 0, error=LOST)
    seen = report(lost, Outcome(99, 120, 200, "a"))
    found = {"in_flight": seen.in_flight, "too_early": seen.too_early, "unexplained": seen.unexplained}
    assert found == {name: [lost] if name == where else [] for name in found}


def test_a_loss_at_another_machine_is_seen_in_the_gateways_log() -> None:
    here, there = Served(502, (f"{VICTIM_ADDRESS}:8000",)), Served(502, (f"{VICTIM_ADDRESS}:8000", "10.100.1.1:8000"))
    assert report(refused=(here, there)).sent_elsewhere == [there]


AT_VICTIM, ELSEWHERE = Served(502, (f"{VICTIM_ADDRESS}:8000",)), Served(504, ("10.100.2.128:8000",))
NOWHERE = Served(503, ("",))
EXCUSED, OUT_OF_TIME = Outcome(99, 120, 0, error=LOST), Outcome(90, 99, 0, error=LOST)


@pytest.mark.parametrize(
    ("lost", "refused", "missed"),
    [
        (EXCUSED, (AT_VICTIM,), ["0", "0", "0"]),
        (EXCUSED, (ELSEWHERE,), ["1", "0", "0"]),
        (EXCUSED, (NOWHERE,), ["1", "0", "0"]),
        (EXCUSED, (), ["0", "1", "0"]),
        (OUT_OF_TIME, (AT_VICTIM,), ["0", "0", "1"]),
    ],
)
def test_the_table_has_lines_for_what_must_not_be(
    lost: Outcome, refused: tuple[Served, ...], missed: list[str]
) -> None:
    rows = report_rows(report(lost, Outcome(90, 99, 200, "a"), refused=refused), 50)
    assert [row.ours for row in rows if row.aim] == missed


class ScriptedPlace(Place):
    """Notes what it is told."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(Path("/nowhere"))
        self._told = told

    def run(self, *words: str) -> str:
        self._told.append(" ".join(words))
        return ""


class ScriptedServing(Serving):
    """A gateway at which everything is at once as it was asked for, but the end of a lease: that takes two looks."""

    def __init__(self) -> None:
        self.told: list[str] = []
        super().__init__(ScriptedPlace(self.told))
        self._looks = 0

    @contextmanager
    def load(self, task: Task) -> Generator[list[Outcome]]:
        yield []

    def served(self) -> list[Served]:
        self._looks += 1
        return [Served(200, ("10.100.1.1:8000",))] * self._looks * round(10 * SECONDS)

    def members(self, pool: str) -> list[str]:
        return ["burst-1", "burst-2"]

    def leases(self) -> set[str]:
        self.told.append("leases")
        return {"burst-1", "burst-2"} if self.told.count("leases") < 3 else {"burst-2"}

    def wait_for_rotation(self, what: str, condition: Callable[[set[str]], bool]) -> float:
        return 0.0

    def task(self, body: Any, **how: Any) -> Task:
        return Task("", "", body, **how)

    def certificate(self) -> str:
        return str(self.told)

    def weights(self, pool: str) -> set[int]:
        return {WEIGHT}


def test_the_power_goes_only_after_the_interrupted_machine_has_left() -> None:
    """So that what it has lost cannot be taken for what the power cut lost."""
    serving = ScriptedServing()
    configs: list[dict[str, Any]] = []

    def change(what: Callable[[dict[str, Any]], object]) -> None:
        configs.append({"pools": {POOL: {}, "other": {}}, "sites": {"hetzner": {}, "aws": {}}, "loadBalancer": {}})
        what(configs[-1])
        serving.told.append("change")

    steady(serving, change, rate=1, patience=1, say=lambda _: None)
    words = [told.split()[0] for told in serving.told]
    assert words == ["interrupt", "leases", "leases", "leases", "kill", "scale", "scale", "change", "start"]
    assert serving.told[words.index("kill")] == f"kill {VICTIM}"
    (config,) = configs
    paths = {pool["healthPath"] for pool in config["pools"].values()}
    paths |= {site["serving"]["healthPath"] for site in config["sites"].values()}
    assert paths == {HEALTH_PATH}, "every machine that serves is asked for another path"


def test_the_stack_has_a_base_and_a_pool_for_what_does_not_fit(tmp_path: Path) -> None:
    stack = TrafficStack(tmp_path / "stack")
    config = yaml.safe_load(stack.config_file.read_text())["config"]
    given = {key.removeprefix(PREFIX): json.dumps(value) for key, value in config.items()}
    balancer = make_plan(settings.load(given, "hybrid-wireguard", "dev", ())).load_balancer
    assert balancer
    assert set(balancer.nodes) == set(MACHINES)
    assert not any(target.share.backup for target in balancer.nodes.values())
    assert [name for name, share in balancer.pools.items() if share.backup] == [POOL]
