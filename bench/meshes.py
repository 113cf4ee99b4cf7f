"""Everybody's wg-quick file of a full mesh: by the model, and by wg-meshconf from the same list.

The list is wg-meshconf's own database, a CSV file. Each of both runs in a process of its own, which reads the list,
derives the public keys and writes a file for each node.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.figures import Paired, Row, pairs, shown_ratio
from overlay.model import KEEPALIVE, LINK_KEEPALIVE, WG_PORT, Network, Node, Site
from overlay.topology import Peering
from overlay.wgconf import Interface, wg_quick

ROOT = Path(__file__).parents[1]
COUNT = 1000
ROUNDS = 3
AIM = 0.1
"""At most this part of wg-meshconf's time."""
MEMORY_AIM = 300
"""At most so many MB."""
OVERLAY = IPv4Network("10.100.0.0/16")
SITE = Site("site", "hetzner", IPv4Network("10.100.16.0/20"), "fsn1")
MTU = 1420
GATEWAY = "gateway"
COLUMNS: tuple[str, ...] = (
    "Name", "Address", "Endpoint", "AllowedIPs", "ListenPort", "PersistentKeepalive", "FwMark", "PrivateKey", "DNS",
    "MTU", "Table", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig",
)  # fmt: skip
"""Those of wg-meshconf's database."""


@dataclass(frozen=True)
class Taken:
    """One generation of all files: seconds from start to end of its process, and the most memory it had, in MB."""

    seconds: float
    megabytes: float


def write_list(path: Path, count: int) -> None:
    """A list of ``count`` nodes, the first of them a gateway that has the whole overlay."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for number in range(count):
            own = SITE.subnet[1 + number]
            node = {
                "Name": f"node-{number}" if number else GATEWAY,
                "Address": f"{own}/32",
                "Endpoint": str(IPv4Address("198.18.0.0") + number),
                "ListenPort": str(WG_PORT),
                "PersistentKeepalive": str(LINK_KEEPALIVE if number else KEEPALIVE),
                "AllowedIPs": "" if number else str(OVERLAY),
                "PrivateKey": base64.b64encode(hashlib.sha256(b"%d" % number).digest()).decode(),
                "MTU": str(MTU),
            }
            writer.writerow(node)


def generate(listed: Path, folder: Path) -> None:
    """What ``wg-meshconf genconfig`` does, by the model: a file for each node of the list."""
    with listed.open(newline="") as file:
        rows = list(csv.DictReader(file))
    nodes = [_node(row) for row in rows]
    everybody = frozenset(node.name for node in nodes)
    peering = Peering(Network(OVERLAY, (SITE,), "mesh"), nodes, dict.fromkeys(everybody, everybody))
    folder.mkdir()
    for node, row in zip(nodes, rows, strict=True):
        interface = Interface(IPv4Interface(row["Address"]), row["PrivateKey"], int(row["MTU"]), int(row["ListenPort"]))
        (folder / f"{node.name}.conf").write_text(wg_quick(interface, peering.of(node)))


def _node(row: Mapping[str, str]) -> Node:
    private = X25519PrivateKey.from_private_bytes(base64.b64decode(row["PrivateKey"]))
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    address, endpoint = IPv4Interface(row["Address"]).ip, f"{row['Endpoint']}:{row['ListenPort']}"
    return replace(
        Node(row["Name"], SITE.name, address, "spoke", public, endpoint),
        role="gateway" if row["Name"] == GATEWAY else "spoke",
    )


def ours(listed: Path, folder: Path) -> Taken:
    """The model's files for the list, in a new ``folder``."""
    return _run(["bench.meshes", str(listed), str(folder)])


def wg_meshconf(listed: Path, folder: Path) -> Taken:
    """wg-meshconf's files for the list, in a new ``folder``."""
    return _run(["wg_meshconf", "--database", str(listed), "genconfig", "--output", str(folder)])


def _run(module: Sequence[str]) -> Taken:
    """A module with its arguments as a program."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bench.meshes", "--peak", *module],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return Taken(time.monotonic() - begun, int(done.stdout.split()[-1]) / 1000)


def peak() -> int:
    """The most memory that this process has had, in kB.

    getrusage(2) would count what the process that started this one had as well.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def rows(folder: Path, say: Callable[[str], None], count: int = COUNT) -> list[Row]:
    """The table's lines on meshes."""
    folder.mkdir()
    listed = folder / "database.csv"
    write_list(listed, count)
    found: dict[str, list[Taken]] = {"ours": [], "theirs": []}

    def measured(which: str, make: Callable[[Path, Path], Taken]) -> float:
        say(f"{which}: every file of a mesh of {count} nodes")
        found[which].append(make(listed, folder / which))
        shutil.rmtree(folder / which)
        return found[which][-1].seconds

    times = pairs(lambda: measured("ours", ours), lambda: measured("theirs", wg_meshconf), ROUNDS)
    memory = Paired(*(tuple(each.megabytes for each in found[which]) for which in ("ours", "theirs")))
    what = f"all files of a {count}-node mesh"
    return [
        Row(
            f"{what}, beside wg-meshconf",
            f"{median(times.ours):.2f} s",
            f"{median(times.by_hand):.2f} s",
            shown_ratio(times),
            f"<= {AIM}",
        ),
        Row(
            f"{what}, memory",
            f"{max(memory.ours):.0f} MB",
            f"{max(memory.by_hand):.0f} MB",
            shown_ratio(memory),
            f"<= {MEMORY_AIM} MB",
        ),
    ]


def main(words: Sequence[str]) -> None:
    """``--peak MODULE WORD…`` runs a module and prints its peak of memory; ``LIST FOLDER`` generates the files."""
    if words[0] == "--peak":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        print(peak())
    else:
        generate(Path(words[0]), Path(words[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
