"""The program under other settings than the dev stack's: networks that are given, retired types, refusals."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from tests.components.configs import KEY, changed, declared_defaults, dev, static
from tests.components.recorder import Run, run_program

MADE_ON_AWS = {"Vpc", "Subnet", "InternetGateway", "RouteTable", "RouteTableAssociation"}
MADE_ON_GCP = {"Network", "Subnetwork", "Router", "RouterNat"}


def kinds(run: Run, package: str) -> set[str]:
    return {r.type.rpartition(":")[2] for r in run.resources if r.type.startswith(f"{package}:")}


@pytest.mark.parametrize(
    "changes",
    [
        {"adminCidr": ["203.0.113.0/24"]},
        {"sites/aws/subnet": "10.100.1.0/24"},
        {"adminCidrs": ["0.0.0.0/0"]},
        {"spokes/aws-1/serverType": 7},
        {"privateKeys": {"aws-1": "short"}},
    ],
)
def test_nothing_is_registered_when_a_setting_is_bad(changes: dict[str, Any]) -> None:
    run = Run()
    with pytest.raises(pulumi.RunError) as refused:
        run_program(changed(dev(), changes), run=run)
    assert not run.resources
    assert not run.outputs
    assert "hybrid-wireguard:" in str(refused.value)
    assert refused.value.__cause__ is None, "the message alone is shown"


def test_a_private_key_in_plain_text_registers_nothing() -> None:
    run = Run()
    with pytest.raises(pulumi.RunError) as refused:
        run_program(changed(dev(), {"privateKeys": {"aws-1": KEY}}), secret_keys=(), run=run)
    assert not run.resources
    assert KEY not in str(refused.value)


def test_the_declared_defaults_change_nothing() -> None:
    plain, filled = run_program(dev()), run_program({**declared_defaults(), **dev()})
    assert {r.name: r.inputs for r in plain.resources} == {r.name: r.inputs for r in filled.resources}


def test_a_given_vpc_is_used_and_none_made() -> None:
    run = run_program(changed(dev(), {"sites/aws/vpcId": "vpc-7", "sites/aws/subnetId": "subnet-7"}))
    assert not kinds(run, "aws") & MADE_ON_AWS
    assert run.named("aws-1-instance").inputs["subnetId"] == "subnet-7"
    assert run.named("aws-spoke-group").inputs["vpcId"] == "vpc-7"


def test_a_given_gcp_network_is_used_and_none_made() -> None:
    run = run_program(changed(dev(), {"sites/gcp/network": "own", "sites/gcp/subnetwork": "part"}))
    assert not kinds(run, "gcp") & MADE_ON_GCP
    assert run.named("gcp-1-instance").inputs["networkInterfaces"] == [{"subnetwork": "part"}]
    assert run.named("gcp-wireguard").inputs["network"] == "own"


def test_machines_boot_only_once_their_network_has_a_way_out() -> None:
    run = run_program(dev())
    assert any(urn.endswith("::aws-association") for urn in run.named("aws-1-instance").request.dependencies)
    assert any(urn.endswith("::gcp-nat") for urn in run.named("gcp-1-instance").request.dependencies)


def test_a_hetzner_network_that_the_stack_makes_joins_its_servers() -> None:
    run = run_program(changed(dev(), {"sites/hetzner/networkCidr": "10.0.0.0/24"}))
    gateway, spoke = run.named("hetzner-gw-server"), run.named("hetzner-1-server")
    assert gateway.inputs["networks"][0]["ip"] == "10.0.0.254", "an address that no other server is given"
    assert "ip" not in spoke.inputs["networks"][0]
    assert any(urn.endswith("::hetzner-subnet") for urn in spoke.request.dependencies)
    assert run.named("hetzner-subnet").inputs["networkZone"] == "eu-central"
    assert "Endpoint = 10.0.0.254:51820" in spoke.inputs["userData"], "its own site's gateway is next door"
    assert "Endpoint = 198.51.100.1:51820" in run.named("aws-1-instance").inputs["userData"]
    assert "MTU = 1370" in spoke.inputs["userData"]
    assert run.outputs["network"]["mtu"] == 1370


def test_a_given_hetzner_network_is_joined_at_the_pinned_address() -> None:
    settings = {"sites/hetzner/networkId": 7, "gateways/hetzner-gw/privateAddress": "10.0.0.9"}
    run = run_program(changed(dev(), settings))
    assert run.named("hetzner-gw-server").inputs["networks"] == [{"networkId": 7, "ip": "10.0.0.9", "aliasIps": []}]
    assert "Network" not in kinds(run, "hcloud")


def test_retired_types_resolve_with_one_warning() -> None:
    run = run_program(dev())
    (warning,) = run.warnings
    assert warning.startswith("hetzner-1, hetzner-2, hetzner-gw: server type cx22 cannot be ordered since 2026-01-01")
    assert "using cx23" in warning


def test_retired_types_stay_where_the_stack_says_so() -> None:
    run = run_program(changed(dev(), {"keepRetiredServerTypes": True}))
    assert run.named("hetzner-gw-server").inputs["serverType"] == "cx22"
    assert not run.warnings


def test_other_types_are_left_to_the_cloud() -> None:
    run = run_program(changed(dev(), {"spokes/hetzner-1/serverType": "ccx13", "spokes/aws-1/serverType": "cx22"}))
    assert run.named("hetzner-1-server").inputs["serverType"] == "ccx13"
    assert run.named("aws-1-instance").inputs["instanceType"] == "cx22"


def test_protect_guards_what_a_loss_of_would_reach_every_spoke() -> None:
    protected = {r.name for r in run_program(changed(dev(), {"protect": True})).resources if r.request.protect}
    assert protected == {
        "stack-signing",
        "stack-seal",
        "authority-key",
        "authority-certificate",
        "hetzner-gw-key",
        "hetzner-gw-address",
        "hetzner-gw-server",
    }
    assert not [r for r in run_program(dev()).resources if r.request.protect]


def test_a_site_without_machines_makes_nothing() -> None:
    run = run_program(changed(static(), {"spokes/aws-1": ...}))
    assert not kinds(run, "aws")
    assert "aws" in run.outputs["network"]["sites"]


def test_adding_a_spoke_changes_no_other_resource_but_the_roster() -> None:
    before = {r.name: r.inputs for r in run_program(dev()).resources if r.request.custom}
    grown = run_program(changed(dev(), {"spokes/aws-2": {"site": "aws"}}))
    after = {r.name: r.inputs for r in grown.resources if r.request.custom}
    assert {name for name, inputs in before.items() if after[name] != inputs} == {"roster"}
    assert set(after) - set(before) == {"aws-2-key", "aws-2-instance"}
    nodes = after["roster"]["nodes"]
    assert nodes.pop("aws-2")["address"] == "10.100.2.2"
    assert nodes == before["roster"]["nodes"]
