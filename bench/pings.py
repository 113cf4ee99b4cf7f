"""Everybody pings everybody, all the time: what a change of the whole network costs each pair."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcloud.cli.mesh import run_on
from localcloud.cloud import Cloud

INTERVAL = 0.2
"""Seconds between two pings of a pair."""
UNDER_WAY = 0.25
"""Seconds that a ping's answer may take when the pings end."""
_BEGIN = """
mkdir -p /tmp/pings
for address in "$@"; do
    setsid ping -n -i {interval} "$address" >"/tmp/pings/$address" 2>&1 </dev/null &
    echo $! >>/tmp/pings/pids
done
"""
_END = r"""
kill -INT $(cat /tmp/pings/pids)
while [ "$(grep -l 'packets transmitted' /tmp/pings/* | wc -l)" -lt $# ]; do sleep 0.1; done
for address in "$@"; do
    seen=$(sed -n 's/.*bytes from.*icmp_seq=\([0-9]*\) .*/\1/p' "/tmp/pings/$address" | sort -n | tail -n 1)
    echo "$address $(grep 'packets transmitted' "/tmp/pings/$address") ${seen:-0}"
done
rm -r /tmp/pings
"""


@dataclass(frozen=True)
class Loss:
    """What one node's pings lost: ``worst`` is the most that any one pair did, ``total`` all; both in seconds.

    ``pairs`` is by the other's address (sent, lost).
    """

    node: str
    pairs: Mapping[str, tuple[int, int]]
    interval: float

    @property
    def sent(self) -> int:
        return sum(sent for sent, _ in self.pairs.values())

    @property
    def lost(self) -> int:
        return sum(lost for _, lost in self.pairs.values())

    @property
    def worst(self) -> float:
        return max(lost for _, lost in self.pairs.values()) * self.interval

    @property
    def total(self) -> float:
        return self.lost * self.interval


@contextmanager
def everybody_pings(directory: Path, nodes: Mapping[str, str], interval: float = INTERVAL) -> Generator[list[Loss]]:
    """Pings from each of ``nodes`` (overlay address by name) to each other while the block runs; then what was lost.

    They are those of the local cloud in ``directory``; each pair's pings are ``interval`` seconds apart.
    """
    cloud, found = Cloud(directory), list[Loss]()

    def begin(node: str) -> None:
        others = [address for name, address in nodes.items() if name != node]
        assert run_on(cloud, node, "sh", "-c", _BEGIN.format(interval=interval), "sh", *others) is not None, node

    def end(node: str) -> Loss:
        others = [address for name, address in nodes.items() if name != node]
        said = run_on(cloud, node, "sh", "-c", _END, "sh", *others)
        assert said is not None, f"{node}: its pings did not end"
        pairs: dict[str, tuple[int, int]] = {}
        for address, *words in map(str.split, said.splitlines()):
            sent, back, last = int(words[0]), int(words[3]), int(words[-1])
            # The last ones may have been under way; whatever is missing before was lost.
            pairs[address] = sent, last - back + max(0, sent - last - int(UNDER_WAY / interval))
        return Loss(node, pairs, interval)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, nodes))
        try:
            yield found
        finally:
            found += pool.map(end, nodes)
