"""What the commands say of the load balancer, as the gateway tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from localcloud.cli import balancer, gateways, mesh
from localcloud.cli.console import Console
from localcloud.cli.parser import main
from localcloud.cloud import Cloud
from localcloud.fabric import Fabric, MachineState
from tests.localcloud.fabric.worlds import HETZNER

URL = "https://198.18.1.1"
GATEWAY = mesh.Peer("hetzner-gw", "hetzner", "gateway", "10.100.0.1", "gwkey")
OUTPUTS = {"peers": [GATEWAY.__dict__], "load_balancer": {"url": URL}}
UNKNOWN = f"requests to {URL}: unknown, since the gateway does not answer\n"


def target(name: str, **more: object) -> dict[str, Any]:
    known = {"name": name, "address": "10.100.1.1", "port": 8000, "healthy": True, "draining": False}
    return {**known, "weight": 10, "backup": False, "in_rotation": True, **more}


WELL: dict[str, Any] = {
    "state": "serving",
    "problem": None,
    "certificate": {"not_after": "2027-12-25T03:04:05+00:00"},
    "reloads": 2,
    "targets": [
        target("hetzner-1"),
        target("aws-1", address="10.100.2.1", port=8080, weight=5, backup=True, healthy=False, in_rotation=False),
        target("aws-burst-f0", address="10.100.2.128", draining=True, in_rotation=False),
    ],
}
AWAY = [target("hetzner-1", healthy=False, in_rotation=False), target("aws-1", healthy=False, in_rotation=False)]


def told(document: Mapping[str, Any] | None) -> gateways.Told:
    return gateways.Told(balancers={"hetzner-gw": dict(document)} if document else {})


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The gateway's status, to be changed; an empty one is none."""
    cloud, status = Cloud(tmp_path / "cloud"), dict[str, Any](leases=[], load_balancer=WELL)
    cloud.claim()
    cloud.outputs.write_text(json.dumps(OUTPUTS))

    def machines(_: Fabric) -> list[MachineState]:
        return [MachineState(HETZNER, 1, "running", ())]

    def run_on(_: Cloud, node: str, *command: str) -> str | None:
        assert node == "hetzner-gw"
        return (json.dumps(status) if status else None) if command[0] == "curl" else ""

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(Fabric, "machines", machines)
    monkeypatch.setattr(mesh, "run_on", run_on)
    return status


def status(tmp_path: Path, *words: str) -> int:
    return main(["--dir", str(tmp_path / "cloud"), "status", *words])


def test_status_shows_where_requests_go(
    answers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(tmp_path) == 0
    _, _, paragraph, _ = capsys.readouterr().out.split("\n\n")
    head, titles, *rows = paragraph.splitlines()
    assert head == f"requests to {URL}: serving, certificate until 2027-12-25"
    assert [word.strip() for word in titles.split("  ") if word] == [
        "TARGET", "ADDRESS:PORT", "HEALTHY", "IN ROTATION", "WEIGHT", "BACKUP", "DRAINING",
    ]  # fmt: skip
    assert [row.split() for row in rows] == [
        ["hetzner-1", "10.100.1.1:8000", "yes", "yes", "10", "no", "no"],
        ["aws-1", "10.100.2.1:8080", "no", "no", "5", "yes", "no"],
        ["aws-burst-f0", "10.100.2.128:8000", "yes", "no", "10", "no", "yes"],
    ]


def test_status_shows_what_is_wrong(
    answers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = {"state": "waiting", "problem": "nginx refuses it", "certificate": None}
    answers["load_balancer"] = {**WELL, **waiting}
    assert status(tmp_path) == 0
    assert f"requests to {URL}: waiting, no certificate\nproblem: nginx refuses it\n" in capsys.readouterr().out


def test_status_tells_programs_what_the_gateway_tells(
    answers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for document in (WELL, None):
        answers["load_balancer"] = document
        assert status(tmp_path, "--json") == 0
        assert json.loads(capsys.readouterr().out)["load_balancer"] == document


def test_a_gateway_that_does_not_answer_leaves_it_unknown(
    answers: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers.clear()
    assert status(tmp_path) == 0
    assert UNKNOWN in capsys.readouterr().out
    balancer.line(gateways.Told(silent=("hetzner-gw",)), OUTPUTS, Console())
    assert capsys.readouterr().out == UNKNOWN


@pytest.mark.parametrize(
    ("outputs", "is_complete"),
    [({**OUTPUTS, "load_balancer": None}, False), (OUTPUTS, True)],
    ids=["no answer", "none"],
)
def test_nothing_is_said_where_there_is_no_load_balancer(
    outputs: dict[str, Any], is_complete: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for say in (balancer.table, balancer.line):
        say(gateways.Told(silent=() if is_complete else ("hetzner-gw",)), outputs, Console())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "1 of 3 machines in rotation"),
        ({"problem": "the certificate expired"}, "1 of 3 machines in rotation; the certificate expired"),
        ({"state": "waiting", "problem": "no credentials yet"}, "waiting; no credentials yet"),
        (
            {"targets": AWAY},
            "0 of 2 machines in rotation; no inference server answers: examples/inference/README.md has one to try",
        ),
        ({"targets": [target("hetzner-1", in_rotation=False)]}, "0 of 1 machines in rotation"),
    ],
)
def test_up_ends_with_where_requests_go_or_what_is_missing(
    document: Mapping[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    balancer.line(told({**WELL, **document}), OUTPUTS, Console())
    assert capsys.readouterr().out == f"requests to {URL}: {said}\n"


def test_each_of_several_gateways_says_where_its_requests_go(capsys: pytest.CaptureFixture[str]) -> None:
    listed = [{"name": name, "public_ip": f"198.18.{n}.1"} for n, name in enumerate(("hetzner-gw", "aws-gw", "gcp-gw"))]
    told = gateways.Told(balancers={"gcp-gw": WELL, "hetzner-gw": {**WELL, "targets": AWAY}}, silent=("aws-gw",))
    balancer.line(told, {**OUTPUTS, "gateways": listed}, Console())
    assert [row.split(": ")[:2] for row in capsys.readouterr().out.splitlines()] == [
        ["requests to https://198.18.0.1 (hetzner-gw)", "0 of 2 machines in rotation; no inference server answers"],
        ["requests to https://198.18.1.1 (aws-gw)", "unknown, since the gateway does not answer"],
        ["requests to https://198.18.2.1 (gcp-gw)", "1 of 3 machines in rotation"],
    ]
    balancer.table(told, {**OUTPUTS, "gateways": listed}, Console())
    paragraphs = capsys.readouterr().out.strip().split("\n\n")
    assert [paragraph.splitlines()[0].split(": ")[0][-12:] for paragraph in paragraphs] == [
        "(hetzner-gw)", "1.1 (aws-gw)", "2.1 (gcp-gw)",
    ]  # fmt: skip
