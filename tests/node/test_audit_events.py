"""What of a gateway's network is in its audit log."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from node.gateway.audit import Audit
from node.wireguard import Change
from tests.node.gateways import SPOKE_KEYS, Gateway, Trio, three_sites
from tests.node.support import Stack, key, signed

PUBLIC = SPOKE_KEYS["a"][1]


@pytest.fixture
def gateway(tmp_path: Path, stack: Stack) -> Iterator[Gateway]:
    trio = Trio(tmp_path, stack)
    found = trio.gateways["gw-a"]
    found.network.reconcile()
    told(found)
    yield found
    trio.close()


def told(gateway: Gateway) -> list[dict[str, object]]:
    """The events of what was found since the last time."""
    audit = Audit(gateway.network.config.state / "audit.jsonl")
    before = audit.events
    gateway.network.found.tell(audit, gateway.network.whole.nodes)
    audit.close()
    return [dict(line) for line in audit.recent if line["number"] > before]


def seen_at(gateway: Gateway, endpoint: str) -> None:
    state = gateway.wireguard.state[PUBLIC]
    gateway.wireguard.state[PUBLIC] = state._replace(endpoint=endpoint, handshake=1_800_000_000)
    gateway.network.reconcile()


def test_where_a_node_was_before_and_is_now(gateway: Gateway) -> None:
    seen_at(gateway, "198.51.100.7:40000")
    assert told(gateway) == [], "it is heard for the first time"
    seen_at(gateway, "198.51.100.7:40000")
    assert told(gateway) == []
    seen_at(gateway, "198.51.100.8:40001")
    [line] = told(gateway)
    assert (line["event"], line["node"], line["old"], line["new"]) == (
        "endpoint",
        "a-1",
        "198.51.100.7:40000",
        "198.51.100.8:40001",
    )


def test_peers_that_somebody_else_changed(gateway: Gateway) -> None:
    gateway.wireguard.apply([Change(PUBLIC, remove=True)])
    gateway.wireguard.apply([Change(key("stranger"), allowed_ips=(IPv4Network("10.9.9.9/32"),))])
    gateway.network.reconcile()
    [line] = told(gateway)
    assert (line["event"], line["peers"]) == ("drift", 2)
    assert set(str(line["nodes"]).split(", ")) == {"a-1", key("stranger")}
    gateway.network.reconcile()
    assert told(gateway) == []


def test_rules_that_had_to_change(gateway: Gateway, stack: Stack) -> None:
    made = three_sites(number=2, admin_cidrs=(IPv4Network("203.0.113.0/24"),))
    assert gateway.network.rosters.offer(*signed(stack, made))[0] == 201
    gateway.network.reconcile()
    lines = told(gateway)
    assert [line["changed"] for line in lines if line["event"] == "firewall"] == ["admin4"]
