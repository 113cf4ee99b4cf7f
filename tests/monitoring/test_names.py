"""Rules and dashboard read only metrics that machines show."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from node import stage0
from node.exporter.node import NodeMetrics
from node.gateway.identity.gcp import GoogleKeys
from node.network.bell import Bell
from node.network.running import Running
from tests.monitoring.prometheus import dashboard_queries, metrics_in, rules
from tests.node.identities import google_keys
from tests.node.metrics_support import types
from tests.node.network_support import Machine
from tests.node.pools import pool_roster, serving
from tests.node.support import Stack

SUFFIXES = {"histogram": ("_bucket", "_count", "_sum")}


@pytest.fixture
async def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the samples that a gateway and a spoke can show."""
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    stack = Stack()
    async with serving(tmp_path, stack, google=GoogleKeys(google_keys)) as gateway:
        await gateway.push(pool_roster())
        text = await gateway.service.metrics.text()
    machine = Machine(tmp_path / "spoke", stack)
    running = Running(machine.agent, machine.asker, Bell(0), threading.Event())
    running.bell.close()
    kinds = types(text) | types(NodeMetrics(running, "spoke", 1, lambda: None).text())
    return {f"{name}{suffix}" for name, kind in kinds.items() for suffix in SUFFIXES.get(kind, ("",))}


async def test_rules_read_only_what_is_shown_or_recorded(shown: set[str]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    read = set[str]().union(*(metrics_in(rule["expr"]) for rule in rules()))
    assert recorded <= read
    assert read - recorded - shown == {"up"}


async def test_the_dashboard_reads_only_what_is_shown_or_recorded(shown: set[str]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    read = set[str]().union(*map(metrics_in, dashboard_queries()))
    assert len(dashboard_queries()) > 20
    assert read - recorded - shown == {"up", "ALERTS"}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (peer, job) (rate(a_total{peer="b and c"}[5m] offset 1h)) > 1e6', {"a_total"}),
        ('a / on (x) group_left (y) b unless c == 4 or label_replace(d, "e", "$1", "f", "(.+)")', {"a", "b", "c", "d"}),
        ("rate(a:b:c[$__rate_interval])", {"a:b:c"}),
    ],
)
def test_the_names_in_an_expression_are_found(expression: str, names: set[str]) -> None:
    assert metrics_in(expression) == names
