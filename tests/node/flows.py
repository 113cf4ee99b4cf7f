"""A gateway and its neighbours in network namespaces, with rules of nft's, and which flows come through.

Bridges stand for the interfaces: what the rules see of a packet is the same. A tunnel has no neighbour discovery, so
who is where is written down for IPv6.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

SERVER = """
import asyncio, socket, sys

class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        host, port, *_ = address
        self.transport.sendto(f"{host.replace('::ffff:', '')} {port}".encode(), address)

async def main():
    loop = asyncio.get_running_loop()
    for word in sys.argv[1:]:
        kind, _, port = word.partition("/")
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", int(port)))
        if kind == "tcp":
            await asyncio.start_server(lambda _, writer: writer.close(), sock=listener)
        else:
            await loop.create_datagram_endpoint(Echo, sock=listener)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

CLIENT = """
import errno, json, socket, struct, sys
from concurrent.futures import ThreadPoolExecutor

REJECTIONS = (errno.EACCES, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EPERM)

def outcome(asked):
    address, what = asked
    kind, _, port = what.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        if kind == "tcp":
            socket.create_connection((address, int(port)), 3).close()
        elif kind in ("udp", "from"):
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(3)
                if kind == "from":
                    client.bind(("", int(port)))
                client.connect((address, int(port)))
                client.send(b"?")
                seen = client.recv(99).decode()
                return seen if kind == "from" else "answered"
        else:
            ping(address, family)
    except socket.timeout:
        return "silence"
    except OSError as error:
        return "rejected" if error.errno in REJECTIONS else str(error)
    return "answered"

def ping(address, family):
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as client:
        client.settimeout(3)
        client.connect((address, 0))
        client.send(struct.pack("!BBHHH", 8 if family == socket.AF_INET else 128, 0, 0, 0, 1))
        client.recv(99)

with ThreadPoolExecutor(32) as pool:
    asked = json.loads(sys.argv[1])
    print(json.dumps([[*each, found] for each, found in zip(asked, pool.map(outcome, asked))]))
"""

WORLD = """
import json, subprocess, sys

server, client, machines, flows = map(json.loads, sys.argv[1:])
python = [sys.executable, "-c"]

def run(words):
    subprocess.run(words.split(), check=True)

def where(name):
    return ["ip", "netns", "exec", name] if name != middle["name"] else []

def is_six(address):
    return ":" in address

def bare(address):
    return address.split("/")[0]

def begin(flows):
    names = sorted({name for name, *_ in flows})
    for name in names:
        asked = json.dumps([each for source, *each in flows if source == name])
        yield name, subprocess.Popen([*where(name), *python, client, asked], stdout=subprocess.PIPE, text=True)

def end(begun):
    return [[name, *each] for name, process in begun for each in json.loads(process.communicate()[0])]

def settle(machine):
    # Else most rejections would be silent, since so many flows are asked for at once.
    for setting in ("ipv4.icmp_ratelimit=0", "ipv6.icmp.ratelimit=0", "ipv4.ping_group_range=0 0"):
        subprocess.run([*where(machine["name"]), "sysctl", "-qw", f"net.{setting}"], check=True)
    for file in machine["rules"]:
        subprocess.run([*where(machine["name"]), "nft", "-f", file], check=True)
    words = [*where(machine["name"]), *python, server, *machine["serves"]]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

middle, *others = machines
run("mount -t tmpfs tmpfs /run")
run("ip link set lo up")
for setting in ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv4.conf.all.send_redirects=0"):
    run(f"sysctl -qw net.{setting}")
for interface, addresses in middle["interfaces"].items():
    run(f"ip link add {interface} address 02:00:00:00:01:00 type bridge")
    for address in addresses:
        run(f"ip address add {address} dev {interface} {'nodad' if ':' in address else ''}")
    run(f"sysctl -qw net.ipv4.conf.{interface}.send_redirects=0")
    run(f"ip link set {interface} up")
for number, machine in enumerate(others):
    name = machine["name"]
    (interface, addresses), = machine["interfaces"].items()
    run(f"ip netns add {name}")
    run(f"ip link add v{number} type veth peer name {interface} address 02:00:00:00:02:{number:02x} netns {name}")
    run(f"ip link set v{number} master {interface} up")
    run(f"ip -n {name} link set lo up")
    run(f"ip -n {name} link set {interface} up")
    for address in addresses:
        run(f"ip -n {name} address add {address} dev {interface} {'nodad' if ':' in address else ''}")
    for address in filter(is_six, addresses):
        run(f"ip neighbour add {bare(address)} lladdr 02:00:00:00:02:{number:02x} dev {interface} nud permanent")
    for gateway in map(bare, middle["interfaces"][interface]):
        if is_six(gateway):
            run(f"ip -n {name} neighbour add {gateway} lladdr 02:00:00:00:01:00 dev {interface} nud permanent")
        run(f"ip -n {name} route replace {gateway} dev {interface}")
        for route in machine["routes"]:
            if route == "default" or is_six(route) == is_six(gateway):
                run(f"ip -n {name} route add {route} via {gateway} dev {interface}")
servers = [settle(machine) for machine in machines]
try:
    assert all(each.stdout.readline() == "ready\\n" for each in servers)
    # One machine after the other, then all at once: on a busy host an answer that did not come may only be late.
    first = end(begin(flows))
    silent = [flow for *flow, outcome in first if outcome == "silence"]
    print(json.dumps(first + end(list(begin(silent)))))
finally:
    for each in servers:
        each.kill()
"""


@dataclass(frozen=True)
class Machine:
    """``interfaces`` have their addresses, with prefixes; ``serves`` are ``tcp/PORT`` and ``udp/PORT``.

    ``routes`` go by way of the one in the middle.
    """

    name: str
    interfaces: Mapping[str, Sequence[str]]
    rules: Sequence[str] = ()
    serves: Sequence[str] = ("tcp/8000", "udp/8444")
    routes: Sequence[str] = ("default",)


Flow = tuple[str, str, str]
"""A machine's name, the address that it asks, and ``tcp/PORT``, ``udp/PORT``, ``ping``, or ``from/PORT``: UDP from and
to that port, with where the other end saw it from as its outcome."""


def told(program: str, *words: object) -> Any:
    """What ``program`` prints, as JSON, in a network and a mount namespace of its own; ``words`` it gets as JSON."""
    prefix = ["unshare", "--map-root-user", "--net", "--mount"]
    tools = all(shutil.which(tool) for tool in ("nft", "ip", "sysctl"))
    if not tools or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs nft, ip and the right to make network namespaces")
    command = [*prefix, sys.executable, "-c", program, *map(json.dumps, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def flows_through(middle: Machine, others: Iterable[Machine], flows: Iterable[Flow]) -> dict[Flow, str]:
    """Flow -> ``answered``, ``rejected`` or ``silence``; the others have their routes by way of ``middle``."""
    machines = [asdict(machine) for machine in (middle, *others)]
    found = told(WORLD, SERVER, CLIENT, machines, list(flows))
    return {(source, address, what): outcome for source, address, what, outcome in found}


def written(folder: Path, name: str, text: str | None) -> list[str]:
    """``text`` as a machine's rules."""
    if text is None:
        return []
    (folder / name).write_text(text)
    return [str(folder / name)]
