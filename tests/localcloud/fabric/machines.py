"""Machines that really run: a hub and two spokes with hand-written WireGuard, one cloud each."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from localcloud import enter
from localcloud.cloud import Cloud
from localcloud.fabric import Fabric
from localcloud.fabric.process import wait_until
from localcloud.spec import MachineSpec
from tests.localcloud.fabric.worlds import AWS, GCP, HETZNER

OVERLAY: Mapping[str, str] = {"hetzner-gw": "10.100.0.1", "aws-1": "10.100.2.1", "gcp-1": "10.100.3.1"}
SECONDS = 240
"""Long enough for anything that happens at all, first boots with packages on a busy host among it."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


class World:
    """An instance with running machines."""

    def __init__(self, directory: Path) -> None:
        self.cloud = Cloud(directory)
        self.fabric = Fabric(self.cloud)
        self.specs = {spec.id: spec for spec in hub_and_spokes()}

    def apply(self, *specs: MachineSpec) -> None:
        """The declared machines with these added or changed, booted to the end."""
        self.fabric.apply({**self.specs, **{spec.id: spec for spec in specs}})
        self.wait("every first boot", lambda: all(m.status in ("running", "stopped") for m in self.fabric.machines()))

    def on(self, node: str, *command: str) -> Done:
        """Run a command on a machine."""
        return finished(enter.command_line(self.fabric.init_of(node), command))

    def at(self, namespace: str, *command: str) -> Done:
        """Run a command in a namespace, such as the desk's."""
        return finished(["ip", "netns", "exec", namespace, *command])

    def pings(self, node: str, address: str) -> bool:
        """Whether one ping comes back within a second."""
        return self.on(node, "ping", "-n", "-q", "-c", "1", "-W", "1", address).status == 0

    def banner(self, namespace: str, address: str, port: int) -> str:
        """What a TCP server says first; nothing if it cannot be reached within a second."""
        script = f"exec 3<>/dev/tcp/{address}/{port} && head -c 3 <&3"
        return self.at(namespace, "timeout", "1", "bash", "-c", script).stdout

    def command(self, *words: str, stdin: str = "") -> Done:
        """`python -m localcloud WORDS` for this instance."""
        return finished([sys.executable, "-m", "localcloud", "--dir", str(self.cloud.directory), *words], stdin)

    def wait(self, what: str, condition: object, seconds: float = SECONDS) -> None:
        """Wait until the condition holds."""
        assert callable(condition)
        assert wait_until(lambda: bool(condition()), seconds, 0.05), f"{what}: not within {seconds} s"

    def wait_for_mesh(self) -> None:
        """Wait until every node pings every other through the hub."""
        self.wait(
            "every node reaches every node",
            lambda: all(self.pings(a, OVERLAY[b]) for a in OVERLAY for b in OVERLAY if a != b),
        )


def finished(command: Sequence[str], stdin: str = "") -> Done:
    """The command's end."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def hub_and_spokes() -> list[MachineSpec]:
    """HETZNER as hub, AWS and GCP as spokes; their WireGuard comes from packages that the first boot installs."""
    keys = {node: _key_pair() for node in OVERLAY}
    hub = f"[Interface]\nAddress = 10.100.0.1/16\nListenPort = 51820\nPrivateKey = {keys['hetzner-gw'][0]}\n"
    hub += "PostUp = sysctl -w net.ipv4.ip_forward=1\n"
    for node in ("aws-1", "gcp-1"):
        hub += f"[Peer]\nPublicKey = {keys[node][1]}\nAllowedIPs = {OVERLAY[node]}/32\n"

    def spoke(node: str) -> str:
        return (
            f"[Interface]\nAddress = {OVERLAY[node]}/32\nMTU = 1380\nPrivateKey = {keys[node][0]}\n"
            f"[Peer]\nPublicKey = {keys['hetzner-gw'][1]}\nEndpoint = 198.18.1.5:51820\n"
            "AllowedIPs = 10.100.0.0/16\nPersistentKeepalive = 25\n"
        )

    return [
        replace(HETZNER, user_data=_user_data(hub)),
        replace(AWS, user_data=_user_data(spoke("aws-1"))),
        replace(GCP, user_data=_user_data(spoke("gcp-1"))),
    ]


def _user_data(configuration: str) -> str:
    document = {
        "packages": ["wireguard-tools"],
        "write_files": [{"path": "/etc/wireguard/wg0.conf", "permissions": "0600", "content": configuration}],
        "runcmd": [["systemctl", "enable", "--now", "wg-quick@wg0"]],
    }
    return "#cloud-config\n" + yaml.safe_dump(document)


def _key_pair() -> tuple[str, str]:
    private = X25519PrivateKey.generate()
    raw = (private.private_bytes_raw(), private.public_key().public_bytes_raw())
    return base64.b64encode(raw[0]).decode(), base64.b64encode(raw[1]).decode()
