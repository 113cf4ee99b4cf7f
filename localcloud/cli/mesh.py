"""Showing that the network works: the gateways' peers, and a ping from every node to every node."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from localcloud import enter
from localcloud.cli.console import DIM, GREEN, RED, YELLOW, Console
from localcloud.cloud import Cloud, write_private

COMMAND_SECONDS = 30
REACH_SECONDS = 90
STALE_SECONDS = 180
"""A handshake older than this is no longer of a session: WireGuard makes a new one every two minutes."""

_PING_ALL = """\
for address; do
    {
        time=$(ping -n -q -c 1 -W 1 "$address" | sed -n 's|^rtt.*= *\\([0-9.]*\\)/.*|\\1|p')
        echo "$address $time"
    } &
done
wait
"""


@dataclass(frozen=True)
class Peer:
    """A node as the stack exports it."""

    name: str
    site: str
    role: str
    address: str
    public_key: str


@dataclass(frozen=True)
class Session:
    """What a gateway's WireGuard knows of a peer."""

    endpoint: str
    handshake: int
    """Seconds since 1970; 0 is never."""
    received: int
    sent: int
    """Bytes."""


def write(cloud: Cloud, outputs: Mapping[str, Any]) -> None:
    """Keep the stack's outputs (secrets masked) for `status`."""
    write_private(cloud.outputs, json.dumps(outputs, indent=1))


def peers(outputs: Mapping[str, Any]) -> list[Peer]:
    """The nodes in the stack's outputs; none if it exports none."""
    listed = cast("list[dict[str, Any]]", outputs.get("peers") or [])
    return [Peer(p["name"], p["site"], p["role"], p["address"], p["public_key"]) for p in listed]


def sessions(cloud: Cloud, nodes: Sequence[Peer]) -> dict[str, Session]:
    """Public key -> the freshest session that a gateway has with it."""
    found: dict[str, Session] = {}
    for gateway in nodes:
        if gateway.role != "gateway":
            continue
        for line in (run_on(cloud, gateway.name, "wg", "show", "all", "dump") or "").splitlines():
            words = line.split("\t")
            if len(words) != 9:
                continue
            session = Session(words[3], int(words[5]), int(words[6]), int(words[7]))
            if words[1] not in found or found[words[1]].handshake < session.handshake:
                found[words[1]] = session
    return found


def run_on(cloud: Cloud, node: str, *command: str) -> str | None:
    """Standard output of a command on a machine; None when it does not run, or the command fails or takes too long."""
    path = cloud.directory / "nodes" / node
    init = enter.init_of(path.read_text()) if path.exists() else None
    if init is None:
        return None
    # `timeout` goes along, so that the command itself ends and not only whoever waits for it.
    bounded = ["timeout", str(COMMAND_SECONDS), *command]
    done = subprocess.run(
        enter.command_line(init, bounded), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def _is_up(cloud: Cloud, node: str) -> bool:
    path = cloud.directory / "nodes" / node
    return path.exists() and enter.init_of(path.read_text()) is not None


def ping_all(cloud: Cloud, nodes: Sequence[Peer]) -> dict[tuple[str, str], float]:
    """(from, to) -> milliseconds there and back, of the pairs where a ping came back within a second."""
    names = {node.address: node.name for node in nodes}

    def ping_from(node: Peer) -> dict[tuple[str, str], float]:
        targets = [other.address for other in nodes if other is not node]
        answer = run_on(cloud, node.name, "sh", "-c", _PING_ALL, "sh", *targets) or ""
        rows = re.findall(r"^(\S+) ([\d.]+)$", answer, re.MULTILINE)
        return {(node.name, names[address]): float(time_) for address, time_ in rows}

    with ThreadPoolExecutor(8) as pool:
        return {pair: value for found in pool.map(ping_from, nodes) for pair, value in found.items()}


def show(cloud: Cloud, nodes: Sequence[Peer], console: Console) -> bool:
    """Wait until every node reaches every node, then print peers and pings. Whether they all do."""
    console.step("waiting until every node reaches every node")
    wanted = [(a.name, b.name) for a in nodes for b in nodes if a is not b]
    deadline = time.monotonic() + REACH_SECONDS
    while True:
        seen = ping_all(cloud, nodes)
        missing = [pair for pair in wanted if pair not in seen]
        if not missing or time.monotonic() > deadline:
            break
        console.detail(f"{len(wanted) - len(missing)} of {len(wanted)} pairs; not yet {_pairs(missing)}")
        time.sleep(0.2)
    console.say()
    table(cloud, nodes, console)
    console.say()
    _matrix(nodes, seen, console)
    console.say()
    if missing:
        console.say(
            console.paint(f"{len(missing)} of {len(wanted)} pairs do not reach each other: {_pairs(missing)}", RED)
        )
        console.say("look at a machine with `python -m localcloud shell NODE`: `cloud-init status --long`, `wg show`")
        return False
    console.say(console.paint(f"all {len(wanted)} pairs of {len(nodes)} nodes reach each other", GREEN))
    return True


def table(cloud: Cloud, nodes: Sequence[Peer], console: Console) -> None:
    """Print the peers as the gateways know them."""
    known = sessions(cloud, nodes)
    down = [node.name for node in nodes if node.role == "gateway" and not _is_up(cloud, node.name)]
    rows: list[list[str]] = []
    for node in nodes:
        session = known.get(node.public_key)
        row = [node.name, node.site, node.role, node.address]
        if session is None:
            if node.role == "gateway":
                unknown = console.paint("not running", RED) if node.name in down else ""
            else:
                unknown = "" if down else console.paint("unknown to the gateway", RED)
            rows.append([*row, unknown, "", "", ""])
            continue
        sizes = [_size(session.received), _size(session.sent)]
        rows.append([*row, session.endpoint, _age(session.handshake, console), *sizes])
    console.table(["NODE", "SITE", "ROLE", "ADDRESS", "ENDPOINT", "HANDSHAKE", "RECEIVED", "SENT"], rows)


def handshake_age(session: Session) -> int | None:
    """Seconds since the last handshake; None when there was none."""
    return max(0, int(time.time()) - session.handshake) if session.handshake else None


def _age(handshake: int, console: Console) -> str:
    age = handshake_age(Session("", handshake, 0, 0))
    if age is None:
        return console.paint("never", RED)
    text = f"{age} s ago" if age < 120 else f"{age // 60} min ago"
    return console.paint(text, GREEN if age < STALE_SECONDS else YELLOW)


def _matrix(nodes: Sequence[Peer], seen: Mapping[tuple[str, str], float], console: Console) -> None:
    rows: list[list[str]] = []
    for source in nodes:
        row = [source.name]
        for target in nodes:
            if source is target:
                row.append(console.paint("-", DIM))
            elif (source.name, target.name) in seen:
                row.append(f"{seen[source.name, target.name]:.1f} ms")
            else:
                row.append(console.paint("lost", RED))
        rows.append(row)
    console.table(["PING", *(node.name for node in nodes)], rows)


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"{source} -> {target}" for source, target in pairs[:4])
    return shown + (f" and {len(pairs) - 4} more" if len(pairs) > 4 else "")


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
