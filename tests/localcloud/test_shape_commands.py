"""What the commands show of a network with several gateways, direct tunnels, groups and machines of others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localcloud.cli import gateways, mesh
from localcloud.cli.console import Console
from localcloud.cli.desk import Choice
from localcloud.cli.parser import main
from localcloud.cli.shape import Shape
from localcloud.cloud import Cloud, LocalCloudError
from localcloud.fabric import Fabric, MachineState
from localcloud.spec import MachineSpec
from tests.localcloud.fabric.worlds import AWS, HETZNER

SITES = {"hetzner": "hetzner", "aws": "aws", "me": "external"}
ADDRESSES = {
    "hetzner-gw": "10.100.1.254", "aws-gw": "10.100.2.254", "hetzner-1": "10.100.1.1", "aws-1": "10.100.2.1",
    "laptop": "10.100.9.1",
}  # fmt: skip
OPEN = {name: {"address": address, "public_key": f"key of {name}"} for name, address in ADDRESSES.items()}


def outputs(topology: str = "sites", **groups: str) -> dict[str, Any]:
    """The stack's outputs; with ``groups`` (underscores for dashes) nodes are in them, which reach themselves alone."""
    told = {name.replace("_", "-"): group for name, group in groups.items()}
    peers = [
        {
            "name": name,
            "site": "me" if name == "laptop" else name.partition("-")[0],
            "role": "gateway" if name.endswith("-gw") else "spoke",
            **OPEN[name],
            "group": ("loadbalancer" if name.endswith("-gw") else told.get(name, "rest")) if groups else None,
        }
        for name in ADDRESSES
    ]
    network = {
        "topology": topology,
        "groups": {group: [group] for group in {*told.values(), "rest"}} if groups else {},
        "sites": {name: {"cloud": cloud} for name, cloud in SITES.items()},
    }
    return {"peers": peers, "network": network, "pools": []}


def dump(*rows: tuple[str, str, int]) -> str:
    """What `wg show all dump` prints: the interface's own line, then peers by name, endpoint and handshake."""
    lines = ["wg0\tprivate\tpublic\t51820\toff"]
    lines += [f"wg0\tkey of {n}\t(none)\t{endpoint}\t(none)\t{at}\t2048\t10\toff" for n, endpoint, at in rows]
    return "\n".join(lines)


class Gateways:
    """The machines' answers: each gateway's status and sessions, and who answers whose ping."""

    def __init__(self, tmp_path: Path) -> None:
        self.cloud = Cloud(tmp_path / "cloud")
        self.cloud.claim()
        own: Mapping[str, Any] = {"leases": [], "topology": "sites", "attached": {}, "links": [], "neighbours": {}}
        self.status: dict[str, dict[str, Any] | None] = {"hetzner-gw": dict(own), "aws-gw": dict(own)}
        self.sessions = {
            "hetzner-gw": dump(("hetzner-1", "198.18.1.2:51820", 5), ("aws-gw", "198.18.2.9:51820", 7)),
            "aws-gw": dump(("aws-1", "172.31.0.4:51820", 6), ("hetzner-1", "198.18.9.9:51820", 900)),
        }
        self.lost: set[tuple[str, str]] = set()
        self.pinged: set[str] = set()

    def run_on(self, _: Cloud, node: str, *command: str) -> str | None:
        if command[0] == "curl":
            assert command[-1] == f"https://{ADDRESSES[node]}:8443/v1/status"
            status = self.status[node]
            return json.dumps(status) if status else None
        if command[0] == "wg":
            return self.sessions[node]
        assert command[0] == "sh"
        self.pinged.add(node)
        names = {address: name for name, address in ADDRESSES.items()}
        return "".join(f"{at} 1.5\n" for at in command[4:] if (node, names[at]) not in self.lost)

    def nodes(self, document: Mapping[str, Any]) -> tuple[list[mesh.Peer], Shape]:
        nodes = mesh.peers(document)
        return nodes, Shape(nodes, document, gateways.ask(self.cloud, nodes))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateways:
    world = Gateways(tmp_path)

    def machines(_: Fabric) -> list[MachineState]:
        named: list[MachineSpec] = [
            replace(HETZNER, id=name, node=name) if name.startswith("hetzner") else replace(AWS, id=name, node=name)
            for name in ADDRESSES
            if name != "laptop"
        ]
        return [MachineState(spec, 1, "running", ()) for spec in named]

    def init_on(_: Cloud, node: str) -> int | None:
        return None if world.status[node] is None else 1

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(Fabric, "machines", machines)
    monkeypatch.setattr(mesh, "run_on", world.run_on)
    monkeypatch.setattr(mesh, "init_on", init_on)
    monkeypatch.setattr(mesh, "REACH_SECONDS", 0)
    return world


