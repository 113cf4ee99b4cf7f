"""The generated stacks are such as the program accepts, up to the thousand spokes that are measured."""

from __future__ import annotations

import pytest
import yaml

from bench.stacks import ROOT, SUBNETS, spoke_names, stack_config


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_stack_has_as_many_spokes_as_asked_for_spread_over_its_sites(count: int) -> None:
    config = yaml.safe_load(stack_config(count))["config"]
    spokes = config["hybrid-wireguard:spokes"]
    assert len(spokes) == count
    each = [sum(spoke["site"] == site for spoke in spokes.values()) for site in SUBNETS]
    assert max(each) - min(each) <= 1


def test_names_stay_when_the_stack_grows() -> None:
    assert spoke_names(1000)[:10] == spoke_names(10)


def test_the_rest_is_the_dev_stack() -> None:
    generated, dev = yaml.safe_load(stack_config(3)), yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    assert generated["encryptionsalt"] == dev["encryptionsalt"]
    assert generated["config"]["hybrid-wireguard:gateways"] == dev["config"]["hybrid-wireguard:gateways"]
