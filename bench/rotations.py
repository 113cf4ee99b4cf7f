"""What a change of keys costs those who are talking: pings of every pair, lost while all WireGuard keys change.

By hand it is what the tools offer: another key for the gateway's interface, and then on each machine another peer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from bench.figures import Row
from bench.pings import Loss, everybody_pings
from bench.place import PATIENCE, Place
from bench.stacks import PREFIX, ROOT

NODES = {
    "hetzner-gw": "10.100.0.1",
    "hetzner-1": "10.100.1.1",
    "hetzner-2": "10.100.1.2",
    "aws-1": "10.100.2.1",
    "gcp-1": "10.100.3.1",
}
GATEWAY, *SPOKES = NODES
EACH = 0.01
"""Seconds between two pings of a pair."""
AFTER_SECONDS = 1.0
"""How long pings go on after the keys: what is lost until the last machine is reached again stands between answers."""
_ANOTHER_KEY = "umask 077; wg genkey >/root/key; wg set wg0 private-key /root/key; wg show wg0 public-key"
_ANOTHER_PEER = """
old=$(wg show wg0 peers) endpoint=$(wg show wg0 endpoints | cut -f 2) allowed=$(wg show wg0 allowed-ips | cut -f 2)
wg set wg0 peer "$old" remove peer "$0" endpoint "$endpoint" allowed-ips "$allowed" persistent-keepalive 25
"""


def rows(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on changes of keys; RuntimeError when one does not come to its end."""
    place = Place(folder / "cloud")
    folder.mkdir(parents=True)
    document = cast("dict[str, Any]", yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text()))
    del document["config"][f"{PREFIX}pools"]
    config = folder / "Pulumi.dev.yaml"
    config.write_text(yaml.safe_dump(document))
    try:
        say("the dev stack, for keys that change")
        place.run("up", "--config-file", str(config))
        _wait_for_agents(place)
        say("all keys change under pings of every pair")
        with everybody_pings(place.directory, NODES, EACH) as nodes:
            _rotate(place, "--all")
        say("the gateway's key changes, and the same by hand")
        with everybody_pings(place.directory, NODES, EACH) as ours:
            _rotate(place, GATEWAY)
        for node in NODES:
            place.execute(node, "systemctl", "stop", "hybridnet-health.timer", "hybridnet")
        with everybody_pings(place.directory, NODES, EACH) as by_hand:
            key = place.execute(GATEWAY, "sh", "-c", _ANOTHER_KEY).strip()
            for node in SPOKES:
                place.execute(node, "sh", "-c", _ANOTHER_PEER, key)
            for node in SPOKES:
                place.wait_until_reached(node, NODES[GATEWAY])
            time.sleep(AFTER_SECONDS)
        return [
            lost("all keys of 5 machines change: pings lost a pair, of 100 a second, worst pair", nodes),
            lost("the gateway's key changes: the same", ours, by_hand),
        ]
    finally:
        place.run("down")


def _wait_for_agents(place: Place) -> None:
    """Until every spoke has told the gateway of itself; RuntimeError when one does not in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        status = json.loads(place.execute(GATEWAY, "sh", "-c", "hybridnet status --json || true"))
        if set(SPOKES) <= set(status["rotation"]["agents"]):
            return
    raise RuntimeError(f"not every spoke has an agent at work within {PATIENCE} s")


def _rotate(place: Place, what: str) -> None:
    if left := json.loads(place.execute(GATEWAY, "hybridnet", "rotate", "--json", what))["unchanged"]:
        raise RuntimeError(f"these have the key of before: {', '.join(left)}")


def lost(what: str, ours: Sequence[Loss], by_hand: Sequence[Loss] = ()) -> Row:
    """The line: mean and worst pair, ours and by hand, and the ratio of the means."""
    mine, theirs = figures(ours), figures(by_hand) if by_hand else None
    ratio = f"{mine[0] / theirs[0]:.2f}" if theirs and theirs[0] else ""
    return Row(what, shown(mine), shown(theirs) if theirs else "", ratio, "0")


def figures(losses: Sequence[Loss]) -> tuple[float, int]:
    """Pings that a pair lost: the mean of all, and the worst."""
    counts = [count for loss in losses for _, count in loss.pairs.values()]
    return sum(counts) / len(counts), max(counts)


def shown(found: tuple[float, int]) -> str:
    """Mean and worst, as they stand in the table."""
    mean, worst = found
    return f"{mean:.1f}, {worst}"
