"""The stack and the arithmetic of the joins that are measured."""

from __future__ import annotations

import json

import pytest
import yaml

from bench import joins
from bench.stacks import PREFIX
from components.plan import make_plan
from components.settings import load as settings


def test_the_stack_has_a_pool_without_machines_that_takes_all_who_join() -> None:
    config = yaml.safe_load(joins.stack_config())["config"]
    given = {key.removeprefix(PREFIX): json.dumps(value) for key, value in config.items()}
    plan = make_plan(settings.load(given, "hybrid-wireguard", "dev", ()))
    pool = plan.pools[joins.POOL]
    assert (pool.minimum, pool.limit) == (0, joins.CLIENTS * joins.EACH)
    assert plan.network.site(pool.site).subnet.prefixlen == 16
    assert (set(plan.gateways), set(plan.spokes)) == ({joins.GATEWAY}, set())


@pytest.mark.parametrize(("percent", "found"), [(50, 100.0), (99, 198.0), (100, 200.0)])
def test_a_percentile_is_one_of_the_values(percent: int, found: float) -> None:
    assert joins.percentile(percent, [float(number) for number in range(200, 0, -1)]) == found