def shown(text: str, first: str) -> dict[str, list[str]]:
    """The rows of the table whose heading begins with ``first``, by their first cell."""
    (table,) = [part for part in text.split("\n\n") if part.startswith(first)]
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]
    return {row[0]: row[1:] for row in rows}


def status(world: Gateways, document: Mapping[str, Any], *words: str) -> int:
    world.cloud.outputs.write_text(json.dumps(document))
    return main(["--dir", str(world.cloud.directory), "status", *words])


def test_each_node_is_shown_as_the_gateway_knows_it_that_it_hangs_on(
    world: Gateways, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(world, outputs()) == 0
    table = shown(capsys.readouterr().out, "NODE")
    assert table["NODE"][3:6] == ["HANGS ON", "ENDPOINT", "HANDSHAKE"]
    assert table["hetzner-1"][3:5] == ["hetzner-gw", "198.18.1.2:51820"], "not the fresher session of the other one"
    assert table["aws-1"][3:5] == ["aws-gw", "172.31.0.4:51820"]
    assert table["aws-gw"][:4] == ["aws", "gateway", "10.100.2.254", "198.18.2.9:51820"]
    assert table["laptop"] == ["me", "external", "10.100.9.1", "hetzner-gw", "unknown to the gateway"]


def test_a_node_whose_key_has_changed_since_it_enrolled_is_known_by_its_address(
    world: Gateways, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = "aws-1\t(none)\t172.31.0.4:51820\t(none)\t6", "changed\t(none)\t172.31.0.4:51820\t10.100.2.1/32\t6"
    assert old in world.sessions["aws-gw"]
    world.sessions["aws-gw"] = world.sessions["aws-gw"].replace(old, new)
    world.sessions["aws-gw"] += "\nwg1\tkey of later\t(none)\t172.31.0.4:51821\t10.100.2.1/32\t5\t1\t1\toff"
    assert status(world, outputs()) == 0
    table = shown(capsys.readouterr().out, "NODE")
    assert table["aws-1"][3:5] == ["aws-gw", "172.31.0.4:51820"], "the fresher of its two"


def test_who_has_not_followed_a_change_of_topology_is_shown_where_it_hangs(
    world: Gateways, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = world.status["hetzner-gw"]
    assert gateway is not None
    gateway["attached"] = {"hetzner-1": "aws-gw"}
    assert status(world, outputs("hub")) == 0
    table = shown(capsys.readouterr().out, "NODE")
    assert table["hetzner-1"][3:5] == ["aws-gw", "198.18.9.9:51820"]
    world.status = dict.fromkeys(world.status, None)
    _, shape = world.nodes(outputs("hub"))
    assert [shape.gateway_of(node) for node in mesh.peers(outputs("hub"))] == [None, None, *["hetzner-gw"] * 3]


def test_a_mesh_tells_how_many_tunnels_are_direct(world: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    for each in world.status.values():
        assert each is not None
        each |= {"topology": "mesh", "links": [["aws-1", "hetzner-1"]]}
    assert status(world, outputs("mesh")) == 0
    table = shown(capsys.readouterr().out, "NODE")
    assert table["NODE"][4] == "DIRECT"
    assert [table[name][4] for name in ("hetzner-1", "aws-1", "laptop")] == ["1", "1", "0"]
    assert status(world, outputs("mesh"), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["topology"], document["external"]) == ("mesh", ["laptop"])
    found = {machine["node"]: (machine["gateway"], machine["direct"]) for machine in document["machines"]}
    assert found["aws-1"] == ("aws-gw", ["hetzner-1"])
    assert found["aws-gw"] == (None, [])


def test_one_gateway_has_no_columns_for_several(world: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    document = outputs("hub")
    document["peers"] = [peer for peer in document["peers"] if peer["name"] != "aws-gw"]
    assert status(world, document) == 0
    assert shown(capsys.readouterr().out, "NODE")["NODE"][3:] == ["ENDPOINT", "HANDSHAKE", "RECEIVED", "SENT"]


def test_a_dead_gateway_leaves_what_hangs_on_it_open(world: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    world.status["aws-gw"], world.sessions["aws-gw"] = None, ""
    assert status(world, outputs()) == 0
    table = shown(capsys.readouterr().out, "NODE")
    assert table["aws-1"][3:] == ["aws-gw"]
    assert table["aws-gw"][3:] == ["not running"]
    assert status(world, outputs(), "--json") == 0
    assert not json.loads(capsys.readouterr().out)["gateways_answer"]


def test_gateways_that_do_not_hear_each_other_are_told(world: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = world.status["hetzner-gw"]
    assert gateway is not None
    gateway["neighbours"] = {"aws-gw": {"reachable": False, "age": 12.0, "leases": 0}}
    assert status(world, outputs()) == 0
    assert "hetzner-gw does not hear from aws-gw\n" in capsys.readouterr().out
    world.status["aws-gw"] = None
    assert status(world, outputs()) == 0
    assert "hear" not in capsys.readouterr().out, "that it is dead is told already"


def test_leases_and_balancers_of_all_gateways_are_told(world: Gateways) -> None:
    lease = {"name": "aws-burst-f0"}
    for name, each in world.status.items():
        assert each is not None
        each |= {"load_balancer": {"state": name}, "leases": [lease] if name == "aws-gw" else []}
    told = gateways.ask(world.cloud, mesh.peers(outputs()))
    assert told.leases == [lease]
    assert told.balancers == {name: {"state": name} for name in world.status}
    world.status["hetzner-gw"] = None
    assert gateways.ask(world.cloud, mesh.peers(outputs())).silent == ("hetzner-gw",)


def test_up_waits_for_nobody_whom_groups_close_and_shows_it(
    world: Gateways, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes, shape = world.nodes(outputs(hetzner_1="one"))
    world.lost = {("hetzner-1", "aws-1"), ("aws-1", "hetzner-1")}
    assert mesh.show(world.cloud, nodes, shape, Console())
    out = capsys.readouterr().out
    assert "all 10 pairs of 4 nodes reach each other; groups close 2 more" in out
    table = shown(out, "PING")
    assert table["hetzner-1"][-1] == table["aws-1"][-2] == "closed"
    assert world.pinged == ADDRESSES.keys() - {"laptop"}
    assert "laptop" not in table


def test_a_pair_that_groups_should_close_is_not_hidden(world: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    nodes, shape = world.nodes(outputs(hetzner_1="one"))
    assert mesh.show(world.cloud, nodes, shape, Console())
    assert "should close reach each other: aws-1 -> hetzner-1, hetzner-1 -> aws-1" in capsys.readouterr().out


def test_a_pair_that_should_reach_each_other_fails_up(world: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    nodes, shape = world.nodes(outputs(hetzner_1="rest"))
    world.lost = {("hetzner-1", "aws-1")}
    assert not mesh.show(world.cloud, nodes, shape, Console())
    assert "1 of 12 pairs do not reach each other: hetzner-1 -> aws-1" in capsys.readouterr().out


def test_up_waits_for_nobody_who_was_revoked(world: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    document = outputs()
    gateway = world.status["hetzner-gw"]
    assert gateway is not None
    keys = {peer["name"]: peer["public_key"] for peer in document["peers"]}
    gateway["revoked"] = [{"name": "aws-1", "keys": [keys["aws-1"]], "instance": None}]
    world.lost = {(one, other) for one in ADDRESSES for other in ADDRESSES if "aws-1" in (one, other)}
    nodes, shape = world.nodes(document)
    assert mesh.show(world.cloud, nodes, shape, Console())
    out = capsys.readouterr().out
    assert "all 6 pairs of 3 nodes reach each other" in out
    assert "aws-1" not in world.pinged
    assert shown(out.lstrip(), "NODE")["aws-1"][-1] == "revoked"


def test_the_groups_of_pools_are_those_of_a_gateways_roster(world: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"pools": {"aws-burst": {"group": "inference"}, "old": {}}})

    def run_on(_: Cloud, node: str, *command: str) -> str | None:
        assert command[0] == "cat"
        return None if node == "hetzner-gw" else json.dumps({"body": body, "signature": "s"})

    monkeypatch.setattr(mesh, "run_on", run_on)
    nodes, grouped = mesh.peers(outputs()), outputs(hetzner_1="one")
    assert gateways.pool_groups(world.cloud, nodes, grouped) == {"aws-burst": "inference", "old": ""}
    assert gateways.pool_groups(world.cloud, nodes, outputs()) == {}


def test_a_local_cloud_is_of_one_stack(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud")
    cloud.claim()
    Choice("mesh", None).check_fits(cloud)
    Choice("dev", None).remember(cloud)
    Choice("dev", tmp_path / "edited.yaml").check_fits(cloud)
    with pytest.raises(LocalCloudError, match=r"stack dev.*down.*--dir"):
        Choice("mesh", None).check_fits(cloud)
