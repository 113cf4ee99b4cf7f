"""Machines that know nothing of the stack join it by the script in the exported document, as SkyPilot runs it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.place import Place
from cloudinit import TOKEN_VARIABLE
from tests.scenes.scene import Scene, wait_for

pytestmark = pytest.mark.localcloud

RANGE = IPv4Network("10.100.2.64/27")
REPLICAS = ("replica-1", "replica-2")
POOL = {"kind": "external", "site": "aws", "range": str(RANGE), "max": 4}
MAKER = '''

import pulumi_hcloud

USER = """#cloud-config
users:
- {name: sky, shell: /bin/bash, sudo: "ALL=(ALL) NOPASSWD:ALL"}
"""
for replica in ("replica-1", "replica-2"):
    pulumi_hcloud.Server(
        replica, name=replica, server_type="cx23", image="ubuntu-22.04", location="fsn1", user_data=USER
    )
'''
"""Stands for SkyPilot: servers with a user for it, and nothing of the stack's on them."""


def small(config: dict[str, Any]) -> None:
    """A gateway, a spoke on two clouds, and an external pool."""
    config["pools"] = {"replicas": POOL}
    config["spokes"] = {"hetzner-1": {"site": "hetzner"}, "aws-1": {"site": "aws"}}


def made_by_others(project: Path) -> None:
    with (project / "__main__.py").open("a") as program:
        program.write(MAKER)


class Replicas:
    """The bare machines, and what SkyPilot is told of them."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene = scene
        self._folder = folder
        self._place = Place(scene.directory)
        document = yaml.safe_load(scene.outputs()["skyserve_service"])
        self.setup = str(document["setup"])
        assert list(document["secrets"]) == [TOKEN_VARIABLE]
        self.token = str(self._place.secret_outputs()["join"]["tokens"]["replicas"])

    def set_up(self, node: str) -> str:
        """Run the service's setup as SkyPilot does, and all that it said.

        Stands for the package index: a ``pip`` that says what it was asked for.
        """
        folder = self._folder / node
        folder.mkdir(exist_ok=True)
        script = f"#!/bin/bash\nexport {TOKEN_VARIABLE}={shlex.quote(self.token)}\n{self.setup}"
        (folder / "setup.sh").write_text(script)
        (folder / "pip").write_text('#!/bin/sh\necho "asked for: $*"\n')
        self._place.copy(folder, node, "/opt/sky")
        self.scene.exec(node, "install", "/opt/sky/pip", "/usr/local/bin/pip")
        self.scene.exec(node, "install", "-o", "sky", "-m", "600", "/opt/sky/setup.sh", "/srv/setup.sh")
        return self.scene.exec(node, "su", "-", "sky", "-c", "bash -i /srv/setup.sh 2>&1")

    def address(self, node: str) -> str:
        """The machine's overlay address."""
        return self.scene.exec(node, "sh", "-c", "ip -o -4 address show wg0 | sed 's|.* inet ||; s|/.*||'").strip()

    def lease(self, node: str) -> dict[str, Any] | None:
        address = self.address(node)
        return next((lease for lease in self.scene.leases("replicas") if lease["address"] == address), None)

    def works(self, node: str) -> bool:
        lease = self.lease(node)
        return lease is not None and lease["state"] == "active" and lease["healthy"]

    @contextmanager
    def serving(self, node: str, port: int) -> Generator[None]:
        """A web server on the machine."""
        unit = f"web-{port}"
        words = ["/usr/bin/python3", "-m", "http.server", "--directory", "/srv", str(port)]
        self.scene.exec(node, "systemd-run", "--quiet", f"--unit={unit}", *words)
        wait_for("the server", lambda: self.gets(node, "127.0.0.1", port), 20)
        try:
            yield
        finally:
            self.scene.exec(node, "systemctl", "stop", unit)

    def gets(self, node: str, address: str, port: int) -> bool:
        """Whether the machine gets an answer of a web server."""
        return self.scene.succeeds(node, "curl", "-sf", "-m", "2", "-o", "/dev/null", f"http://{address}:{port}/")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """A small stack, and two machines of others that have run the setup."""
    folder = tmp_path_factory.mktemp("external")
    scene = Scene(folder / "cloud")
    try:
        with scene.changed(small), scene.altered(folder / "project", made_by_others):
            scene.up()
            made = Replicas(scene, folder)
            for node in REPLICAS:
                assert not scene.succeeds(node, "test", "-e", "/etc/hybridnet")
                said = made.set_up(node)
                assert said.splitlines()[-1] == "asked for: install vllm", said
                assert "joined as replicas-" in said
                assert made.token not in said
            yield made
    finally:
        scene.run("down")


