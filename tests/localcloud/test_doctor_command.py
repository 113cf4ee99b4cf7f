"""The desk's doctor: what the machines' own ones say, and what only the clouds know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localcloud.cli import doctor
from localcloud.cli.doctor import Finding
from localcloud.cli.parser import main
from localcloud.cloud import Cloud
from localcloud.fabric import Fabric, MachineState
from localcloud.spec import Rule
from tests.localcloud.fabric.worlds import AWS, HETZNER

OPEN = Rule("udp", (51820, 51821), ("0.0.0.0/0",))
CONTROL = Rule("tcp", (8443, 8443), ("0.0.0.0/0",))
GATEWAY = MachineState(replace(HETZNER, id="1", node="gw", ingress=(OPEN, CONTROL)), 1, "running", ())
SPOKE = MachineState(replace(AWS, id="2", node="aws-1"), 2, "running", ())
STRANGER = MachineState(replace(AWS, id="3", node="laptop"), 3, "running", ())


def found(*machines: MachineState) -> list[tuple[str, str]]:
    return [(each.node, each.cause) for machine in machines for each in doctor.of_the_cloud(machine, machines, {"gw"})]


def test_a_cloud_without_a_fault_accuses_nobody() -> None:
    assert found(GATEWAY, SPOKE) == []


@pytest.mark.parametrize("status", ["stopped", "crashed"])
def test_a_machine_that_does_not_run_is_told(status: Any) -> None:
    assert found(replace(GATEWAY, status=status), SPOKE) == [("gw", "machine-stopped")]


def test_a_cut_link_is_told() -> None:
    (one,) = doctor.of_the_cloud(replace(SPOKE, cut_from=("gw",)), [GATEWAY, SPOKE], {"gw"})
    assert (one.cause, one.command) == ("link-cut", "python -m localcloud heal aws-1 gw")
    (everything,) = doctor.of_the_cloud(replace(SPOKE, cut_from=("*",)), [GATEWAY, SPOKE], {"gw"})
    assert everything.command == "python -m localcloud heal aws-1"


@pytest.mark.parametrize(
    "rules",
    [
        (),
        (CONTROL,),
        (replace(OPEN, ports=(51821, 51821)),),
        (replace(OPEN, protocol="tcp"),),
        (replace(OPEN, sources=("192.0.2.0/31",)),),
    ],
)
def test_a_gateways_firewall_that_closes_wireguards_port_is_told(rules: tuple[Rule, ...]) -> None:
    shut = replace(GATEWAY, spec=replace(GATEWAY.spec, ingress=rules))
    assert found(shut, SPOKE) == [("gw", "provider-firewall")]


@pytest.mark.parametrize("rules", [None, (replace(OPEN, ports=None),), (replace(OPEN, protocol="any"),)])
def test_a_firewall_that_lets_it_in_is_not_accused(rules: tuple[Rule, ...] | None) -> None:
    assert found(replace(GATEWAY, spec=replace(GATEWAY.spec, ingress=rules)), SPOKE) == []


def test_a_spokes_firewall_may_be_closed_since_it_calls() -> None:
    assert found(GATEWAY, replace(SPOKE, spec=replace(SPOKE.spec, ingress=()))) == []


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Finding]]:
    """A cloud of a gateway, a spoke and a machine of others on which an external spoke runs; what their doctors say."""
    said: dict[str, list[Finding]] = {"gw": [], "aws-1": [], "laptop": []}
    made = Cloud(tmp_path / "cloud")
    made.claim()
    peers = [
        {"name": name, "site": site, "role": role, "address": "10.100.0.1", "public_key": name}
        for name, site, role in (("gw", "s", "gateway"), ("aws-1", "s", "spoke"), ("laptop", "people", "spoke"))
    ]
    sites = {"s": {"cloud": "aws"}, "people": {"cloud": "external"}}
    made.outputs.write_text(json.dumps({"peers": peers, "network": {"sites": sites}}))

    def machines(fabric: Fabric) -> list[MachineState]:
        return [GATEWAY, SPOKE, STRANGER]

    def asked(cloud: Cloud, node: str) -> list[Finding]:
        return said[node]

    monkeypatch.setattr(Fabric, "machines", machines)
    monkeypatch.setattr(doctor, "_of_the_machine", asked)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return said


def test_a_machine_on_which_nothing_goes_on_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Cloud(tmp_path / "cloud")
    frozen.claim()
    (frozen.directory / "nodes").mkdir()
    (frozen.directory / "nodes" / "gw").write_text("")

    def init_of(text: str) -> int:
        return 1

    def command_line(init: int, words: list[str]) -> list[str]:
        return ["sleep", "infinity"]

    monkeypatch.setattr(doctor.enter, "init_of", init_of)
    monkeypatch.setattr(doctor.enter, "command_line", command_line)
    monkeypatch.setattr(doctor, "SECONDS", 0.1)
    monkeypatch.setattr(doctor, "_STUCK_SECONDS", 0.1)
    (one,) = doctor.examined(frozen, [GATEWAY], [GATEWAY], {"gw"})
    assert (one.node, one.cause) == ("gw", "no-doctor")


def run(tmp_path: Path, *words: str) -> int:
    return main(["--dir", str(tmp_path / "cloud"), "doctor", *words])


LATE = Finding("gw", "old-release", 30, "an old release", ("3 runs",), "pulumi up")
FIRST = Finding("aws-1", "wrong-key", 96, "another key", ("seen so",), "systemctl restart hybridnet")


def test_a_healthy_cloud_is_told_so(
    cloud: dict[str, list[Finding]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    said = capsys.readouterr().out
    assert said.startswith("all 2 machines are well\n")
    assert "laptop" not in said


def test_the_likeliest_cause_of_all_machines_comes_first(
    cloud: dict[str, list[Finding]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud["gw"], cloud["aws-1"] = [LATE], [FIRST]
    assert run(tmp_path) == 1
    said = capsys.readouterr().out
    assert said.startswith("aws-1: another key (wrong-key)\n")
    assert "mend:  systemctl restart hybridnet" in said
    assert "old-release" in said
    assert run(tmp_path, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert [each["cause"] for each in document["causes"]] == ["wrong-key", "old-release"]
    assert document["nodes"] == {"gw": False, "aws-1": False}


def test_only_the_named_machines_are_asked(
    cloud: dict[str, list[Finding]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud["aws-1"] = [FIRST]
    assert run(tmp_path, "gw", "--json") == 0
    assert json.loads(capsys.readouterr().out)["nodes"] == {"gw": True}
    assert run(tmp_path, "nobody") == 1
    assert "there is no machine nobody" in capsys.readouterr().err


def test_a_cut_between_two_that_are_asked_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def well(cloud: Cloud, node: str) -> list[Finding]:
        return []

    monkeypatch.setattr(doctor, "_of_the_machine", well)
    machines = [replace(GATEWAY, cut_from=("aws-1",)), replace(SPOKE, cut_from=("gw",))]
    causes = doctor.examined(Cloud(tmp_path), machines, machines, {"gw"})
    assert [(each.node, each.cause) for each in causes] == [("aws-1", "link-cut")]
    (alone,) = doctor.examined(Cloud(tmp_path), machines, machines[:1], {"gw"})
    assert alone.node == "gw"
