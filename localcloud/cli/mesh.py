"""Showing that the network works: the gateways' peers, and a ping from every node to every node."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from localcloud import enter
from localcloud.cli.console import DIM, GREEN, RED, YELLOW, Console
from localcloud.cloud import Cloud, write_private
from overlay.model import EXTERNAL

if TYPE_CHECKING:
    from localcloud.cli.shape import Shape

COMMAND_SECONDS = 30
REACH_SECONDS = 90
STALE_SECONDS = 180
"""A handshake older than this is no longer of a session: WireGuard makes a new one every two minutes."""

Sessions = Mapping[str, Mapping[str, "Session"]]
"""Gateway -> a peer's overlay address, or its public key -> session."""
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
    """A node as the stack exports it.

    ``node`` is what gateways call it where commands call it otherwise; an external one has no machine here.
    """

    name: str
    site: str
    role: str
    address: str
    public_key: str
    group: str = ""
    is_external: bool = False
    node: str = ""

    @property
    def known_as(self) -> str:
        """Its name in the network."""
        return self.node or self.name


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
    network = cast("dict[str, dict[str, dict[str, str]]]", outputs.get("network") or {})
    outside = {name for name, site in network.get("sites", {}).items() if site["cloud"] == EXTERNAL}
    return [
        Peer(p["name"], p["site"], p["role"], p["address"], p["public_key"], p.get("group") or "", p["site"] in outside)
        for p in listed
    ]


def sessions(cloud: Cloud, nodes: Sequence[Peer]) -> Sessions:
    """What each gateway's WireGuard knows; nothing of one that does not run."""
    gateways = [node.name for node in nodes if node.role == "gateway"]
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(gateways, pool.map(partial(_dump, cloud), gateways), strict=True))


def _dump(cloud: Cloud, gateway: str) -> dict[str, Session]:
    text = run_on(cloud, gateway, "wg", "show", "all", "dump") or ""
    rows = [line.split("\t") for line in text.splitlines()]
    found: dict[str, Session] = {}
    for _, key, _, endpoint, prefixes, handshake, received, sent, _ in (row for row in rows if len(row) == 9):
        session = Session(endpoint, int(handshake), int(received), int(sent))
        for name in (key, *(prefix.partition("/")[0] for prefix in prefixes.split(",") if prefix.endswith("/32"))):
            # While keys change a node is a peer of two interfaces.
            if name not in found or found[name].handshake <= session.handshake:
                found[name] = session
    return found


def session_of(node: Peer, known: Sessions, shape: Shape) -> Session | None:
    """The session that the gateway has with the node that hangs on it; of a gateway the freshest that others have."""
    gateway = shape.gateway_of(node)
    asked = known.values() if gateway is None else [known.get(gateway, {})]
    # By its address first: the key is the one that it enrolled with, and may have changed since.
    found = [each[name] for each in asked for name in (node.address, node.public_key) if name in each]
    return max(found, key=lambda session: session.handshake, default=None)


