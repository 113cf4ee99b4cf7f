"""Which lost requests are excused, on a made-up account of what happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bench.compared import MACHINES
from bench.load import Outcome
from bench.serving import Served
from bench.stacks import PREFIX
from bench.steady import POOL, VICTIM_ADDRESS, Report, report_rows
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


def test_the_table_has_a_line_for_what_must_not_be() -> None:
    rows = report_rows(report(Outcome(90, 99, 0, error=LOST)), 50)
    assert [(row.ours, row.aim) for row in rows if "otherwise" in row.what] == [("1", "0")]


def test_the_stack_has_a_base_and_a_pool_for_what_does_not_fit(tmp_path: Path) -> None:
    stack = TrafficStack(tmp_path / "stack")
    config = yaml.safe_load(stack.config_file.read_text())["config"]
    given = {key.removeprefix(PREFIX): json.dumps(value) for key, value in config.items()}
    balancer = make_plan(settings.load(given, "hybrid-wireguard", "dev", ())).load_balancer
    assert balancer
    assert set(balancer.nodes) == set(MACHINES)
    assert not any(target.share.backup for target in balancer.nodes.values())
    assert [name for name, share in balancer.pools.items() if share.backup] == [POOL]
