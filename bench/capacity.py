"""What many leases cost a gateway: the time of a look at the interface that adds one peer, and memory.

`python -m bench.capacity DIR COUNT` is the process that is measured: the service with its state in DIR, all of it but
its sockets, and `COUNT` machines that have joined. In place of wg(8) there is a script that keeps the interface in a
file, so what counts is the service's own time. It prints a `Cost` as JSON.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from statistics import median

from bench.figures import Row
from bench.simulated import new_key, public_key
from bench.stacks import ROOT
from node.config import Config
from node.gateway.health import Health
from node.gateway.network import Network
from node.gateway.service import Service
from node.gateway.serving.nginx import SystemdNginx
from node.joining import Request
from node.pulse import Pulse
from node.release import Release
from node.wireguard import WgTool
from overlay.model import Network as Overlay
from overlay.model import Node, Site
from overlay.pools import Pool
from overlay.roster import Roster
from tests.node.support import Stack, signed, write_config

COUNT = 10_000
ROUNDS = 20
"""Peers that are added one by one."""
MILLISECONDS_AIM = 50
MEGABYTES_AIM = 200
MTU = 1420
GATEWAY = "gw"
POOL = "burst"

TOOL = """\
#!/bin/sh
# wg show INTERFACE dump; wg set INTERFACE peer KEY allowed-ips PREFIX
case $1 in
show) exec cat "$PEERS" ;;
set) printf '%s\\t(none)\\t(none)\\t%s\\t0\\t0\\t0\\toff\\n' "$4" "$6" >>"$PEERS" ;;
esac
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time that each look took, and the most memory that was resident, in bytes."""

    seconds: list[float]
    resident: int


class Interface(WgTool):
    """The interface in the file."""

    def mtu(self) -> int:
        return MTU


class NoFirewall:
    """Takes the place of the firewall, which leases do not change."""

    def keep(self, roster: Roster, name: str) -> str:
        """Change nothing."""
        del roster, name
        return ""


class NoProbe:
    """Takes the place of pings."""

    def send(self, addresses: Iterable[IPv4Address]) -> None:
        """Send nothing."""
        del addresses

    def answered(self) -> Mapping[IPv4Address, float | None]:
        """Nobody."""
        return {}


def _roster(gateway_key: str, count: int) -> Roster:
    site = Site("aws", "aws", IPv4Network("10.101.0.0/16"), "eu-central-1")
    gateway = Node(GATEWAY, "aws", IPv4Address("10.100.0.1"), "gateway", public_key(gateway_key), "198.18.1.10:51820")
    return Roster(
        1,
        Overlay(IPv4Network("10.100.0.0/15"), (site,), "hub"),
        MTU,
        (gateway,),
        (IPv4Network("0.0.0.0/0"),),
        (),
        pools=(Pool(POOL, "aws", IPv4Network("10.101.128.0/17"), count, "0" * 64, 300, 600, 8000, "/health"),),
    )


def _request(number: int) -> Request:
    return Request(POOL, base64.b64encode(secrets.token_bytes(32)).decode(), f"i-{number:017x}")


def measured(folder: Path, count: int) -> Cost:
    """The cost of one lease more than `count`."""
    state, files, peers = folder / "state", folder / "files", folder / "peers"
    for each in (state, folder / "bin"):
        each.mkdir()
    (folder / "bin" / "wg").write_text(TOOL)
    (folder / "bin" / "wg").chmod(0o755)
    os.environ |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PEERS": str(peers)}
    stack, gateway_key = Stack(), new_key()
    write_config(files, stack, "gateway", "10.100.0.1:8443")
    (files / "seal.key").write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    config = Config("gateway", GATEWAY, (IPv4Address("10.100.0.1"), 8443), stack.public_key, state, files)

    network = Network(config, Interface(), NoFirewall())
    network.load()
    reading, writing = os.pipe()
    release, nginx = Release(1, b"", ""), SystemdNginx()
    service = Service(network, Health(NoProbe()), Pulse(writing), release, nginx, gateway_key)
    assert network.rosters.offer(*signed(stack, _roster(gateway_key, count + ROUNDS))) == (201, "taken")
    assert network.rosters.kept
    network.leases.follow(network.rosters.kept.roster)
    peers.write_text("private\tpublic\t51820\toff\n")
    with peers.open("a") as file:
        for number in range(count):
            lease = network.leases.join(_request(number), None, None, lambda _: True).lease
            endpoint = f"198.18.{number >> 8 & 255}.{number & 255}:51820"
            shown = f"{lease.public_key}\t(none)\t{endpoint}\t{lease.address}/32\t{int(time.time())}\t9000\t9000\toff\n"
            file.write(shown)
    assert network.reconcile() == [], "the interface has every peer"

    cost = Cost([_look(network, count + number) for number in range(ROUNDS)], _resident(service))
    service.close()
    os.close(reading)
    os.close(writing)
    return cost


def _look(network: Network, number: int) -> float:
    """Seconds of a look that finds one lease more."""
    network.leases.join(_request(number), None, None, lambda _: True)
    begun = time.process_time()
    made = network.reconcile()
    taken = time.process_time() - begun
    assert len(made) == 1
    return taken


def _resident(service: Service) -> int:
    """The most that was resident in this process, bytes, once it has told all leases."""
    json.dumps(service.members.status())
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def cost(folder: Path, count: int) -> Cost:
    """The cost of one lease more than `count`, measured in a process of its own; RuntimeError when it fails."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench.capacity", str(folder), str(count)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{count} leases could not be measured:\n{done.stderr}")
    return Cost(**json.loads(done.stdout))


def rows(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on leases."""
    say(f"{COUNT} leases")
    found = cost(folder / "leases", COUNT)
    return [
        Row(
            f"reconcile that adds one peer to {COUNT}, own processor time",
            f"{median(found.seconds) * 1e3:.0f} ms",
            aim=f"< {MILLISECONDS_AIM} ms",
        ),
        Row(
            f"gateway service with {COUNT} leases, resident",
            f"{found.resident / 1e6:.0f} MB",
            aim=f"< {MEGABYTES_AIM} MB",
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(asdict(measured(Path(sys.argv[1]), int(sys.argv[2])))))
