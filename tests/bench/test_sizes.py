"""User data does not grow with the network."""

import pytest

from bench import sizes
from cloudinit.render import MAX_BYTES
from components.plan import make_plan
from components.userdata import largest_user_data


@pytest.mark.parametrize("role", ["gateways", "spokes"])
def test_user_data_of_a_thousand_spokes_is_that_of_ten_and_the_digits_of_a_name(role: str) -> None:
    largest: list[int] = []
    for count in (10, 1000):
        config = sizes.read(count)
        plan = make_plan(config)
        machines = plan.gateways if role == "gateways" else plan.spokes
        largest.append(max(largest_user_data(config, plan, machine) for machine in machines.values()))
    assert largest[0] <= largest[1] <= largest[0] + 16


def test_a_document_is_measured_by_half_of_the_smallest_limit_where_its_role_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizes, "SIZES", (10,))
    aims = {row.what: row.aim for row in sizes.rows()}
    assert aims["user data of the gateway, 10 spokes"] == f"<= {MAX_BYTES['gateway']} B"
    assert aims["user data of a spoke, 10 spokes"] == f"<= {MAX_BYTES['spoke']} B"


def test_the_roster_does_grow_and_by_hand_so_would_user_data() -> None:
    few, many = sizes.read(10), sizes.read(1000)
    assert sizes.roster_bytes(many, make_plan(many)) > 20 * sizes.roster_bytes(few, make_plan(few))
    assert sizes.by_hand_bytes(many, make_plan(many)) > 32 * 1024
