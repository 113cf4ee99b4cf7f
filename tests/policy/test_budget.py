"""The policy on what a stack may cost; tests/review has the prices."""

from __future__ import annotations

import math
from typing import Any

from components.settings.models import Settings
from policy.budget import over_budget
from policy.model import UNKNOWN, Resource
from review import costs
from tests.policy.findings import GCP_INSTANCE, SERVER, settings


def resource(kind: str, inputs: dict[str, Any]) -> Resource:
    return Resource(kind, "it", inputs, inputs)


SERVERS = [resource(SERVER, {"serverType": "cx23", "location": "fsn1", "userData": UNKNOWN})] * 10
GROUP = resource(
    "aws:autoscaling/group:Group",
    {
        "name": "burst",
        "region": "eu-central-1",
        "minSize": 0,
        "maxSize": 50,
        "mixedInstancesPolicy": {"launchTemplate": {"overrides": [{"instanceType": "t3.small"}]}},
    },
)


def largest(resources: list[Resource]) -> int:
    return math.ceil(costs.estimate(costs.Resource(one.type, one.name, one.inputs) for one in resources).largest)


def found(resources: list[Resource], budget: int) -> list[str]:
    return [finding.what for finding in over_budget(resources, of(budget))]


def of(budget: int) -> Settings:
    return settings({"monthlyBudget": budget})


def test_a_stack_that_may_cost_more_than_its_budget_is_found() -> None:
    for resources in (SERVERS, [GROUP]):
        whole = largest(resources)
        assert whole > 20, "the budget below shall be no special case"
        (what,) = found(resources, whole - 1)
        assert "may cost" in what
        assert "not known" not in what


def test_a_stack_within_its_budget_is_left_alone() -> None:
    for resources in (SERVERS, [GROUP], []):
        assert not found(resources, largest(resources) + 1)


def test_a_stack_without_a_budget_may_cost_anything() -> None:
    assert not list(over_budget([GROUP], settings()))


def test_what_has_no_price_is_said() -> None:
    machine = resource(GCP_INSTANCE, {"machineType": "m9-ultra-999", "zone": "europe-west3-a"})
    (what,) = found([*SERVERS, machine], 1)
    assert "without 1 resources whose prices are not known" in what
