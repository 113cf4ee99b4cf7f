"""The pack on whole stacks, by the engine that runs it: those of the project are clean, and of twelve bad ones each
violates its own policy and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bench.previews import providers
from policy.pack import RULES, STACK_RULES
from tests.components.configs import ROOT, changed, dev
from tests.policy.engines import STACKS, Previews
from tests.policy.findings import config_of

Config = Mapping[str, Any]


SMALL = changed(dev(), {"sites/aws": ..., "sites/gcp": ..., "spokes": {"hetzner-1": {"site": "hetzner"}}, "pools": {}})
"""The dev stack's part at Hetzner, which previews sooner."""
GCP_SPOKE = {"sites/gcp": dev()["sites"]["gcp"], "spokes/gcp-1": {"site": "gcp", "publicAddress": True}}
BY_SETTINGS: Mapping[str, Config] = {
    "gateway-unprotected": changed(SMALL, {"production": True}),
    "inference-public-address": changed(SMALL, GCP_SPOKE),
    "over-budget": changed(SMALL, {"monthlyBudget": 1}),
    "retired-server-type": changed(SMALL, {"keepRetiredServerTypes": True}),
}
"""By policy, settings that violate it."""
BY_PROGRAM = sorted(path.stem.replace("_", "-") for path in STACKS.glob("*.py"))
"""Policies that the program of their name violates, with the dev stack's settings."""
NAMES = sorted([*BY_SETTINGS, *BY_PROGRAM])


@pytest.fixture(scope="module", params=["small engine", pytest.param("pulumi CLI", marks=pytest.mark.pulumi_cli)])
def previews(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Previews]:
    folder = tmp_path_factory.mktemp("policies")
    with providers(folder / "world", "tests.policy.providers") as attached:
        yield Previews(folder, attached, request.param == "pulumi CLI")


def test_there_is_a_bad_stack_for_each_policy() -> None:
    assert sorted(rule.name for rule in (*RULES, *STACK_RULES)) == NAMES


@pytest.mark.parametrize("stack", ["dev", "sites", "mesh", "prod.example"])
def test_the_stacks_of_the_project_are_clean(previews: Previews, stack: str) -> None:
    ran = previews.of(ROOT, {"monthlyBudget": 10_000, **config_of(stack)}, stack=stack.partition(".")[0])
    assert (ran.status, ran.violations) == (0, set()), ran.text


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_stack_violates_its_own_policy_and_no_other(previews: Previews, name: str) -> None:
    if name in BY_SETTINGS:
        ran = previews.of(ROOT, BY_SETTINGS[name])
    else:
        ran = previews.of(previews.program(name.replace("-", "_")), dev())
    assert ran.violations == {("mandatory", name)}, ran.text
    assert ran.status not in (0, 2), ran.text
    assert f"docs/policies.md#{name}" in ran.text


def test_a_policy_can_be_made_a_warning_or_switched_off(previews: Previews) -> None:
    config = changed(dev(), {"monthlyBudget": 1})
    project = previews.program("plain_secret_in_user_data")
    ran = previews.of(project, config, levels={"plain-secret-in-user-data": "advisory", "over-budget": "disabled"})
    assert (ran.status, ran.violations) == (0, {("advisory", "plain-secret-in-user-data")}), ran.text
    strict = previews.of(project, config, levels={"all": "disabled", "over-budget": {"enforcementLevel": "mandatory"}})
    assert strict.violations == {("mandatory", "over-budget")}, strict.text
    assert strict.status not in (0, 2), strict.text