def run_on(cloud: Cloud, node: str, *command: str) -> str | None:
    """Standard output of a command on a machine; None when it does not run, or the command fails or takes too long."""
    init = init_on(cloud, node)
    if init is None:
        return None
    # `timeout` goes along, so that the command itself ends and not only whoever waits for it.
    bounded = ["timeout", str(COMMAND_SECONDS), *command]
    done = subprocess.run(
        enter.command_line(init, bounded), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def init_on(cloud: Cloud, node: str) -> int | None:
    """The host's number of the machine's process 1, for `enter.command_line`; None when it does not run."""
    try:
        namespace = (cloud.directory / "nodes" / node).read_text()
    except FileNotFoundError:  # it goes with the machine, at any time
        return None
    return enter.init_of(namespace)


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


def show(cloud: Cloud, nodes: Sequence[Peer], shape: Shape, console: Console) -> bool:
    """Wait until every node reaches every node that it may, then print peers and pings. Whether they all do."""
    here = [node for node in nodes if not (node.is_external or shape.is_revoked(node))]
    console.step("waiting until every node reaches every node")
    wanted = [(a.name, b.name) for a in here for b in here if a is not b and shape.reaches(a, b)]
    deadline = time.monotonic() + REACH_SECONDS
    while True:
        seen = ping_all(cloud, here)
        missing = [pair for pair in wanted if pair not in seen]
        if not missing or time.monotonic() > deadline:
            break
        console.detail(f"{len(wanted) - len(missing)} of {len(wanted)} pairs; not yet {_pairs(missing)}")
        time.sleep(0.2)
    console.say()
    table(cloud, nodes, shape, console)
    console.say()
    _matrix(here, seen, shape, console)
    console.say()
    if missing:
        console.say(
            console.paint(f"{len(missing)} of {len(wanted)} pairs do not reach each other: {_pairs(missing)}", RED)
        )
        console.say("look at a machine with `python -m localcloud shell NODE`: `cloud-init status --long`, `wg show`")
        return False
    closed = len(here) * (len(here) - 1) - len(wanted)
    more = f"; groups close {closed} more" if closed else ""
    console.say(console.paint(f"all {len(wanted)} pairs of {len(here)} nodes reach each other{more}", GREEN))
    if open_ := sorted(seen.keys() - set(wanted)):
        console.say(console.paint(f"pairs that groups should close reach each other: {_pairs(open_)}", YELLOW))
    return True


def table(cloud: Cloud, nodes: Sequence[Peer], shape: Shape, console: Console) -> None:
    """Print the peers as the gateways that they hang on know them."""
    known = sessions(cloud, nodes)
    down = {node.name for node in nodes if node.role == "gateway" and init_on(cloud, node.name) is None}
    titles = ["NODE", "SITE", "ROLE", "ADDRESS"]
    titles += ["HANGS ON"] if shape.has_several_gateways else []
    titles += ["DIRECT"] if shape.is_mesh else []
    rows: list[list[str]] = []
    for node in nodes:
        session, gateway = session_of(node, known, shape), shape.gateway_of(node)
        row = [node.name, node.site, "external" if node.is_external else node.role, node.address]
        row += [gateway or ""] if shape.has_several_gateways else []
        row += [shape.direct_count(node)] if shape.is_mesh else []
        if node.name in down:
            rows.append([*row, console.paint("not running", RED), "", "", ""])
        elif shape.is_revoked(node):
            rows.append([*row, console.paint("revoked", YELLOW), "", "", ""])
        elif session is not None:
            sizes = [_size(session.received), _size(session.sent)]
            rows.append([*row, session.endpoint, _age(session.handshake, console), *sizes])
        else:
            is_unknown = gateway is not None and gateway not in down
            rows.append([*row, console.paint("unknown to the gateway", RED) if is_unknown else "", "", "", ""])
    console.table([*titles, "ENDPOINT", "HANDSHAKE", "RECEIVED", "SENT"], rows)


def handshake_age(session: Session) -> int | None:
    """Seconds since the last handshake; None when there was none."""
    return max(0, int(time.time()) - session.handshake) if session.handshake else None


def _age(handshake: int, console: Console) -> str:
    age = handshake_age(Session("", handshake, 0, 0))
    if age is None:
        return console.paint("never", RED)
    text = f"{age} s ago" if age < 120 else f"{age // 60} min ago"
    return console.paint(text, GREEN if age < STALE_SECONDS else YELLOW)


def _matrix(nodes: Sequence[Peer], seen: Mapping[tuple[str, str], float], shape: Shape, console: Console) -> None:
    rows: list[list[str]] = []
    for source in nodes:
        row = [source.name]
        for target in nodes:
            if source is target:
                row.append(console.paint("-", DIM))
            elif (source.name, target.name) in seen:
                text = f"{seen[source.name, target.name]:.1f} ms"
                row.append(text if shape.reaches(source, target) else console.paint(text, YELLOW))
            elif not shape.reaches(source, target):
                row.append(console.paint("closed", DIM))
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
