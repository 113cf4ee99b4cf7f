"""Networks of several gateways: what the settings plan, push and export; the stacks that show them."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.configurations import PLACEHOLDER
from components.keys import wireguard_key
from components.outputs import parse_outputs
from components.paths import paths
from components.plan import Plan, make_plan
from components.push import RosterProvider
from components.roster_document import roster_document
from components.settings.load import load
from components.settings.places import private_range, public_range
from overlay.roster import canonical, content_digest, parse
from tests.components.configs import ROOT, as_engine_gives, changed, dev, static
from tests.components.recorder import GATEWAY_IP, is_secret, key_pem, plain, run_program

LAPTOP_KEY = "sVH5o+GYs26IfJWoiPlQy/O1rFKFvfHr35p13mgdvD4="
OVERLAY6 = "fd12:3456:789a::/48"
GATEWAYS = {name: {"site": name.removesuffix("-gw")} for name in ("aws-gw", "gcp-gw", "hetzner-gw")}
THREE = changed(static(), {"gateways": GATEWAYS})
"""The dev stack with a gateway in each site."""
HOME = {
    "sites/home": {"cloud": "external", "subnet": "10.100.9.0/24"},
    "spokes/laptop-1": {"site": "home"},
    "spokes/laptop-2": {"site": "home", "publicKey": LAPTOP_KEY},
}
GROUPS = {
    "groups": {
        "admin": {"reaches": ["all"]},
        "inference": {"reaches": ["inference", "loadbalancer"]},
        "loadbalancer": {"reaches": ["inference"]},
        "clients": {"reaches": ["loadbalancer"]},
    },
    "spokes/aws-1/group": "inference",
    "spokes/gcp-1/group": "inference",
    "spokes/hetzner-1/group": "inference",
    "spokes/hetzner-2/group": "admin",
    "spokes/hetzner-2/serves": False,
    "spokes/laptop-1/group": "clients",
    "spokes/laptop-2/group": "admin",
}


def stack_of(name: str) -> dict[str, Any]:
    document = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())
    return {key.partition(":")[2]: value for key, value in document["config"].items()}


def plan_of(config: dict[str, Any], changes: dict[str, Any] | None = None) -> Plan:
    return make_plan(load(as_engine_gives(changed(config, changes or {})), "hybrid-wireguard", "dev", ()))


def test_gateways_stand_at_the_end_of_their_sites_unless_one_is_alone() -> None:
    addresses = {name: str(gateway.address) for name, gateway in plan_of(THREE).gateways.items()}
    assert addresses == {"aws-gw": "10.100.2.254", "gcp-gw": "10.100.3.254", "hetzner-gw": "10.100.1.254"}
    alone = plan_of(THREE, {"gateways": {"gcp-gw": {"site": "gcp"}}})
    assert alone.gateways["gcp-gw"].address == IPv4Address("10.100.0.1")


def test_only_a_gateway_at_the_first_address_is_called_the_gateway() -> None:
    names = {n: g.resource_name for n, g in plan_of(THREE, {"gateways/aws-gw/address": "10.100.0.1"}).gateways.items()}
    assert names == {
        "aws-gw": "hybrid-wireguard-dev-wg-gateway",
        "gcp-gw": "hybrid-wireguard-dev-gcp-gw",
        "hetzner-gw": "hybrid-wireguard-dev-hetzner-gw",
    }


def test_a_gateway_may_be_called_like_its_site_where_nothing_else_is() -> None:
    alike = {"aws": {"site": "aws"}, "gcp": {"site": "gcp"}, "hetzner-gw": {"site": "hetzner"}}
    assert set(plan_of(THREE, {"gateways": alike}).gateways) == set(alike)


def test_a_gateways_server_type_is_its_clouds() -> None:
    types = {name: gateway.server_type for name, gateway in plan_of(THREE).gateways.items()}
    assert types == {"aws-gw": "t3.small", "gcp-gw": "e2-small", "hetzner-gw": "cx23"}


def test_machines_ask_their_home_and_hang_on_what_the_topology_says() -> None:
    found: dict[str, dict[str, str]] = {}
    for topology in ("hub", "sites"):
        plan = plan_of(THREE, {"network": {"topology": topology}, **HOME})
        assert plan.root.name == "hetzner-gw", "it has the lowest address"
        assert {n: plan.gateway_of(s).name for n, s in plan.spokes.items()} == {
            "aws-1": "aws-gw",
            "gcp-1": "gcp-gw",
            "hetzner-1": "hetzner-gw",
            "hetzner-2": "hetzner-gw",
            "laptop-1": "hetzner-gw",
            "laptop-2": "hetzner-gw",
        }
        found[topology] = {n: plan.hangs_on(s).name for n, s in plan.spokes.items()}
    assert set(found["hub"].values()) == {"hetzner-gw"}
    assert found["sites"]["aws-1"] == "aws-gw"


@pytest.mark.parametrize(
    ("changes", "private"),
    [
        ({}, {"aws-gw": "172.28.15.254", "gcp-gw": "172.29.15.253", "hetzner-gw": None}),
        ({"sites/hetzner/networkCidr": "10.0.1.0/24"}, {"hetzner-gw": "10.0.1.254"}),
        ({"spokes/aws-1/publicAddress": False}, {"aws-gw": "172.28.7.254"}),
        ({"gateways/aws-gw/privateAddress": "172.28.0.4"}, {"aws-gw": "172.28.0.4"}),
    ],
)
def test_a_gateways_private_address_is_the_last_that_a_machine_can_have(
    changes: dict[str, Any], private: dict[str, str | None]
) -> None:
    gateways = plan_of(THREE, changes).gateways
    for name, address in private.items():
        assert gateways[name].private_address == (None if address is None else IPv4Address(address))


def test_a_made_vpc_has_two_halves_where_some_machine_has_no_public_address() -> None:
    whole = load(as_engine_gives(THREE), "hybrid-wireguard", "dev", ())
    assert (public_range(whole, "aws"), private_range(whole, "aws")) == (IPv4Network("172.28.0.0/20"), None)
    pool = {"site": "aws", "range": "10.100.2.64/27", "max": 2, "publicAddress": False}
    halved = load(as_engine_gives(changed(THREE, {"pools": {"burst": pool}})), "hybrid-wireguard", "dev", ())
    assert public_range(halved, "aws") == IPv4Network("172.28.0.0/21")
    assert private_range(halved, "aws") == IPv4Network("172.28.8.0/21")


def test_machines_are_on_their_sites_network_where_a_gateway_is() -> None:
    pools = {"burst": {"site": "aws", "range": "10.100.2.64/27", "max": 2}}
    others = {"replicas": {"kind": "external", "site": "aws", "range": "10.100.2.96/27", "max": 2}}
    plan = plan_of(THREE, {"pools": {**pools, **others}, **HOME})
    assert {name for name, machine in plan.machines.items() if machine.lan} == {"aws-gw", "aws-1", "gcp-gw", "gcp-1"}
    assert {name: pool.lan for name, pool in plan.pools.items()} == {"burst": True, "replicas": False}
    assert not any(machine.lan for machine in plan_of(static()).machines.values()), "the one gateway is elsewhere"


def test_of_an_external_site_nothing_is_made_but_a_key_that_nobody_gave() -> None:
    run, before = run_program(changed(static(), HOME)), run_program(static())
    assert {r.name for r in run.resources} - {r.name for r in before.resources} == {
        "laptop-1",
        "laptop-1-key",
        "laptop-2",
    }
    spokes = plan_of(static(), HOME).spokes
    assert {name for name, spoke in spokes.items() if spoke.is_external} == {"laptop-1", "laptop-2"}
    nodes = run.named("roster").inputs["nodes"]
    assert nodes["laptop-2"] == {
        "site": "home",
        "role": "spoke",
        "address": "10.100.9.2",
        "publicKey": LAPTOP_KEY,
    }


def test_external_machines_serve_only_when_they_say_so() -> None:
    config = changed(static(), {**HOME, "spokes/laptop-2/serves": True})
    balancer = plan_of(config).load_balancer
    assert balancer is not None
    assert "laptop-1" not in balancer.nodes
    assert balancer.nodes["laptop-2"].share.backup, "as machines that come and go do"


def test_a_hub_of_one_gateway_differs_from_before_by_the_version_alone() -> None:
    inputs = run_program(dev()).named("roster").inputs
    late = {"group", "lan", "lanEndpoint"}
    assert not any(late & set(entry) for entry in (*inputs["nodes"].values(), *inputs["pools"].values()))
    assert not {"groups", "overlay6"} & set(inputs["network"])
    assert not any({"lan", "lanGroup"} & set(site) for site in inputs["network"]["sites"].values())
    without = {**inputs, "network": {key: value for key, value in inputs["network"].items() if key != "domain"}}
    assert content_digest(roster_document(without, 1)) == content_digest(roster_document(inputs, 1))


def test_everything_that_the_settings_say_reaches_the_roster() -> None:
    changes = {
        **GROUPS,
        "network": {"topology": "sites", "overlay6": OVERLAY6, "domain": "net.acme.internal"},
        "sites/aws/overlayRoutes": True,
        "sites/aws/lanGroup": "clients",
        "pools": {"burst": {"site": "aws", "group": "inference", "range": "10.100.2.64/27", "max": 2}},
    }
    document = roster_document(run_program(changed(changed(THREE, HOME), changes)).named("roster").inputs, 7)
    assert parse(canonical(document)) == document
    network = document.network
    assert (network.topology, str(network.overlay6), network.domain) == ("sites", OVERLAY6, "net.acme.internal")
    assert network.groups["inference"] == ("inference", "loadbalancer")
    assert (network.site("aws").lan, network.site("aws").lan_group) == (IPv4Network("172.28.0.0/20"), "clients")
    assert network.site("gcp").lan is None
    assert network.ranges == ((IPv4Network("10.100.2.64/27"), "inference"),)
    assert (document.node("aws-gw").lan_endpoint, document.node("hetzner-gw").lan_endpoint) == (
        "172.28.15.254:51820",
        None,
    )
    assert (document.node("aws-1").group, document.node("aws-1").lan) == ("inference", True)
    assert (document.pool("burst").group, document.pool("burst").lan) == ("inference", True)
    assert (document.node("laptop-1").group, document.node("laptop-1").lan) == ("clients", False)


@pytest.mark.parametrize("topology", ["hub", "sites", "mesh"])
def test_where_spokes_are_called_is_told_in_a_mesh_alone(topology: str) -> None:
    nodes = run_program(changed(THREE, {"network": {"topology": topology}})).named("roster").inputs["nodes"]
    called = {name for name, node in nodes.items() if node.get("endpoint") and node["role"] == "spoke"}
    assert called == ({"aws-1", "hetzner-1", "hetzner-2"} if topology == "mesh" else set())


def test_a_preview_says_each_nodes_path() -> None:
    pools = {"pools": {"burst": {"site": "aws", "range": "10.100.2.64/27", "max": 2}}}
    said = {
        topology: paths(plan_of(THREE, {"network": {"topology": topology}, **HOME, **pools}))
        for topology in ("hub", "sites", "mesh")
    }
    assert {t: said[t]["aws-1"] for t in said} == {
        "hub": "hetzner-gw",
        "sites": "aws-gw",
        "mesh": "aws-gw, directly where it can",
    }
    assert {said[t]["burst"] == said[t]["aws-1"] for t in said} == {True}
    assert {said[t]["laptop-1"] for t in said} == {"hetzner-gw, as its configuration says"}
    assert (said["hub"]["aws-gw"], "hetzner-gw" in said["hub"]) == ("hetzner-gw", False)
    assert {said[t]["hetzner-gw"] for t in ("sites", "mesh")} == {"the other gateways"}, "direct links are spokes'"


def test_machines_of_an_external_sites_pool_have_no_direct_ways() -> None:
    pool = {"kind": "external", "site": "home", "range": "10.100.9.64/27", "max": 2}
    said = paths(plan_of(THREE, {"network": {"topology": "mesh"}, **HOME, "pools": {"office": pool}}))
    assert said["office"] == "hetzner-gw"


def test_paths_are_for_the_preview_and_no_part_of_the_roster() -> None:
    inputs = run_program(THREE).named("roster").inputs
    assert inputs["paths"]["aws-1"] == "hetzner-gw"
    before = {**inputs, "paths": {"aws-1": "another"}}
    state = {**before, "number": 3, "digest": content_digest(roster_document(before, 1))}
    assert RosterProvider().diff("roster", state, inputs).changes, "it shows"
    assert RosterProvider().digest(inputs) == state["digest"], "and the gateways keep their number"


def test_a_gateways_address_does_not_move_under_its_machine() -> None:
    provider = RosterProvider()
    olds = run_program(static()).named("roster").inputs
    moved = changed(olds, {"nodes/hetzner-gw/address": "10.100.1.254"})
    (failure,) = provider.check(olds, moved).failures
    assert "gateways.hetzner-gw" in failure.reason
    assert "pin `address: 10.100.0.1`, or raise its revision" in failure.reason
    anew = changed(moved, {"gateways/hetzner-gw/serverId": "another"})
    assert not provider.check(olds, anew).failures, "its first boot tells it"
    assert not provider.check({}, moved).failures, "there was none"
    assert not provider.check(olds, changed(olds, {"nodes/aws-1/address": "10.100.2.9"})).failures


@pytest.fixture(scope="module")
def exported() -> dict[str, Any]:
    network = {"network": {"topology": "sites", "overlay6": OVERLAY6}}
    run = run_program(changed(changed(THREE, HOME), {**GROUPS, **network}))
    assert is_secret(run.outputs["configurations"])
    return plain(run.outputs)


def test_outputs_say_groups_names_and_both_addresses(exported: dict[str, Any]) -> None:
    outputs = parse_outputs(exported)
    assert outputs.network.groups["clients"] == ("loadbalancer",)
    assert (str(outputs.network.overlay6), outputs.network.domain) == (OVERLAY6, "wg.internal")
    peers = {peer.name: peer for peer in outputs.peers}
    assert peers["aws-1"].dns_name == "aws-1.aws.wg.internal"
    assert peers["aws-1"].address6 == IPv6Address("fd12:3456:789a::a64:201")
    assert [str(network) for network in peers["aws-1"].allowed_ips] == ["10.100.2.1/32"]
    assert [str(network) for network in peers["aws-1"].allowed_ips6] == ["fd12:3456:789a::a64:201/128"]
    assert (peers["aws-1"].group, peers["aws-gw"].group) == ("inference", "loadbalancer")
    gateways = {gateway.name: gateway for gateway in outputs.gateways}
    assert gateways["aws-gw"].lan_address == IPv4Address("172.28.15.254")
    assert gateways["hetzner-gw"].lan_address is None


def test_what_others_machines_run_is_in_no_list_of_ours(exported: dict[str, Any]) -> None:
    listed = {target["labels"]["node"] for target in exported["prometheus_targets"]}
    assert listed == {"aws-gw", "gcp-gw", "hetzner-gw", "aws-1", "gcp-1", "hetzner-1", "hetzner-2"}
    assert "10.100.9." not in exported["ssh_node_pools"]
    assert yaml.safe_load(exported["skyserve_service"])["service"]["replica_policy"]["max_replicas"] == 4


def test_a_configuration_reaches_its_group_and_no_more(exported: dict[str, Any]) -> None:
    assert set(exported["configurations"]) == {"laptop-1", "laptop-2"}
    text = exported["configurations"]["laptop-1"]
    lines = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line and not line.startswith("#"))
    assert lines["Address"] == "10.100.9.1/32, fd12:3456:789a::a64:901/128"
    assert lines["PrivateKey"] == wireguard_key(key_pem("laptop-1-key", "ED25519")[0])
    assert lines["Endpoint"].endswith(":51820")
    assert lines["MTU"] == "1380"
    reached = {network for network in lines["AllowedIPs"].split(", ") if ":" not in network}
    assert reached == {"10.100.1.254/32", "10.100.2.254/32", "10.100.3.254/32", "10.100.1.2/32", "10.100.9.2/32"}, (
        "the gateways, and the administrators, who may reach it"
    )
    assert text.count("[Peer]") == 1
    assert "'~wg.internal'" in text
    assert "\nDNS" not in text, "the gateways answer for these names alone"


def test_without_groups_a_configuration_reaches_the_whole_overlay() -> None:
    outputs = plain(run_program(changed(static(), HOME)).outputs)
    text = outputs["configurations"]["laptop-1"]
    assert "AllowedIPs = 10.100.0.0/16\n" in text
    assert f"Endpoint = {GATEWAY_IP}:51820" in text
    assert outputs["gateways"][0]["public_key"] in text


def test_wireguard_takes_a_configuration_and_refuses_one_without_its_owners_key(
    exported: dict[str, Any], tmp_path: Path
) -> None:
    said: dict[str, str] = {}
    for name, text in exported["configurations"].items():
        path = tmp_path / f"{name}.conf"
        path.write_text(text)
        path.chmod(0o600)
        stripped = subprocess.run(["wg-quick", "strip", path], capture_output=True, check=True, timeout=20).stdout
        done = subprocess.run(
            ["wg", "setconf", "none-such", "/dev/stdin"], input=stripped, capture_output=True, check=False, timeout=20
        )
        said[name] = done.stderr.decode()
    assert "Unable to modify interface" in said["laptop-1"], "it was read to its end"
    assert "Key is not the correct length or format" in said["laptop-2"]
    assert PLACEHOLDER in said["laptop-2"]


@pytest.mark.parametrize("name", ["sites", "mesh"])
def test_the_stacks_that_show_topologies_are_accepted_and_their_rosters_taken(name: str) -> None:
    run = run_program(stack_of(name))
    document = roster_document(run.named("roster").inputs, 1)
    assert parse(canonical(document)) == document
    assert document.network.topology == name
    assert not run.warnings


def test_the_stack_of_sites_has_public_addresses_where_it_needs_them() -> None:
    plan = plan_of(stack_of("sites"))
    assert {name for name, machine in plan.machines.items() if machine.public} == {
        "hetzner-gw",
        "aws-gw",
        "gcp-gw",
        "hetzner-1",
    }
    assert not any(pool.public for pool in plan.pools.values())
    assert {plan.gateway_of(pool).name for pool in plan.pools.values()} == {"aws-gw", "gcp-gw"}


def test_all_stacks_have_the_published_salt() -> None:
    documents = [yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text()) for name in ("dev", "sites", "mesh")]
    assert len({document["encryptionsalt"] for document in documents}) == 1
