"""A real Prometheus on a machine of the network: what breaks is told by our rules, until it is mended."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
import yaml

from localcloud.cloud import Cloud
from localcloud.fabric import Fabric
from tests.monitoring.prometheus import ROOT, RULES
from tests.scenes.scene import Scene, wait_for

pytestmark = [
    pytest.mark.localcloud,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus, which `make test` installs as root"),
]

DESK = "hetzner-1"
"""The machine that Prometheus runs on."""
API = "http://127.0.0.1:9090/api/v1"
NODES = {"hetzner-gw": "gateway", "hetzner-1": "spoke", "aws-1": "spoke"}


@dataclass
class Watched:
    """A network and the Prometheus that watches it."""

    scene: Scene

    def ask(self, path: str) -> Any:
        done = self.scene.run("exec", DESK, "--", "curl", "-sS", "--fail", f"{API}/{path}", check=False)
        return json.loads(done.stdout)["data"] if done.returncode == 0 else None

    def firing(self) -> set[tuple[str, str]] | None:
        """(alert, the node or gateway that it is about) of those that fire; None without an answer."""
        answer = self.ask("alerts")
        if answer is None:
            return None
        alerts = cast("list[dict[str, Any]]", answer["alerts"])
        found = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
        return {(each["alertname"], each.get("node") or each.get("gateway") or "") for each in found}

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression."""
        answer = self.ask(f"query?query={quote(expression)}")
        return cast("list[dict[str, Any]]", answer["result"]) if answer else []


def quick(folder: Path, scene: Scene) -> Path:
    """Our configuration with nothing but its waiting shortened: intervals, and each rule's `for`."""
    (folder / "ca.pem").write_text(scene.exec(DESK, "cat", "/etc/hybridnet/ca.pem"))
    made = subprocess.run(
        [sys.executable, "-m", "monitoring", "scrape", "--ca", str(folder / "ca.pem")],
        cwd=ROOT,
        input=json.dumps(scene.outputs()),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    config, count = re.subn(r"_interval: \d+s", "_interval: 2s", made.stdout)
    assert count == 3
    (folder / "prometheus.yml").write_text(config)
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "4s"
    (folder / "hybridnet-rules.yaml").write_text(yaml.safe_dump(rules))
    return folder / "prometheus.yml"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway and two spokes, up. Taken down after the last test, whatever happened."""
    scene = Scene(tmp_path_factory.mktemp("monitoring") / "cloud")

    def small(ours: dict[str, Any]) -> None:
        ours["spokes"] = {name: ours["spokes"][name] for name, role in NODES.items() if role == "spoke"}
        ours["pools"] = {}

    with scene.changed(small):
        try:
            scene.up()
            yield scene
        finally:
            scene.run("down")


@pytest.fixture(scope="module")
def watched(cloud: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Prometheus, in the network of a machine and with files of this host. Ended after the last test."""
    folder = tmp_path_factory.mktemp("prometheus")
    init = Fabric(Cloud(cloud.directory)).init_of(DESK)
    config = quick(folder, cloud)
    enter = ["nsenter", "--target", str(init), "--net"]
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:9090",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen([*enter, "prometheus", *options], stderr=log) as process:
        try:
            found = Watched(cloud)
            wait_for("every node in Prometheus", lambda: len(found.query('up{job="hybridnet"} == 1')) == len(NODES), 60)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)


def down(watched: Watched) -> set[str]:
    """The nodes that an alert says are down."""
    return {node for name, node in watched.firing() or () if name == "HybridnetNodeDown"}


def test_a_killed_spoke_fires_its_alert_until_it_is_started(watched: Watched) -> None:
    labels = [sample["metric"] for sample in watched.query('up{job="hybridnet"}')]
    assert {each["node"]: each["role"] for each in labels} == NODES
    wait_for("quiet", lambda: watched.firing() == set(), 60)
    (handshake,) = watched.query('wireguard_peer_last_handshake_seconds{node="hetzner-gw", peer="aws-1"} > 0')
    assert {name: handshake["metric"].get(name) for name in ("site", "role", "exported_site", "exported_role")} == {
        "site": "aws",
        "role": "spoke",
        "exported_site": None,
        "exported_role": None,
    }
    watched.scene.run("kill", "aws-1")
    wait_for("the alert, of it alone", lambda: down(watched) == {"aws-1"}, 60)
    watched.scene.run("start", "aws-1")
    wait_for("quiet again", lambda: watched.firing() == set(), 120)


def test_a_gateway_that_is_cut_off_fires_its_alerts_until_it_is_healed(watched: Watched) -> None:
    alerts = {("HybridnetGatewayDown", "hetzner-gw"), ("HybridnetGatewayUnreachable", "hetzner-gw")}
    watched.scene.run("cut", "hetzner-gw")
    wait_for("both alerts", lambda: alerts <= (watched.firing() or set()), 60)
    watched.scene.run("heal", "hetzner-gw")
    wait_for("quiet again", lambda: watched.firing() == set(), 120)
