"""What a gateway's firewall lets through: two neighbours in network namespaces, and the gateway between them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cloudinit import render_gateway
from node.firewall import desired_sets, script
from overlay.model import Network, Node, Site
from overlay.pools import Pool
from overlay.roster import Roster
from tests.cloudinit.examples import GATEWAY, OVERLAY, key
from tests.cloudinit.test_documents import rules

SERVER = """
import asyncio, sys

async def main():
    servers = [await asyncio.start_server(lambda _, writer: writer.close(), "", int(port)) for port in sys.argv[1:]]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))

asyncio.run(main())
"""

CLIENT = """
import asyncio, json, sys

async def answers(source, destination, port):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(destination, port, local_addr=(source, 0)), 3)
    except asyncio.TimeoutError:
        return False
    writer.close()
    return True

async def main():
    asked = json.loads(sys.argv[1])
    found = await asyncio.gather(*(answers(*each) for each in asked))
    print(json.dumps([each for each, passed in zip(asked, found) if passed]))

asyncio.run(main())
"""

WORLD = """
import json, subprocess, sys

server, client, files, sides, ports, own_ports, asked = map(json.loads, sys.argv[1:])

def run(words):
    return subprocess.run(words.split(), check=True, capture_output=True, text=True).stdout

run("mount -t tmpfs tmpfs /run")
run("ip link add wg0 type bridge")
run("ip address add 10.100.0.1/16 dev wg0")
run("ip link set wg0 up")
for setting in ("ip_forward=1", "conf.all.send_redirects=0", "conf.wg0.send_redirects=0"):
    run(f"sysctl -qw net.ipv4.{setting}")
for side, addresses in sides.items():
    run(f"ip netns add {side}")
    run(f"ip link add {side} type veth peer name eth0 netns {side}")
    run(f"ip link set {side} master wg0 up")
    for address in addresses:
        run(f"ip -n {side} address add {address}/32 dev eth0")
    run(f"ip -n {side} link set eth0 up")
    run(f"ip -n {side} route add 10.100.0.1 dev eth0")
    run(f"ip -n {side} route add 10.100.0.0/16 via 10.100.0.1")
for file in files:
    run(f"nft -f {file}")
python = [sys.executable, "-c"]
servers = [
    subprocess.Popen([*where, *python, server, *map(str, numbers)], stdout=subprocess.PIPE, text=True)
    for where, numbers in ((["ip", "netns", "exec", "right"], ports), ([], own_ports))
]
try:
    assert all(each.stdout.readline() == "ready\\n" for each in servers)
    subprocess.run(["ip", "netns", "exec", "left", *python, client, json.dumps(asked)], check=True)
finally:
    for each in servers:
        each.kill()
"""

LEAVING = """
import json, socket, subprocess, sys

files, steps = map(json.loads, sys.argv[1:])

def run(words):
    subprocess.run(words.split(), check=True, capture_output=True)

def leaves(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"?", (address, 8000))
        except PermissionError:
            return False
    return True

for words in (
    "mount -t tmpfs tmpfs /run", "ip link set lo up", "ip link add eth0 type bridge", "ip link add wg0 type bridge",
    "ip address add 198.51.100.1/24 dev eth0", "ip address add 10.100.0.1/16 dev wg0",
    "ip link set eth0 up", "ip link set wg0 up", "ip route add default via 198.51.100.254",
):
    run(words)
for file in files:
    run(f"nft -f {file}")
found = []
for commands, address in steps:
    for words in commands:
        run(words)
    found.append(leaves(address))
