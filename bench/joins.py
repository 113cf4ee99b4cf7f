"""How soon a thousand machines are let in: eight clients join a pool that has no machine of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, cast

import yaml

from bench.figures import Row
from bench.place import Place
from bench.simulated import Seen, Task
from bench.stacks import PREFIX, ROOT

CLIENTS = 8
EACH = 125
GATEWAY = "hetzner-gw"
POOL = "burst"
AIM = 200
"""Milliseconds."""


def stack_config() -> str:
    """The text of a stack file: the dev stack's gateway, and a pool without machines in a site of 65,536 addresses."""
    document = cast("dict[str, Any]", yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text()))
    config = document["config"]
    hetzner, aws = config[f"{PREFIX}sites"]["hetzner"], config[f"{PREFIX}sites"]["aws"]
    config[f"{PREFIX}network"] = {"overlay": "10.100.0.0/15"}
    config[f"{PREFIX}sites"] = {"hetzner": hetzner, "aws": {**aws, "subnet": "10.101.0.0/16"}}
    config[f"{PREFIX}spokes"] = {}
    config[f"{PREFIX}pools"] = {POOL: {"site": "aws", "range": "10.101.128.0/17", "min": 0, "max": CLIENTS * EACH}}
    return yaml.safe_dump(document, sort_keys=False)


def rows(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on joins; RuntimeError when one fails or two share an address."""
    place = Place(folder / "cloud")
    folder.mkdir()
    (folder / "Pulumi.dev.yaml").write_text(stack_config())
    try:
        say("a gateway with a pool")
        place.run("up", "--config-file", str(folder / "Pulumi.dev.yaml"))
        say(f"{CLIENTS * EACH} joins")
        status, joins = _measured(place)
    finally:
        place.run("down")
    return [_row(percent, status, joins) for percent in (50, 99)]


def _row(percent: int, status: list[float], joins: list[float]) -> Row:
    bare, ours = (percentile(percent, seconds) * 1e3 for seconds in (status, joins))
    return Row(
        f"join, p{percent} of {CLIENTS * EACH} from {CLIENTS} clients",
        f"{ours:.0f} ms",
        f"{bare:.0f} ms",
        f"{ours / bare:.2f}",
        f"< {AIM} ms" if percent == 99 else "",
    )


def percentile(percent: int, values: list[float]) -> float:
    """The least of the values that so many in a hundred do not exceed."""
    return sorted(values)[ceil(percent / 100 * len(values)) - 1]


def _measured(place: Place) -> tuple[list[float], list[float]]:
    """The seconds of every bare request, and of every join."""
    outputs = place.secret_outputs()
    join, (gateway,) = outputs["join"], outputs["gateways"]
    tasks = [
        Task(join["url"], join["ca"], join["tokens"][POOL], POOL, gateway["public_key"], f"{client:x}", EACH)
        for client in range(CLIENTS)
    ]
    clients = [place.client("-m", "bench.simulated") for _ in tasks]
    try:
        for client, task in zip(clients, tasks, strict=True):
            _say(client, json.dumps(asdict(task)))
        for client in clients:
            _heard(client)
        status, joins = _all(clients, "status"), _all(clients, "join")
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    addresses = [address for seen in joins for address in seen.addresses]
    peers = place.execute(GATEWAY, "wg", "show", "wg0", "peers").split()
    if not len(set(addresses)) == len(addresses) == len(peers) == CLIENTS * EACH:
        raise RuntimeError(f"{len(addresses)} joins gave {len(set(addresses))} addresses and {len(peers)} peers")
    return _seconds(status), _seconds(joins)


def _seconds(seen: list[Seen]) -> list[float]:
    return [second for each in seen for second in each.seconds]


def _all(clients: list[subprocess.Popen[str]], word: str) -> list[Seen]:
    """What each client saw when all did the same at once."""
    for client in clients:
        _say(client, word)
    return [Seen(**json.loads(_heard(client))) for client in clients]


def _say(client: subprocess.Popen[str], text: str) -> None:
    assert client.stdin
    print(text, file=client.stdin, flush=True)


def _heard(client: subprocess.Popen[str]) -> str:
    assert client.stdout
    line = client.stdout.readline()
    if not line:
        raise RuntimeError(f"a client ended with {client.wait()}: {client.stderr.read() if client.stderr else ''}")
    return line
