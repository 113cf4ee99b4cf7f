"""A gateway in each of three clouds: the ways of packets, a dead gateway, groups, outsiders, a change of topology."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from bench.pings import everybody_pings
from tests.scenes.scene import ROOT, Scene, wait_for
from tests.scenes.three_sites import DOMAIN, GATEWAYS, change_topology, everyone, members, resolves, sites_of, way

pytestmark = pytest.mark.localcloud

WORST_SECONDS = 5.0
"""What a pair may lose by one change of the topology."""


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The stack ``sites``, up. Taken down after the last test, whatever happened."""
    scene = Scene(tmp_path_factory.mktemp("sites") / "cloud", "sites", control=GATEWAYS["hetzner"])
    try:
        scene.up(preview=True)
        yield scene
    finally:
        scene.run("down")


def test_every_pair_pings(sites: Scene) -> None:
    nodes = everyone(sites)
    assert len(nodes) > len(GATEWAYS) + 3
    assert sites.unreachable(nodes=nodes) == []


def test_packets_between_two_sites_pass_both_sites_gateways(sites: Scene) -> None:
    nodes, places = everyone(sites), sites_of(sites)
    for source, target in permutations(("hetzner-1", "aws-1", "gcp-1", "aws-gw"), 2):
        wanted = way(nodes, places, "sites", source, target)
        wait_for(f"{source} -> {target}", lambda s=source, t=target, w=wanted: sites.hops(s, nodes[t]) == w, 10)


def test_nodes_of_aws_and_gcp_have_no_public_address_and_reach_their_gateway_in_their_own_network(sites: Scene) -> None:
    for node in ("aws-1", "gcp-1"):
        machine = next(found for found in sites.status()["machines"] if found["node"] == node)
        assert all(address.startswith("172.") for address in machine["addresses"]), machine
        ends = sites.exec(node, "wg", "show", "wg0", "endpoints").split()
        assert ends[1].startswith("172."), ends


def test_ipv6_passes_between_every_pair_of_the_overlay(sites: Scene) -> None:
    addresses = {peer["name"]: peer["address6"] for peer in sites.outputs()["peers"]}
    for source, target in permutations(("hetzner-1", "aws-1", "gcp-1", "gcp-gw"), 2):
        assert sites.succeeds(source, "ping", "-6", "-q", "-c", "1", "-W", "2", addresses[target]), (source, target)


def test_the_gateways_know_each_others_leases(sites: Scene) -> None:
    leases = {lease["name"]: lease["pool"] for lease in members(sites)}
    assert set(leases.values()) == {pool["name"] for pool in sites.outputs()["pools"]}

    def told(address: str) -> int:
        return sum(each["leases"] for each in sites.gateway_status(address)["neighbours"].values())

    for site, address in GATEWAYS.items():
        own = len(sites.gateway_status(address)["leases"])
        wait_for(f"the other sites' leases in {site}", lambda a=address, o=own: told(a) == len(leases) - o, 5)


def test_every_node_resolves_every_name(sites: Scene) -> None:
    nodes, places = everyone(sites), sites_of(sites)
    for node in ("hetzner-1", "aws-1", "gcp-1", "aws-gw"):
        for name, address in nodes.items():
            full = f"{name}.{places[name]}.{DOMAIN}"
            wait_for(f"{full} on {node}", lambda n=node, f=full, a=address: resolves(sites, n, f) == a, 10)
    assert resolves(sites, "aws-1", f"nobody.aws.{DOMAIN}") is None


def test_names_follow_joins_and_leaves(sites: Scene) -> None:
    before = {lease["name"] for lease in members(sites)}
    sites.run("scale", "aws-burst", "2")
    wait_for("another lease", lambda: len(members(sites)) > len(before), 90)
    (new,) = [lease for lease in members(sites) if lease["name"] not in before]
    name = f"{new['name']}.aws.{DOMAIN}"
    wait_for("its name", lambda: resolves(sites, "gcp-1", name) == new["address"], 5)
    sites.run("scale", "aws-burst", "1")
    wait_for("a lease's end", lambda: len(members(sites)) == len(before), 90)
    (gone,) = {*before, new["name"]} - {lease["name"] for lease in members(sites)}
    wait_for("the name's end", lambda: resolves(sites, "gcp-1", f"{gone}.aws.{DOMAIN}") is None, 5)


def test_a_dead_gateway_takes_its_own_site_away_and_nothing_else(sites: Scene) -> None:
    places, nodes = sites_of(sites), everyone(sites)
    away = {name: address for name, address in nodes.items() if places[name] == "aws"}
    others = {name: address for name, address in nodes.items() if name not in away}
    with everybody_pings(sites.directory, others) as losses:
        sites.run("kill", "aws-gw")
        assert sites.unreachable(nodes=others) == []
        alive = {name: address for name, address in nodes.items() if name != "aws-gw"}
        found = set(sites.unreachable(nodes=alive))
        ends = {f"{a} -> {b}" for a, b in permutations(alive, 2) if "aws" in (places[a], places[b])}
        assert found == ends, "nodes of the dead gateway's site have each other only through it"
    assert sum(loss.sent for loss in losses) > 0
    assert [loss for loss in losses if loss.total] == []
    sites.run("start", "aws-gw")
    wait_for("every pair", lambda: sites.unreachable(nodes=nodes) == [], 30)


GROUPS: dict[str, Any] = {
    "loadbalancer": {"reaches": ["inference"]},
    "inference": {"reaches": ["loadbalancer", "inference"]},
    "admin": {"reaches": ["all"]},
}
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"


def opens(scene: Scene, node: str, address: str, port: int) -> bool:
    """Whether a connection from a machine to a port that something listens at is made."""
    return scene.succeeds(node, "python3", "-c", CONNECT, address, str(port))