print(json.dumps(found))
"""

SITES = (
    Site("aws", "aws", IPv4Network("10.100.2.0/24"), "eu-central-1"),
    Site("hetzner", "hetzner", IPv4Network("10.100.1.0/24"), "fsn1"),
)
POOLS = ("one", "10.100.1.64/28"), ("two", "10.100.1.80/28")
LEFT = {"spokes of hetzner": "10.100.1.1", "spokes of aws": "10.100.2.1", "one": "10.100.1.65", "two": "10.100.1.95"}
RIGHT = {"spokes of hetzner": "10.100.1.9", "spokes of aws": "10.100.2.2", "one": "10.100.1.79", "two": "10.100.1.80"}
KUBE, OTHER = 6443, 6444
Asked = tuple[str, str, int]


def roster() -> Roster:
    nodes = [Node("gw", "hetzner", IPv4Address("10.100.1.5"), "gateway", key("gw"), "198.51.100.1:51820")]
    for machines in (LEFT, RIGHT):
        for site in ("aws", "hetzner"):
            address = machines[f"spokes of {site}"]
            name = f"{site}-{address.rpartition('.')[2]}"
            nodes.append(Node(name, site, IPv4Address(address), "spoke", key(name)))
    pools = tuple(
        Pool(name, "hetzner", IPv4Network(addresses), 4, "0" * 64, 60, 60, 8000, "/health") for name, addresses in POOLS
    )
    return Roster(1, Network(OVERLAY, SITES, "hub"), 1420, tuple(nodes), (), (), (), pools)


def told(program: str, *words: object) -> Any:
    """What ``program`` prints, as JSON, in a network namespace of its own."""
    prefix = ["unshare", "--map-root-user", "--net", "--mount"]
    tools = all(shutil.which(tool) for tool in ("nft", "ip", "sysctl"))
    if not tools or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs nft, ip and the right to make network namespaces")
    done = subprocess.run(
        [*prefix, sys.executable, "-c", program, *map(json.dumps, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def passing(folder: Path, sets: str, asked: Iterable[Asked]) -> set[Asked]:
    """Which TCP connections from the left come through a gateway with first boot's rules and ``sets``."""
    (folder / "sets").write_text(sets)
    files = [str(rules("gateway", render_gateway(GATEWAY), folder)), str(folder / "sets")]
    sides = {"left": list(LEFT.values()), "right": list(RIGHT.values())}
    words = (SERVER, CLIENT, files, sides, [KUBE, OTHER], [80, 443], list(asked))
    return {(source, destination, port) for source, destination, port in told(WORLD, *words)}


def everybody(port: int) -> set[Asked]:
    return {(source, destination, port) for source, destination in product(LEFT.values(), RIGHT.values())}


def test_the_kubernetes_port_is_open_within_a_sites_spokes_or_a_pool_only(tmp_path: Path) -> None:
    within = {(address, RIGHT[group], KUBE) for group, address in LEFT.items()}
    asked = everybody(KUBE) | everybody(OTHER)
    assert passing(tmp_path, script(desired_sets(roster(), "gw")), asked) == within | everybody(OTHER)


def test_before_a_roster_nothing_passes_to_the_kubernetes_port(tmp_path: Path) -> None:
    assert passing(tmp_path, "", everybody(KUBE) | everybody(OTHER)) == everybody(OTHER)


def test_requests_are_let_in_at_443_and_not_at_80(tmp_path: Path) -> None:
    source, gateway = LEFT["one"], "10.100.0.1"
    assert passing(tmp_path, "", [(source, gateway, 443), (source, gateway, 80)]) == {(source, gateway, 443)}


def test_a_gateways_own_packets_to_the_overlay_leave_by_a_tunnel_or_not_at_all(tmp_path: Path) -> None:
    machine, stranger = "10.100.1.9", "203.0.113.9"
    other_tunnel = ["ip link add wg1 type bridge", "ip link set wg1 up", f"ip route add {machine} dev wg1"]
    steps: list[tuple[list[str], str, bool]] = [
        ([], machine, True),
        ([], "10.100.0.1", True),
        (["ip link set wg0 down"], machine, False),
        ([], stranger, True),
        (["ip link delete wg0"], machine, False),
        (other_tunnel, machine, True),
    ]
    asked = [(commands, address) for commands, address, _ in steps]
    found = told(LEAVING, [str(rules("gateway", render_gateway(GATEWAY), tmp_path))], asked)
    assert found == [leaves for *_, leaves in steps]
