"""Pools on Hetzner: a number of servers, ten in a placement group."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.components.configs import burst
from tests.components.recorder import Run, run_program


@pytest.fixture(scope="module")
def program() -> Run:
    """One run with a pool on each cloud; nothing changes it."""
    return run_program(burst())


def test_servers_on_hetzner_are_spread_ten_a_group(program: Run) -> None:
    groups = Counter(program.named(f"hetzner-base-{n}-server").inputs["placementGroupId"] for n in range(1, 13))
    ids = {n: float(program.named(f"hetzner-base-placement-{n}").id) for n in (1, 2)}
    assert groups == {ids[1]: 10, ids[2]: 2}
    assert program.named("hetzner-base-placement-1").inputs["type"] == "spread"
    server = program.named("hetzner-base-7-server")
    assert server.inputs["name"] == "hybrid-wireguard-dev-hetzner-base-7"
    assert server.inputs["serverType"] == "cx23"
    assert server.inputs["labels"] == {"stack": "dev", "role": "burst", "site": "hetzner", "pool": "hetzner-base"}
    assert server.ignored == {"userData", "image", "sshKeys"}, "a machine keeps what its first boot told it"
    assert server.request.replacement_trigger.number_value == 1
    assert server.inputs["shutdownBeforeDeletion"] is True, "else it could neither drain nor leave"


def test_more_servers_leave_those_that_stand_alone(program: Run) -> None:
    grown = run_program(burst({"pools/hetzner-base/count": 21}))
    before, after = ({f"{r.type} {r.name}": r.raw for r in run.resources} for run in (program, grown))
    assert {name: before[name] for name in before if "hetzner-base" in name} == {
        name: after[name] for name in before if "hetzner-base" in name
    }
    assert {name.split()[1] for name in after.keys() - before.keys()} == {
        *(f"hetzner-base-{number}-server" for number in range(13, 22)),
        "hetzner-base-placement-3",
    }


def test_a_pools_servers_join_the_sites_private_network() -> None:
    run = run_program(burst({"sites/hetzner/networkCidr": "10.0.0.0/24"}))
    server = run.named("hetzner-base-1-server")
    assert server.inputs["networks"] == [{"networkId": float(run.named("hetzner-network").id), "aliasIps": []}]
    assert any(urn.endswith("::hetzner-subnet") for urn in server.request.dependencies)
