"""Another project's stack on the network of this one's: its host joins as an external spoke and sees every node."""

from __future__ import annotations

import base64
import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from localcloud.cloud import Cloud
from tests.scenes.scene import ROOT, Scene, wait_for
from tests.scenes.small import small_stack

pytestmark = pytest.mark.localcloud

HOST = "monitor"
ADDRESS = "10.100.10.1"
API = f"http://{ADDRESS}:9090/api/v1"
CONSUMER = ("--cwd", "examples/consumer")


@dataclass
class Watched:
    """The two stacks."""

    scene: Scene

    def up(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``up`` of the consumer's stack."""
        return self.scene.run("up", *CONSUMER, check=check)

    def killed_after(self, made: str) -> None:
        """The same, killed as soon as it says that it has ``made`` something."""
        command = [sys.executable, "-m", "localcloud", "--dir", str(self.scene.directory), "up", *CONSUMER]
        said = ""
        with subprocess.Popen(
            command, cwd=ROOT, env=self.scene.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said += line
                if f"{made} created" in line:
                    process.kill()
                    break
            said += process.stdout.read()
        assert process.returncode == -signal.SIGKILL, said

    def ask(self, node: str, path: str) -> Any:
        done = self.scene.run("exec", node, "--", "curl", "-sS", "--fail", "-m", "5", f"{API}/{path}", check=False)
        return json.loads(done.stdout)["data"] if done.returncode == 0 else None

    def ups(self, node: str = HOST) -> list[tuple[str, str]]:
        """(name, value of ``up``) of every target, as Prometheus tells whoever asks from ``node``."""
        answer = cast("dict[str, list[dict[str, Any]]]", self.ask(node, "query?query=up") or {"result": []})
        samples = answer["result"]
        return sorted((sample["metric"]["node"], sample["value"][1]) for sample in samples)

    def rules(self) -> set[str]:
        """The names of the rules that Prometheus has."""
        answer = cast("dict[str, list[dict[str, Any]]]", self.ask(HOST, "rules") or {"groups": []})
        return {rule["name"] for group in answer["groups"] for rule in group["rules"]}

    def wanted(self) -> list[tuple[str, str]]:
        """What ``up`` has to be: 1 of every node but the host itself, which has no metrics of the network's."""
        return sorted((name, "1") for name in self.scene.everyone() if name != HOST)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A small network and the consumer's stack beside it, which was killed once while it was made."""
    folder = tmp_path_factory.mktemp("consumer")
    with small_stack(folder, with_pool=True, external={HOST: ADDRESS}) as scene:
        watched = Watched(scene)
        watched.killed_after("monitor-firewall")
        watched.up()
        yield watched


def test_prometheus_lists_every_node_as_up(watched: Watched) -> None:
    watched.scene.exec(HOST, "cloud-init", "status", "--wait")
    assert len(watched.wanted()) == 3, "the gateway, a spoke and the pool's machine"
    wait_for("every node in Prometheus", lambda: watched.ups() == watched.wanted(), 120)
    wait_for("the same, asked by a spoke", lambda: watched.ups("hetzner-1") == watched.wanted(), 30)
    wait_for("the alerts' rules", lambda: "HybridnetNodeDown" in watched.rules(), 30)


def test_it_exports_where_prometheus_is(watched: Watched) -> None:
    exported = json.loads(watched.scene.run("outputs", *CONSUMER, "--json").stdout)
    assert exported["prometheus"] == f"http://{ADDRESS}:9090"
    (machine,) = [each for each in watched.scene.status()["machines"] if each["node"] == HOST]
    assert exported["public_ip"] in machine["addresses"]
    assert machine["overlay_address"] == ADDRESS
    assert "schema_version" in watched.scene.outputs(), "this project's own outputs are still its own"


def test_nothing_is_open_but_ssh_to_administrators(watched: Watched) -> None:
    scene = watched.scene
    (public,) = [each["addresses"][0] for each in scene.status()["machines"] if each["node"] == HOST]

    def greets(place: str, port: int) -> bool:
        connect = f"exec 3<>/dev/tcp/{public}/{port}"
        words = ["run", "--from", place, "--", "timeout", "3", "bash", "-c", connect]
        return scene.run(*words, check=False).returncode == 0

    assert greets("desk", 22)
    assert [(place, port) for place, port in (("internet", 22), ("desk", 9090)) if greets(place, port)] == []
    listening = scene.exec(HOST, "ss", "-Hlnt", "sport", "=", ":9090").split()
    assert f"{ADDRESS}:9090" in listening
    assert scene.exec(HOST, "systemctl", "is-active", "nftables").strip() == "active"


def test_its_key_is_for_root_alone(watched: Watched) -> None:
    scene = watched.scene
    assert scene.exec(HOST, "stat", "-c", "%a %U", "/etc/wireguard/wg0.conf").split() == ["600", "root"]
    ask = "curl -sf -m 3 http://169.254.169.254/hetzner/v1/metadata"
    assert scene.succeeds(HOST, "sh", "-c", ask)
    assert not scene.succeeds(HOST, "su", "prometheus", "-s", "/bin/sh", "-c", ask)
    key = scene.exec(HOST, "sed", "-n", "s/^PrivateKey = //p", "/etc/wireguard/wg0.conf").strip()
    assert len(key) == 44
    told = [log for log in scene.logs if "making the changes" in log]
    assert len(told) >= 2
    configuration = scene.exec(HOST, "cat", "/etc/wireguard/wg0.conf")
    packed = base64.b64encode(gzip.compress(configuration.encode(), mtime=0)).decode()
    secrets = (key, packed)
    assert [secret for secret in secrets if secret in "".join(told)] == []
    state = scene.directory / "state"
    files = [path for path in state.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files for secret in secrets if secret.encode() in path.read_bytes()] == []


def test_a_second_up_of_either_changes_nothing(watched: Watched) -> None:
    before = watched.scene.boot_ids([HOST, "hetzner-1"])
    assert "nothing changes" in watched.up().stdout
    assert "nothing changes" in watched.scene.up().stdout
    assert watched.scene.boot_ids([HOST, "hetzner-1"]) == before


def test_the_networks_doctor_asks_its_own_machines_alone(watched: Watched) -> None:
    found = json.loads(watched.scene.run("doctor", "--json").stdout)
    assert (found["healthy"], HOST in found["nodes"]) == (True, False)


def test_down_leaves_nothing_of_either(watched: Watched) -> None:
    cloud = Cloud(watched.scene.directory)
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert cloud.prefix in listed
    watched.scene.run("down")
    assert not cloud.directory.exists()
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert cloud.prefix not in listed
    assert watched.up(check=False).returncode == 1, "there is no network to stand beside"
    assert not cloud.directory.exists()