def test_they_have_addresses_of_the_pool_and_reach_everybody(replicas: Replicas) -> None:
    scene = replicas.scene
    wait_for("both", lambda: all(map(replicas.works, REPLICAS)), 30)
    found = {node: replicas.address(node) for node in REPLICAS}
    assert len(set(found.values())) == 2
    assert all(IPv4Address(address) in RANGE for address in found.values())
    everyone = {**scene.nodes(), **found}
    assert scene.unreachable(nodes=everyone) == []


def test_the_token_is_for_root_alone_and_the_machine_id_for_nobody(replicas: Replicas) -> None:
    scene, node = replicas.scene, REPLICAS[0]
    assert scene.exec(node, "stat", "-c", "%a %U", "/etc/hybridnet/token").split() == ["600", "root"]
    assert scene.exec(node, "cat", "/etc/hybridnet/token").strip() == replicas.token
    assert replicas.token not in scene.exec(node, "cat", "/etc/hybridnet/config.json")
    assert replicas.token not in scene.exec(node, "journalctl", "--boot", "--output=cat", "--no-pager")
    own = scene.exec(node, "cat", "/etc/machine-id").strip()
    (lease,) = [lease for lease in scene.leases("replicas") if lease["address"] == replicas.address(node)]
    assert lease["instance_id"] not in own
    assert own not in str(scene.gateway_status())


def test_the_machine_stays_as_its_maker_needs_it(replicas: Replicas) -> None:
    """No firewall of ours, SSH from anywhere, and a metadata service for its users."""
    scene, node = replicas.scene, REPLICAS[0]
    assert scene.exec(node, "nft", "list", "ruleset").strip() == ""
    ask = "curl -sf -m 5 http://169.254.169.254/hetzner/v1/metadata/instance-id"
    assert scene.exec(node, "su", "-", "sky", "-c", ask).strip().isdigit()
    (public,) = [m["addresses"][0] for m in scene.status()["machines"] if m["node"] == node]
    banner = f"exec 3<>/dev/tcp/{public}/22 && head -c 3 <&3"
    assert scene.run("run", "--from", "internet", "--", "timeout", "5", "bash", "-c", banner).stdout == "SSH"


def test_the_port_of_k3s_is_open_to_the_pools_own_machines_only(replicas: Replicas) -> None:
    one, other = REPLICAS
    with replicas.serving(one, 6443), replicas.serving(one, 8000):
        address = replicas.address(one)
        assert replicas.gets(other, address, 6443)
        assert replicas.gets("aws-1", address, 8000)
        assert not replicas.gets("aws-1", address, 6443)
        assert not replicas.gets("hetzner-1", address, 6443)
    with replicas.serving("aws-1", 6443):
        assert not replicas.gets(one, replicas.scene.nodes()["aws-1"], 6443)


def test_the_files_for_skypilot_have_what_it_needs(replicas: Replicas, tmp_path: Path) -> None:
    scene, folder = replicas.scene, tmp_path / "exports"
    scene.run("outputs", "--write", str(folder))
    assert yaml.safe_load((folder / "skyserve_service.yaml").read_text())["setup"] == replicas.setup
    assert (folder / "skyserve_service.env").read_text() == f"{TOKEN_VARIABLE}={replicas.token}\n"
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", folder / "ssh_private_key"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert public in scene.exec("hetzner-1", "sh", "-c", "cat ~root/.ssh/authorized_keys")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_the_setup_may_run_again(replicas: Replicas) -> None:
    scene, node = replicas.scene, REPLICAS[0]
    show = ("systemctl", "show", "--property=MainPID", "hybridnet")
    before, lease = scene.exec(node, *show), replicas.lease(node)
    assert f"joined as {lease['name'] if lease else None}" in replicas.set_up(node)
    assert scene.exec(node, *show) == before, "what is right is not restarted"
    scene.exec(node, "rm", "/etc/hybridnet/ca.pem")
    assert "joined as" in replicas.set_up(node)
    assert scene.exec(node, *show) != before
    assert [each["address"] for each in scene.leases("replicas")].count(lease["address"] if lease else None) == 1


def test_a_replica_that_shuts_down_leaves_and_one_that_boots_again_is_back(replicas: Replicas) -> None:
    scene, node = replicas.scene, REPLICAS[1]
    name, address = (replicas.lease(node) or {})["name"], replicas.address(node)

    def events() -> list[str]:
        return [line["event"] for line in scene.audit() if line.get("node") == name]

    assert "leave" not in events()
    scene.run("stop", node)
    wait_for("its departure", lambda: "leave" in events(), 30)
    seen = len(events())
    scene.run("start", node)
    wait_for("its return", lambda: "join" in events()[seen:] and replicas.works(node), 60)
    assert replicas.address(node) == address
