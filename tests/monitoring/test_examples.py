"""Alertmanager's example, Grafana's dashboard, and the DaemonSet for Kubernetes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from monitoring.__main__ import main
from tests.monitoring.prometheus import (
    MONITORING,
    alerts,
    dashboard_queries,
    needs_amtool,
    needs_promtool,
    passes,
)

ALERTMANAGER = MONITORING / "alertmanager.yaml"
IMAGE = "registry.example.com:5000/mirror/wireguard_exporter:3.6.6"


@needs_amtool
def test_alertmanager_takes_the_example() -> None:
    passes("amtool", "check-config", ALERTMANAGER)


@needs_amtool
@pytest.mark.parametrize(("severity", "receiver"), [("critical", "on-call"), ("warning", "morning")])
def test_what_is_critical_wakes_somebody(severity: str, receiver: str) -> None:
    command = ["amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}"]
    passes(*command, f"--verify.receivers={receiver}", "alertname=HybridnetAny", f"severity={severity}")


def test_the_example_names_only_alerts_that_there_are() -> None:
    named = set(re.findall(r"Hybridnet\w+", ALERTMANAGER.read_text()))
    assert named
    assert named <= set(alerts())


@needs_promtool
def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    as_rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(dashboard_queries())
    ]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": as_rules}]}))
    passes("promtool", "check", "rules", "--lint=none", tmp_path / "queries.yaml")


def test_no_panel_of_the_dashboard_covers_another() -> None:
    board = json.loads((MONITORING / "grafana" / "hybridnet.json").read_text())
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def manifest(capsys: pytest.CaptureFixture[str], image: str = IMAGE) -> dict[str, Any]:
    assert main(["daemonset", "--image", image]) == 0
    return cast("dict[str, Any]", yaml.safe_load(capsys.readouterr().out))


def test_the_daemonset_selects_its_own_pods_and_is_found_by_annotations(capsys: pytest.CaptureFixture[str]) -> None:
    made = manifest(capsys)
    assert (made["apiVersion"], made["kind"]) == ("apps/v1", "DaemonSet")
    spec, template = made["spec"], made["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    assert container["image"] == IMAGE
    (port,) = container["ports"]
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == str(port["containerPort"]) == str(port["hostPort"])
    assert str(port["containerPort"]) in container["args"]
    assert port["containerPort"] != 9586, "taken by the machine's own exporter"
    assert all(isinstance(word, str) for word in container["args"])


def test_the_daemonset_may_do_no_more_than_look_at_tunnels(capsys: pytest.CaptureFixture[str]) -> None:
    pod = manifest(capsys)["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostPID", "hostIPC", "volumes", "initContainers"} & set(pod)
    (container,) = pod["containers"]
    allowed = container["securityContext"]
    assert allowed["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert (allowed["allowPrivilegeEscalation"], allowed["readOnlyRootFilesystem"]) == (False, True)
    assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "privileged" not in allowed
    assert "volumeMounts" not in container


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("exporter", "has no tag"),
        ("registry:5000/exporter", "has no tag"),
        ('x:1"\nhostPID: true', "is no name of an image"),
        ("Upper/Case:1", "is no name of an image"),
        ("", "is no name of an image"),
    ],
)
def test_what_is_no_image_is_refused(image: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["daemonset", "--image", image]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert says in told.err


@pytest.mark.parametrize("image", ["exporter:1", "1:2", f"a/b@sha256:{'0' * 64}"])
def test_what_is_an_image_stays_that(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    (container,) = manifest(capsys, image)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