def test_groups_let_through_what_they_name_and_nothing_else(sites: Scene) -> None:
    nodes = everyone(sites)
    (burst,) = [lease["name"] for lease in members(sites) if lease["pool"] == "aws-burst"]

    def group(config: dict[str, Any]) -> None:
        config["groups"] = GROUPS
        config["sites"]["aws"]["lanGroup"] = "inference"
        config["spokes"]["hetzner-1"]["serves"] = False
        for name, spoke in config["spokes"].items():
            spoke["group"] = "admin" if name == "hetzner-1" else "inference"
        for pool in config["pools"].values():
            pool["group"] = "inference"

    def wrong() -> list[str]:
        """What differs from the groups, of connections to SSH, which every machine has."""
        wanted = {
            ("hetzner-1", "aws-1"): True,
            ("hetzner-1", "aws-gw"): True,
            ("hetzner-1", burst): True,
            ("aws-1", "gcp-1"): True,
            (burst, "aws-1"): True,
            ("aws-1", "hetzner-1"): False,
            (burst, "hetzner-1"): False,
            ("aws-1", "aws-gw"): False,
            (burst, "hetzner-gw"): False,
            ("aws-gw", "gcp-1"): True,
            ("aws-gw", "hetzner-1"): False,
        }
        return [f"{a} -> {b}" for (a, b), may in wanted.items() if opens(sites, a, nodes[b], 22) is not may]

    def status(node: str) -> dict[str, Any]:
        """What the node's own gateway tells it."""
        ask = ["curl", "-sSk", f"https://{GATEWAYS['aws']}:8443/v1/status"]
        return json.loads(sites.exec(node, *ask))

    def led(node: str) -> str:
        return sites.exec(node, "wg", "show", "wg0", "allowed-ips")

    with sites.changed(group):
        sites.up()
        wait_for("the groups", lambda: wrong() == [], 30)
        assert "peers" not in status("aws-1")
        assert "peers" in status("hetzner-1")
        wait_for("an end of the way to all", lambda: "10.100.0.0/16" not in led("aws-1"), 15)
        assert opens(sites, "aws-1", GATEWAYS["aws"], 443)
    sites.up()
    wait_for("an end of the groups", lambda: opens(sites, "aws-1", nodes["hetzner-1"], 22), 30)
    assert opens(sites, "aws-1", nodes["aws-gw"], 22)


OUTSIDERS = """
import pulumi_aws as aws
import pulumi_hcloud as hcloud

home = sites["aws"]
bare = aws.ec2.Instance(
    "bare",
    instance_type="t3.small",
    ami=home._ami("debian-12"),
    region="eu-central-1",
    subnet_id=home._vpc._subnet.id,
    tags={"node": "bare"},
)
hcloud.Server(
    "laptop",
    name="laptop",
    server_type="cx23",
    image="debian-12",
    location="fsn1",
    labels={"node": "laptop"},
    user_data="#cloud-config\\npackages: [wireguard-tools]\\n",
)
"""
"""A machine of the VPC and one of anywhere: the stack knows neither."""


def test_machines_of_the_vpc_without_wireguard_and_a_laptop_reach_what_they_may(sites: Scene, tmp_path: Path) -> None:
    nodes = everyone(sites)

    def add(project: Path) -> None:
        main = project / "__main__.py"
        main.write_text(main.read_text() + OUTSIDERS)

    with sites.altered(tmp_path / "project", add):
        sites.up()
        for name in ("aws-1", "hetzner-1", "gcp-gw"):
            wait_for(f"{name}, without WireGuard", lambda n=name: sites.pings("bare", nodes[n]), 30)
        assert not sites.succeeds("bare", "ip", "link", "show", "wg0")

        sites.run("outputs", "--write", str(tmp_path))
        given = subprocess.run(
            [sys.executable, "-m", "clients", "ana", "--from", str(tmp_path / "configurations.json")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        wait_for("wg on the laptop", lambda: sites.succeeds("laptop", "sh", "-c", "command -v wg-quick"), 90)
        text = base64.b64encode(given.encode()).decode()
        put = f"umask 077; echo {text} | base64 -d >/etc/wireguard/wg0.conf && wg-quick up wg0"
        sites.exec("laptop", "sh", "-c", put)
        for name, address in nodes.items():
            wait_for(f"{name} from the laptop", lambda a=address: sites.pings("laptop", a), 15)
    sites.up()


def test_the_topology_changes_while_everybody_pings_everybody(sites: Scene) -> None:
    """The last test: it leaves the stack with another topology."""
    nodes, places = everyone(sites), sites_of(sites)
    before = sites.boot_ids(nodes)
    for topology in ("hub", "sites", "mesh", "hub"):
        change_topology(sites, topology)
        with everybody_pings(sites.directory, nodes) as losses:
            is_previewed = topology == "mesh"
            foretold, _, made = sites.up(preview=is_previewed).stdout.rpartition(" to update")
            assert ("paths.aws-1" in foretold) is is_previewed
            assert "paths.aws-1" in made
            assert "replace" not in foretold + made
            for a, b in permutations(("hetzner-1", "aws-1", "gcp-1"), 2):
                wanted = way(nodes, places, topology, a, b)
                wait_for(f"{a} -> {b} of {topology}", lambda a=a, b=b, w=wanted: sites.hops(a, nodes[b]) == w, 60)
        for loss in losses:
            print(f"{topology}: {loss.node} lost {loss.worst:.1f} s of its worst pair, {loss.total:.1f} s of all")
        assert [loss for loss in losses if loss.worst > WORST_SECONDS] == [], topology
        assert sites.boot_ids(nodes) == before
