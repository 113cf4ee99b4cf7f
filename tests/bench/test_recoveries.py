"""The stack whose recoveries are measured, and what the table says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import recoveries
from bench.figures import Paired
from bench.pings import Loss
from components.plan import make_plan
from components.settings import load as settings


def test_the_stack_is_small_stands_in_two_clouds_and_its_pool_is_not_full() -> None:
    given = {key: json.dumps(value) for key, value in recoveries.small_settings().items()}
    plan = make_plan(settings.load(given, "hybrid-wireguard", "dev", ()))
    assert set(plan.gateways) == {recoveries.GATEWAY}
    assert {name: str(machine.address) for name, machine in plan.spokes.items()} == recoveries.SPOKES
    assert {machine.site for machine in plan.spokes.values()} == {"hetzner", "aws"}
    pool = plan.pools[recoveries.POOL]
    assert pool.minimum < pool.limit


def test_the_site_in_a_lost_ones_place_is_one_that_the_program_takes() -> None:
    changed = recoveries.small_settings()
    recoveries.replace_site(changed)
    given = {key: json.dumps(value) for key, value in changed.items()}
    plan = make_plan(settings.load(given, "hybrid-wireguard", "dev", ()))
    assert {machine.site for machine in plan.spokes.values()} == {"hetzner", recoveries.NEW_SITE}
    assert plan.network.site(recoveries.NEW_SITE).region != recoveries.small_settings()["sites"]["aws"]["region"]


def test_the_worst_pair_is_what_counts() -> None:
    one = Loss("a", {"10.0.0.2": (100, 3), "10.0.0.3": (100, 40)}, 0.05)
    other = Loss("b", {"10.0.0.1": (100, 41)}, 0.05)
    assert recoveries.worst([one, other]) == 41 * 0.05


def test_power_cuts_stand_beside_those_by_hand() -> None:
    row = recoveries.power_cut_row(Paired((2.0, 3.0, 4.0), (20.0, 15.0, 16.0)))
    assert (row.ours, row.by_hand, row.ratio) == ("3.0 s", "16.0 s", "0.20 (0.10-0.25)")


def test_both_instances_are_taken_down_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the first of them cannot be."""
    ended: list[str] = []

    def down(_: recoveries.Handmade) -> None:
        ended.append("by hand")
        raise RuntimeError("it stays")

    def run(_: recoveries.Place, *words: str) -> str:
        ended.append(words[0])
        raise RuntimeError(f"no {words[0]}")

    monkeypatch.setattr(recoveries.Handmade, "down", down)
    monkeypatch.setattr(recoveries.Place, "run", run)
    with pytest.raises(RuntimeError, match="no down"):
        recoveries.rows(tmp_path / "bench", lambda _: None)
    assert ended == ["up", "by hand", "down"]
