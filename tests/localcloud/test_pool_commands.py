"""What the commands make of the pools' machines and the gateways' leases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from localcloud.cli import gateways, members, mesh, pools
from localcloud.cli.console import Console
from localcloud.cli.parser import main
from localcloud.cloud import Cloud
from localcloud.control import Command, Control
from localcloud.fabric import Fabric, MachineState
from localcloud.fabric.fabric import Status
from localcloud.spec import JSON
from tests.localcloud.fabric.worlds import AWS, GCP, HETZNER

GATEWAY = mesh.Peer("hetzner-gw", "hetzner", "gateway", "10.100.0.1", "gwkey")
LEASE: Mapping[str, JSON] = {
    "name": "aws-burst-f0", "pool": "aws-burst", "address": "10.100.2.128", "public_key": "key0",
    "instance_id": "i-f0", "state": "active", "weight": 100, "healthy": True, "joined": 1.5, "endpoint": None,
    "handshake_age": 3.0, "rx": 1, "tx": 2,
}  # fmt: skip


def member(number: int, status: Status = "running", **metadata: JSON) -> MachineState:
    told = {**AWS.metadata, "pool": "aws-burst", "group": "g", **metadata}
    spec = replace(AWS, id=f"i-f{number}", node=f"aws-burst-f{number}", metadata=told)
    return MachineState(spec, 10 + number, status, ())


class Scene:
    """An instance without machines of its own: what the fabric, the daemon and the gateway say is set here."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.machines: Sequence[MachineState] = [MachineState(HETZNER, 1, "running", ())]
        self.leases: list[Mapping[str, JSON]] = []
        self.revoked: list[JSON] = []
        self.gateway_answers = True
        self.pools: list[JSON] = []
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def pool(self, desired: int, **phases: str) -> None:
        phased: dict[str, JSON] = {node.replace("_", "-"): phase for node, phase in phases.items()}
        self.pools = [{"name": "aws-burst", "desired": desired, "members": phased}]

    def note(self, command: str, told: Mapping[str, Any]) -> JSON:
        self.asked.append((command, told))
        return 120.0 if command == "interrupt" else None


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(Cloud(tmp_path / "cloud"))
    scene.cloud.claim()
    outputs = {"peers": [GATEWAY.__dict__], "pools": [{"name": "aws-burst", "site": "aws", "min": 1, "max": 6}]}
    scene.cloud.outputs.write_text(json.dumps(outputs))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(Fabric, "machines", lambda _: list(scene.machines))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(pools, "_serving", lambda _: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(members, "JOIN_SECONDS", 0)
    monkeypatch.setattr(pools, "SCALE_SECONDS", 0)

    def run_on(cloud: Cloud, node: str, *command: str) -> str | None:
        assert node == "hetzner-gw"
        if command[0] != "curl":
            return ""
        return json.dumps({"leases": scene.leases, "revoked": scene.revoked}) if scene.gateway_answers else None

    monkeypatch.setattr(mesh, "run_on", run_on)
    commands: dict[str, Command] = {name: partial(scene.note, name) for name in ("scale", "interrupt", "rebalance")}
    control = Control(scene.cloud, {**commands, "pools": lambda _: scene.pools})
    yield scene
    control.close()


def run(scene: Scene, *words: str) -> int:
    return main(["--dir", str(scene.cloud.directory), *words])


def joins(scene: Scene) -> bool:
    return members.wait(scene.cloud, Fabric(scene.cloud), [GATEWAY], Console())


def test_up_waits_for_nobody_where_there_are_no_pools(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert joins(scene)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("lease", "missing"),
    [
        ({}, None),
        ({"healthy": False}, "aws-burst-f0"),
        ({"state": "draining"}, "aws-burst-f0"),
        ({"instance_id": "i-f9"}, "aws-burst-f0"),
        ({"pool": "gcp-burst"}, "aws-burst-f0"),
    ],
)
def test_up_waits_for_machines_that_have_not_joined(
    scene: Scene, lease: Mapping[str, JSON], missing: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.machines = [*scene.machines, member(0)]
    scene.pool(1, aws_burst_f0="in-service")
    scene.leases = [{**LEASE, **lease}]
    assert joins(scene) == (missing is None)
    said = capsys.readouterr().out
    assert (f"still missing after 0 s: {missing}\n" in said) == (missing is not None)


def test_up_does_not_wait_for_a_machine_that_was_revoked(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.machines, scene.leases = [*scene.machines, member(0), member(1)], [LEASE]
    scene.pool(2, aws_burst_f0="in-service", aws_burst_f1="in-service")
    scene.revoked = [{"name": "aws-burst-f1", "keys": ["key1"], "instance": "i-f1"}]
    assert joins(scene)
    scene.revoked = []
    assert not joins(scene)
    assert "aws-burst-f1" in capsys.readouterr().out


def test_up_waits_for_members_that_are_still_to_come(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.machines, scene.leases = [*scene.machines, member(0)], [LEASE]
    scene.pool(3, aws_burst_f0="in-service")
    assert not joins(scene)
    assert "still missing after 0 s: 2 more of aws-burst\n" in capsys.readouterr().out


def test_up_does_not_wait_for_who_goes(scene: Scene) -> None:
    noticed = member(2, spot_action={"action": "terminate", "time": "2026-03-04T05:06:07Z"})
    scene.machines, scene.leases = [*scene.machines, member(0), member(1), noticed], [LEASE]
    scene.pool(1, aws_burst_f0="in-service", aws_burst_f1="terminating-wait", aws_burst_f2="in-service")
    assert joins(scene)


def test_servers_of_a_pool_without_a_group_are_waited_for_too(scene: Scene) -> None:
    server = replace(HETZNER, id="202", node="w-1", metadata={"labels": {"pool": "workers"}})
    scene.machines = [*scene.machines, MachineState(server, 2, "running", ())]
    assert not joins(scene)
    scene.leases = [{**LEASE, "pool": "workers", "instance_id": "202"}]
    assert joins(scene)


def test_status_shows_members_leases_and_leases_whose_machines_are_gone(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.machines = [*scene.machines, member(0), member(1, "booting"), MachineState(GCP, 3, "running", ())]
    scene.leases = [
        {**LEASE, "weight": 10},
        {**LEASE, "name": "aws-burst-f7", "instance_id": "i-f7", "public_key": "key7", "healthy": False},
    ]
    assert run(scene, "status") == 0
    table = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.split("\n\n")[0].splitlines()}
    assert table["MACHINE"][:5] == ["MACHINE", "CLOUD", "STATE", "POOL", "LEASE"]
    assert table["aws-burst-f0"][1:7] == ["aws", "running", "aws-burst", "active,", "weight", "10"]
    assert table["aws-burst-f1"][1:5] == ["aws", "booting", "aws-burst", "none"]
    assert table["aws-burst-f7"][1:] == ["gone", "aws-burst", "active,", "does", "not", "answer"]
    assert "aws-burst" not in table["gcp-1"]


def test_status_tells_programs_of_members(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.machines, scene.leases = [*scene.machines, member(0), member(1)], [LEASE]
    assert run(scene, "status", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    gateway, joined, other = document["machines"]
    assert (gateway["pool"], gateway["lease"]) == (None, None)
    assert joined["pool"] == "aws-burst"
    assert joined["lease"] == {"state": "active", "weight": 100, "healthy": True}
    assert joined["overlay_address"] == "10.100.2.128"
    assert (other["pool"], other["lease"], other["overlay_address"]) == ("aws-burst", None, None)
    assert document["gateways_answer"]
    assert document["leases"] == [{"name": "aws-burst-f0", "pool": "aws-burst", "address": "10.100.2.128"}]


def test_leases_are_unknown_while_the_gateway_does_not_answer(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.machines, scene.leases, scene.gateway_answers = [*scene.machines, member(0)], [LEASE], False
    assert run(scene, "status") == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("aws-burst-f0")]
    assert row[1:5] == ["aws", "running", "aws-burst", "unknown"]
    assert run(scene, "status", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["gateways_answer"], document["machines"][1]["lease"]) == (False, None)
    assert not joins(scene)


def test_a_gateway_in_its_first_stage_knows_no_leases_yet(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_on(*_: object) -> str:
        return json.dumps({"schema_version": 1, "stage": "stage0"})

    monkeypatch.setattr(mesh, "run_on", run_on)
    assert gateways.ask(scene.cloud, [GATEWAY]) == gateways.Told([], silent=("hetzner-gw",))


def test_peers_of_members_go_by_the_names_that_commands_take(scene: Scene) -> None:
    known = [members.Lease("aws-burst-1234f0", "aws-burst", "10.100.2.128", "key0", "i-f0", "active", 100, True)]
    found = members.peers([member(0), member(1)], known, {"pools": [{"name": "aws-burst", "site": "aws"}]})
    (peer,) = found
    assert peer == mesh.Peer("aws-burst-f0", "aws", "burst", "10.100.2.128", "key0", node="aws-burst-1234f0")
    assert peer.known_as == "aws-burst-1234f0"
    assert members.without_machine([member(1)], known) == known


def test_scale_waits_until_all_run(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.machines = [*scene.machines, member(0), member(1)]
    assert run(scene, "scale", "aws-burst", "2") == 0
    assert scene.asked == [("scale", {"pool": "aws-burst", "size": 2})]
    assert capsys.readouterr().out == "aws-burst has 2 members: aws-burst-f0, aws-burst-f1\n"
    for machines in ([member(0)], [member(0), member(1, "booting")], [member(0), member(1), member(2)]):
        scene.machines = machines
        assert run(scene, "scale", "aws-burst", "2") == 1
        assert "did not come to have 2 members within 0 s" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "7", "99"])
def test_scale_asks_no_cloud_for_what_the_stack_does_not_want(
    scene: Scene, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    assert run(scene, "scale", "aws-burst", size) == 1
    assert "the stack says 1 to 6" in capsys.readouterr().err
    assert scene.asked == []


def test_an_external_pool_has_leases_and_no_machines_here(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    pool = {"name": "replicas", "kind": "external", "site": "aws", "min": 0, "max": 4}
    scene.cloud.outputs.write_text(json.dumps({"peers": [GATEWAY.__dict__], "pools": [pool]}))
    gone = {**LEASE, "name": "aws-burst-f1", "public_key": "key1"}
    scene.leases = [{**LEASE, "name": "replicas-f0", "pool": "replicas"}, gone]
    assert run(scene, "status") == 0
    lines = capsys.readouterr().out.splitlines()
    (external,) = [line.split() for line in lines if line.startswith("replicas-f0")]
    assert external == ["replicas-f0", "external", "replicas", "active"]
    assert [line.split()[:3] for line in lines if line.startswith("aws-burst-f1")] == [
        ["aws-burst-f1", "gone", "aws-burst"]
    ]
    assert run(scene, "scale", "replicas", "2") == 1
    assert "what makes its machines says how many" in capsys.readouterr().err
    assert scene.asked == []


def test_scale_ends_with_the_instance(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    def machines(_: Fabric) -> list[MachineState]:
        shutil.rmtree(scene.cloud.directory, ignore_errors=True)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fabric, "machines", machines)
        patch.setattr(pools, "SCALE_SECONDS", 30)
        assert run(scene, "scale", "aws-burst", "2") == 1
    assert "went down meanwhile" in capsys.readouterr().err


def test_interrupt_gives_the_notice_or_the_recommendation(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(scene, "interrupt", "aws-burst-f0", "--after", "5") == 0
    assert run(scene, "interrupt", "aws-burst-f0") == 0
    assert run(scene, "interrupt", "aws-burst-f0", "--rebalance") == 0
    assert scene.asked == [
        ("interrupt", {"node": "aws-burst-f0", "after": 5.0}),
        ("interrupt", {"node": "aws-burst-f0", "after": None}),
        ("rebalance", {"node": "aws-burst-f0"}),
    ]
    assert "it is taken in 120 s" in capsys.readouterr().out
