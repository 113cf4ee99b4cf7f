"""Settings that are read as they are meant, whatever form the engine gives them."""

from __future__ import annotations

from typing import Any

import pytest

from components.settings.load import load
from components.settings.models import Settings
from tests.components.configs import as_engine_gives, declared_defaults, dev, static
from tests.components.recorder import run_program


def settings_of(changes: dict[str, Any]) -> Settings:
    return load(as_engine_gives({**dev(), **changes}), "hybrid-wireguard", "dev", ())


@pytest.mark.parametrize(
    ("changes", "production", "budget"),
    [
        ({}, False, None),
        ({"production": True, "monthlyBudget": 1}, True, 1),
        ({"production": "true", "monthlyBudget": "2500"}, True, 2500),
        ({"production": False, "monthlyBudget": 0}, False, None),
        ({"monthlyBudget": 10_000_000}, False, 10_000_000),
    ],
)
def test_what_policies_are_told(changes: dict[str, Any], production: bool, budget: int | None) -> None:
    settings = settings_of(changes)
    assert (settings.production, settings.monthly_budget) == (production, budget)


def test_declared_defaults_are_no_budget_and_no_production() -> None:
    settings = settings_of({**declared_defaults(), **dev()})
    assert (settings.production, settings.monthly_budget) == (False, None)


def test_what_policies_are_told_changes_no_resource() -> None:
    plain, marked = run_program(static()), run_program({**static(), "production": True, "monthlyBudget": 900})
    assert {r.name: r.inputs for r in plain.resources} == {r.name: r.inputs for r in marked.resources}
