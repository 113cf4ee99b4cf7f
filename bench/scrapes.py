"""How long Prometheus waits for the metrics of a machine with many peers.

`python -m bench.scrapes KIND DIR COUNT PORT` is the process that is asked: the exporter of a node in a mesh, or a
gateway's service, with `COUNT` peers and its state in DIR. In place of wg(8) there is a script that prints what the
interface of such a machine has; all else is as on a machine, but for the loopback address that it answers at.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from statistics import median

from bench.capacity import Interface, NoFirewall, NoProbe
from bench.figures import Row, pairs, shown_ratio
from bench.simulated import new_key, public_key
from bench.stacks import ROOT
from node.config import Config
from node.exporter import machine
from node.exporter.node import NodeMetrics
from node.exporter.worker import Exporter
from node.gateway.health import Health
from node.gateway.network import Network
from node.gateway.plain import serve_plainly
from node.gateway.service import Service
from node.gateway.serving.nginx import SystemdNginx
from node.network.agent import Myself
from node.network.running import machine_parts, network
from node.network_document import NetworkDocument, Request, SignedRoster, roster_digest
from node.pulse import Pulse
from node.release import Release
from node.trust.trust import Trust
from overlay.model import Network as Overlay
from overlay.model import Node, Site
from overlay.roster import Roster
from tests.node.support import Stack, signed, write_config

COUNT = 1000
ROUNDS = 15
AIM = 100
"""Milliseconds."""
KINDS = ("node", "gateway")
HERE = IPv4Address("127.0.0.1")
MTU = 1420
START_SECONDS = 60.0
TOOL = """\
#!/bin/sh
# wg show INTERFACE dump; wg show INTERFACE public-key; wg set …
case $1-$3 in
show-dump) exec cat "$PEERS" ;;
show-public-key) echo "$PUBLIC_KEY" ;;
esac
"""


@dataclass(frozen=True)
class Place:
    """A machine's folder and key, and its stack."""

    folder: Path
    key: str
    stack: Stack

    def config(self, role: str, name: str) -> Config:
        control, state, files = (IPv4Address("10.100.0.1"), 8443), self.folder / "state", self.folder / "files"
        write_config(files, self.stack, role, "10.100.0.1:8443")
        return Config(role, name, control, self.stack.public_key, state, files)


def make(folder: Path) -> Place:
    """What such a machine has on disk, and its tools."""
    for each in ("state", "bin", "net/wg0"):
        (folder / each).mkdir(parents=True)
    (folder / "bin" / "wg").write_text(TOOL)
    (folder / "bin" / "wg").chmod(0o755)
    (folder / "net" / "wg0" / "flags").write_text("0x1091\n")
    place = Place(folder, new_key(), Stack())
    (folder / "wg0.conf").write_text(f"[Interface]\nPrivateKey = {place.key}\n")
    os.environ |= {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PEERS": str(folder / "peers"),
        "PUBLIC_KEY": public_key(place.key),
        "HYBRIDNET_WIREGUARD": str(folder / "wg0.conf"),
    }
    machine.DEVICES = folder / "net"
    return place


def roster(topology: str, own: Node, count: int) -> Roster:
    """`own` among `count` others."""
    site = Site("aws", "aws", IPv4Network("10.100.16.0/20"), "eu-central-1")
    others = [
        Node(f"node-{number}", "aws", site.subnet[2 + number], "spoke", _key(number), f"198.18.{number // 250}.9:51820")
        for number in range(count)
    ]
    gateway = (
        own
        if own.role == "gateway"
        else Node("gw", "aws", IPv4Address("10.100.0.1"), "gateway", _key(-1), "198.18.1.10:51820")
    )
    nodes = tuple(dict.fromkeys((gateway, own, *others)))
    return Roster(
        1, Overlay(IPv4Network("10.100.0.0/16"), (site,), topology), MTU, nodes, (IPv4Network("0.0.0.0/0"),), ()
    )


def _key(number: int) -> str:
    return base64.b64encode(hashlib.sha256(b"%d" % number).digest()).decode()


