"""Everybody pings everybody, all the time: what a change of the whole network costs each pair."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from localcloud.cli.mesh import run_on
from localcloud.cloud import Cloud
from tests.scenes.scene import Scene

INTERVAL = 0.2
"""Seconds between two pings of a pair."""
_BEGIN = """
mkdir -p /tmp/pings
for address in "$@"; do
    setsid ping -n -i {interval} "$address" >"/tmp/pings/$address" 2>&1 </dev/null &
    echo $! >>/tmp/pings/pids
done
"""
_END = """
kill -INT $(cat /tmp/pings/pids)
while [ "$(grep -l 'packets transmitted' /tmp/pings/* | wc -l)" -lt $# ]; do sleep 0.1; done
for address in "$@"; do echo "$address $(grep 'packets transmitted' "/tmp/pings/$address")"; done
rm -r /tmp/pings
"""


@dataclass(frozen=True)
class Loss:
    """What one node's pings lost: ``worst`` is the most that any one pair did, ``total`` all; both in seconds."""

    node: str
    sent: int
    worst: float
    total: float


@contextmanager
def everybody_pings(scene: Scene, nodes: Mapping[str, str]) -> Generator[list[Loss]]:
    """Pings from each of ``nodes`` (overlay address by name) to each other while the block runs; then what was lost."""
    cloud, found = Cloud(scene.directory), list[Loss]()

    def begin(node: str) -> None:
        others = [address for name, address in nodes.items() if name != node]
        assert run_on(cloud, node, "sh", "-c", _BEGIN.format(interval=INTERVAL), "sh", *others) is not None, node

    def end(node: str) -> Loss:
        others = [address for name, address in nodes.items() if name != node]
        said = run_on(cloud, node, "sh", "-c", _END, "sh", *others)
        assert said is not None, f"{node}: its pings did not end"
        counts = [(int(words[1]), int(words[4])) for words in map(str.split, said.splitlines())]
        # The last one of each pair may have been under way.
        lost = [max(0, sent - received - 1) * INTERVAL for sent, received in counts]
        return Loss(node, sum(sent for sent, _ in counts), max(lost), sum(lost))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, nodes))
        try:
            yield found
        finally:
            found += pool.map(end, nodes)
