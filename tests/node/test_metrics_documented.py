"""docs/metrics.md lists what gateways and nodes show: no more, no less, and in the same words."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from node.exporter.node import NodeMetrics
from node.gateway.lease import Kind
from node.gateway.rotation import Rotation
from node.health.outcome import Outcome
from node.network.agent import NetworkAgent, Parts
from node.network.bell import Bell
from node.network.kept import State
from node.network.running import Running
from node.tunnels.own import OwnKeys
from node.tunnels.tunnels import Tunnels
from node.tunnels.turn import Turn
from tests.node.memory_devices import MemoryDevice, MemoryRoutes
from tests.node.metrics_support import interface_up, read, types
from tests.node.network_support import Machine, MemoryAddresses6, MemoryNames, MemorySegments
from tests.node.place import target
from tests.node.pools import GATEWAY_KEYS, Member, PoolGateway, pool_roster
from tests.node.real_nginx import free_port
from tests.node.serving import balancer, credentials, signed_credentials
from tests.node.support import Stack

TABLE = Path(__file__).parents[2] / "docs" / "metrics.md"
EVERYWHERE = {"every machine", "spokes and pools' machines", "gateways"}


@dataclass(frozen=True)
class Line:
    """A metric: its type, its labels, and its help."""

    kind: str
    labels: frozenset[str]
    told: str


@pytest.fixture(autouse=True)
def interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return interface_up(tmp_path / "net", monkeypatch)


def unit(name: str, told: str) -> str:
    """What the metric counts."""
    if "seconds since 1970" in told:
        return "s since 1970"
    if told.startswith("Whether"):
        return "0 or 1"
    units = {"_bytes_total": "bytes", "_seconds": "s", "_info": "1"}
    return next((unit for end, unit in units.items() if name.endswith(end)), "number")


def documented(*places: str) -> dict[str, Line]:
    """The lines of the table about machines of these kinds."""
    rows = [line.strip("|").split("|") for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    found: dict[str, Line] = {}
    for name, kind, labels, counted, told, where in ([cell.strip() for cell in row] for row in rows):
        metric = name.strip("`")
        assert where in EVERYWHERE
        assert metric not in found, metric
        assert counted == unit(metric, told), metric
        if where in places:
            found[metric] = Line(kind, frozenset(labels.replace("`", "").replace(",", " ").split()), told)
    return found


def shown(text: bytes) -> dict[str, Line]:
    """The metrics of a text in which each has a sample."""
    helps = dict(
        line.removeprefix("# HELP ").split(" ", 1) for line in text.decode().splitlines() if line.startswith("# HELP ")
    )
    labels: dict[str, frozenset[str]] = {}
    for sample, found, _ in read(text):
        family = next(name for name in (sample, sample.rpartition("_")[0]) if name in helps)
        labels[family] = labels.get(family, frozenset()) | (found.keys() - {"le"})
    kinds = types(text)
    assert labels.keys() == kinds.keys(), "each has a sample"
    return {name: Line(kind, labels[name], helps[name]) for name, kind in kinds.items()}


def test_a_nodes_metrics(tmp_path: Path, stack: Stack) -> None:
    machine, nothing = Machine(tmp_path, stack), cast("Any", None)
    turn = Turn(Tunnels(nothing, nothing, nothing, OwnKeys(tmp_path / "keys.json", lambda: None)), tmp_path)
    parts = Parts(machine.wireguard, MemoryAddresses6(), MemorySegments(), MemoryNames(), turn)
    trust = stack.trust(tmp_path)
    agent = NetworkAgent(State(tmp_path / "x.json", trust), trust, parts, lambda: machine.myself, lambda: None)
    machine.asker.answered = IPv4Address("10.100.0.1"), True
    bell = Bell(0)
    bell.close()
    running = Running(agent, machine.asker, bell, threading.Event())
    text = NodeMetrics(running, "spoke", 1, lambda: Outcome(True, (), 0.0)).text()
    assert shown(text) == documented("every machine", "spokes and pools' machines")


async def test_a_gateways_metrics(
    gateway: PoolGateway, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, signature = signed_credentials(stack, credentials())
    await gateway.ask("PUT", "/v1/credentials", body, {"X-Hybridnet-Signature": signature})
    await gateway.push(pool_roster(2, load_balancer=balancer({"spoke-1": target(free_port())})))
    await gateway.join(Member("i-1"))
    await gateway.until(
        lambda: "spoke-1" in str(gateway.service.status(with_peers=True)["load_balancer"]), "the target"
    )
    own = OwnKeys(tmp_path / "keys.json", lambda: GATEWAY_KEYS[0])
    tunnels = Tunnels(MemoryDevice(key=GATEWAY_KEYS[1]), MemoryDevice(), MemoryRoutes(), own)
    monkeypatch.setattr(gateway.network, "rotation", Rotation(tunnels, "gw", tmp_path))
    monkeypatch.setattr(gateway.service.conditions, "healthy", lambda: {"gw": True})
    text = await gateway.service.metrics.text()
    assert shown(text) == documented("every machine", "gateways")


def test_every_reason_of_a_refusal() -> None:
    (line,) = [text for text in TABLE.read_text().split("\n- ") if text.startswith("`reason`")]
    assert set(re.findall(r"`([a-z_]+)`", line)) == {"reason", *get_args(Kind)}