def dump(place: Place, peers: Sequence[Node]) -> str:
    """What wg(8) prints of an interface that has been up for long."""
    chance, now = random.Random(1), int(time.time())
    lines = [f"{place.key}\t{public_key(place.key)}\t51820\toff"]
    lines += [
        f"{peer.public_key}\t(none)\t{peer.endpoint}\t{peer.address}/32\t{now - chance.randrange(120)}"
        f"\t{chance.randrange(10**12)}\t{chance.randrange(10**12)}\t25"
        for peer in peers
    ]
    return "\n".join(lines) + "\n"


def node(place: Place, count: int, port: int) -> None:
    """The exporter of a node that has a direct tunnel to every other one."""
    own = Node("me", "aws", IPv4Address("10.100.16.1"), "spoke", public_key(place.key))
    made, config = roster("mesh", own, count), place.config("spoke", "me")
    (place.folder / "peers").write_text(dump(place, [each for each in made.nodes if each != own]))
    trust, stop = Trust.of(config), threading.Event()
    myself = Myself("me", own.address, config.control[0])
    running = network(config, trust, machine_parts(config.state), lambda: myself, lambda: None, stop)
    body, signature = signed(place.stack, made)
    known = NetworkDocument("1", roster_digest(body), SignedRoster(body, signature), ())
    running.agent.take(known, Request("me"))
    Exporter(NodeMetrics(running, "spoke", 1).text, lambda: HERE, stop, port).run()


def gateway(place: Place, count: int, port: int) -> None:
    """A gateway's service, without what it does by itself."""
    own = Node("gw", "aws", IPv4Address("10.100.0.1"), "gateway", public_key(place.key), "198.18.1.10:51820")
    made, config = roster("hub", own, count), place.config("gateway", "gw")
    (place.folder / "peers").write_text(dump(place, made.nodes[1:]))
    held = Network(config, Interface(), NoFirewall())
    held.load()
    writing = os.open(os.devnull, os.O_WRONLY)
    service = Service(held, Health(NoProbe()), Pulse(writing), Release(1, b"", ""), SystemdNginx(), place.key)
    assert held.rosters.offer(*signed(place.stack, made)) == (201, "taken")
    held.reconcile()
    asyncio.run(serve_plainly(service.metrics.routes(), HERE, port))


def scrape(port: int) -> tuple[float, str]:
    """Seconds from the connection to the last byte, and the text."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection(str(HERE), port, timeout=30)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read()
    taken = time.monotonic() - begun
    connection.close()
    assert answer.status == 200
    return taken, text.decode()


class Scraped:
    """A machine of `kind` that is asked; a context manager."""

    def __init__(self, kind: str, folder: Path, count: int) -> None:
        with socket.create_server((str(HERE), 0)) as found:
            self.port = int(found.getsockname()[1])
        self._folder = folder
        words = [kind, str(folder), str(count), str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.scrapes", *words], cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Scraped:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                scrape(self.port)
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.__exit__()
                    raise
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def scrape(self) -> float:
        """Seconds that one takes."""
        return scrape(self.port)[0]

    def text(self) -> str:
        return scrape(self.port)[1]

    def dump(self) -> float:
        """Seconds that `wg show wg0 dump` takes, until all of its output is here."""
        begun = time.monotonic()
        environment = {**os.environ, "PEERS": str(self._folder / "peers")}
        subprocess.run(
            [str(self._folder / "bin" / "wg"), "show", "wg0", "dump"], env=environment, capture_output=True, check=True
        )
        return time.monotonic() - begun


def rows(folder: Path, say: Callable[[str], None], count: int = COUNT) -> list[Row]:
    """The table's lines on scrapes."""
    found: list[Row] = []
    for kind in KINDS:
        say(f"scrapes of a {kind} with {count} peers")
        with Scraped(kind, folder / kind, count) as scraped:
            times = pairs(scraped.scrape, scraped.dump, ROUNDS)
        found.append(
            Row(
                f"scrape of a {kind} with {count} peers, beside `wg show dump` alone",
                f"{median(times.ours) * 1e3:.0f} ms",
                f"{median(times.by_hand) * 1e3:.0f} ms",
                shown_ratio(times),
                f"< {AIM} ms",
            )
        )
    return found


def main(words: Sequence[str]) -> None:
    """Be the machine that is asked, until killed."""
    kind, folder, count, port = words
    place = make(Path(folder))
    {"node": node, "gateway": gateway}[kind](place, int(count), int(port))


if __name__ == "__main__":
    main(sys.argv[1:])
