"""What nodes show Prometheus: which metrics there are, under whose names, and that nothing else gets out."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from node.exporter.machine import is_up, own_families
from node.exporter.node import NodeMetrics
from node.exporter.peers import Known, known, peer_families
from node.exporter.text import exposition
from node.health.outcome import Outcome
from node.network.agent import NetworkAgent
from node.network.bell import Bell
from node.network.kept import State
from node.network.running import Running
from node.network_words import Member
from node.tunnels.own import OwnKeys
from node.tunnels.tunnels import Tunnels
from node.tunnels.turn import Turn
from node.wireguard import PeerState, WireGuardError, parse_dump
from overlay.model import Node
from tests.node.metrics_support import DOWN, interface_up, read, types, values
from tests.node.network_support import Machine, memory_parts, public, three_sites
from tests.node.promtool import complaints
from tests.node.support import Stack, key

HOSTILE = 'a"b\\c\nd{}=,#</script><script>\u2028é'


def peer(name: str, prefixes: Iterable[str] = ("10.100.1.1/32",), **changes: int) -> PeerState:
    return PeerState(key(name), "198.51.100.7:51820", frozenset(prefixes), 1_800_000_000, 70, 50, 25)._replace(
        **changes
    )


@pytest.fixture
def machine(tmp_path: Path, stack: Stack) -> Machine:
    """``b-1`` of three sites, which has asked nobody yet."""
    return Machine(tmp_path, stack)


@pytest.fixture(autouse=True)
def interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The flags of an interface that is up."""
    return interface_up(tmp_path / "net", monkeypatch)


def shown(machine: Machine, role: str = "spoke", outcome: Outcome | None = None) -> NodeMetrics:
    running = Running(machine.agent, machine.asker, Bell(0), threading.Event())
    running.bell.close()
    return NodeMetrics(running, role, 12, lambda: outcome)


# The text.


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(0, 2**53)), unique_by=lambda each: each[:2]))
def test_whatever_labels_hold_is_read_back_as_it_was(found: list[tuple[str, str, int]]) -> None:
    family = GaugeMetricFamily("hybridnet_of_names", 'Help with a \\ and a\nsecond line, "quoted".', labels=("b", "a"))
    encodable = [(*(each.encode(errors="replace").decode() for each in texts), value) for *texts, value in found]
    for *labels, value in found:
        family.add_metric(labels, value)
    wanted = [("hybridnet_of_names", {"b": b, "a": a}, value) for b, a, value in encodable]
    assert read(exposition([family])) == wanted


def test_each_kind_of_metric_is_read_as_what_it_is() -> None:
    counter = CounterMetricFamily("hybridnet_things", "Things.", labels=("kind",))
    counter.add_metric(("one",), 1e300)
    histogram = HistogramMetricFamily("hybridnet_lasting_seconds", "How long.")
    histogram.add_metric((), [("0.1", 2), ("+Inf", 3)], 4.25)
    families: list[Metric] = [counter, GaugeMetricFamily("hybridnet_flag", "A flag.", value=True), histogram]
    text = exposition(families)
    assert types(text) == {
        "hybridnet_things_total": "counter", "hybridnet_flag": "gauge", "hybridnet_lasting_seconds": "histogram"
    }  # fmt: skip
    assert read(text) == [
        ("hybridnet_things_total", {"kind": "one"}, 1e300),
        ("hybridnet_flag", {}, 1.0),
        ("hybridnet_lasting_seconds_bucket", {"le": "0.1"}, 2.0),
        ("hybridnet_lasting_seconds_bucket", {"le": "+Inf"}, 3.0),
        ("hybridnet_lasting_seconds_count", {}, 3.0),
        ("hybridnet_lasting_seconds_sum", {}, 4.25),
    ]


# The peers.


def test_a_peer_is_told_by_our_names_and_by_those_that_dashboards_know() -> None:
    names = {key("x"): Known("aws-1", "aws", "spoke")}
    observed = {key("x"): peer("x", ("10.100.2.1/32", "10.100.0.0/16"))}
    text = exposition(peer_families("wg0", observed, names))
    ours, theirs = ("wg0", "aws-1", "spoke", "aws"), ("10.100.0.0/16,10.100.2.1/32", "aws-1", "wg0", key("x"))
    assert values(text, "wireguard_peer_last_handshake_seconds") == {ours: 1_800_000_000}
    assert values(text, "wireguard_peer_transfer_bytes_total") == {
        ("received", *ours): 70, ("sent", *ours): 50
    }  # fmt: skip
    assert values(text, "wireguard_peer_allowed_ips_count") == {ours: 2}
    assert values(text, "wireguard_sent_bytes_total") == {theirs: 50}
    assert values(text, "wireguard_received_bytes_total") == {theirs: 70}
    assert values(text, "wireguard_latest_handshake_seconds") == {theirs: 1_800_000_000}
    assert types(text) == {
        "wireguard_peer_last_handshake_seconds": "gauge",
        "wireguard_peer_transfer_bytes_total": "counter",
        "wireguard_peer_allowed_ips_count": "gauge",
        "wireguard_sent_bytes_total": "counter",
        "wireguard_received_bytes_total": "counter",
        "wireguard_latest_handshake_seconds": "gauge",
    }
    labels = {name: set(found) for name, found, _ in read(text)}
    assert labels["wireguard_peer_last_handshake_seconds"] == {"interface", "peer", "site", "role"}
    assert labels["wireguard_peer_transfer_bytes_total"] == {"interface", "peer", "site", "role", "direction"}
    assert labels["wireguard_sent_bytes_total"] == {"interface", "public_key", "allowed_ips", "friendly_name"}


def test_a_peer_that_never_shook_hands_has_the_time_0_and_one_without_prefixes_counts_none() -> None:
    text = exposition(peer_families("wg0", {key("x"): peer("x", (), handshake=0)}, {}))
    (handshake,) = values(text, "wireguard_peer_last_handshake_seconds").values()
    (count,) = values(text, "wireguard_peer_allowed_ips_count").values()
    assert (handshake, count) == (0, 0)


def test_whom_nobody_knows_is_told_by_its_public_key() -> None:
    text = exposition(peer_families("wg0", {key("x"): peer("x")}, {}))
    assert set(values(text, "wireguard_peer_last_handshake_seconds")) == {("wg0", key("x"), "", "")}


def test_names_that_somebody_else_chose_stay_names() -> None:
    names = {key("x"): Known(HOSTILE, HOSTILE, "pool"), key("y"): Known("b", "aws", "spoke")}
    text = exposition(peer_families("wg0", {key("x"): peer("x"), key("y"): peer("y")}, names))
    assert set(values(text, "wireguard_peer_last_handshake_seconds")) == {
        ("wg0", HOSTILE, "pool", HOSTILE),
        ("wg0", "b", "spoke", "aws"),
    }


def test_machines_of_pools_are_known_as_such() -> None:
    gateway = Node("gw", "a", IPv4Address("10.100.0.1"), "gateway", key("gw"))
    spoke = Node("a-1", "a", IPv4Address("10.100.1.1"), "spoke", key("a-1"))
    machine = Node("burst-1", "b", IPv4Address("10.100.2.1"), "spoke", key("burst-1"))
    assert known([gateway, spoke, machine], {key("burst-1")}) == {
        key("gw"): Known("gw", "a", "gateway"),
        key("a-1"): Known("a-1", "a", "spoke"),
        key("burst-1"): Known("burst-1", "b", "pool"),
    }


# A machine.


def test_an_interface_is_up_that_is_there_and_has_the_flag(interface: Path) -> None:
    assert is_up("wg0")
    interface.write_text(DOWN)
    assert not is_up("wg0")
    interface.unlink()
    assert not is_up("wg0")


def test_what_is_not_known_is_not_told() -> None:
    text = exposition(own_families(Known("b-1", "b", "spoke"), 7, "wg0", up=False, key_made=None, healthy=None))
    assert values(text, "hybridnet_node_info") == {("b-1", "7", "spoke", "b"): 1}
    assert values(text, "hybridnet_interface_up") == {("wg0",): 0}
    assert values(text, "hybridnet_key_created_timestamp_seconds") == {}
    assert values(text, "hybridnet_healthy") == {}


@pytest.mark.parametrize("healthy", [True, False])
def test_what_a_machine_found_of_its_health(machine: Machine, healthy: bool) -> None:
    text = shown(machine, outcome=Outcome(healthy, (), 1.0)).text()
    assert values(text, "hybridnet_healthy") == {(): healthy}


def test_how_old_a_machines_key_is(machine: Machine) -> None:
    assert values(shown(machine).text(), "hybridnet_key_created_timestamp_seconds") == {}, "it changes no keys"
    own = OwnKeys(machine.folder / "keys.json", lambda: None, lambda: 1_800_000_000.5)
    nothing = cast("Any", None)
    parts = replace(memory_parts(machine.wireguard), turn=Turn(Tunnels(nothing, nothing, nothing, own), machine.folder))
    trust = machine.stack.trust(machine.folder)
    state = State(machine.folder / "network.json", trust)
    machine.agent = NetworkAgent(state, trust, parts, lambda: machine.myself, lambda: None)
    text = shown(machine).text()
    assert values(text, "hybridnet_key_created_timestamp_seconds") == {("b-1",): 1_800_000_000.5}


def test_before_any_roster_a_machine_tells_its_gateways_key_and_then_its_name(machine: Machine) -> None:
    metrics = shown(machine)
    first = metrics.text()
    assert set(values(first, "wireguard_peer_last_handshake_seconds")) == {("wg0", public("root"), "", "")}
    assert values(first, "hybridnet_gateway_reachable") == {}, "nobody was asked yet"
    assert values(first, "hybridnet_node_info") == {("b-1", "12", "spoke", ""): 1}
    machine.asker.turn()
    then = metrics.text()
    assert set(values(then, "wireguard_peer_last_handshake_seconds")) == {("wg0", "root", "gateway", "a")}
    assert values(then, "hybridnet_gateway_reachable") == {("root",): 1}
    assert values(then, "hybridnet_node_info") == {("b-1", "12", "spoke", "b"): 1}


def test_names_follow_the_roster_and_the_pools(machine: Machine) -> None:
    metrics = shown(machine)
    machine.asker.turn()
    metrics.text()
    joined = Member("burst-1", "burst", "c", IPv4Address("10.100.3.200"), key("burst-1"), "", lan=False)
    machine.gateways.members = (joined,)
    machine.gateways.roster = three_sites("mesh", 2)
    machine.wireguard.state[key("burst-1")] = peer("burst-1")
    machine.asker.turn()
    machine.wireguard.state[key("burst-1")] = peer("burst-1")
    assert ("wg0", "burst-1", "pool", "c") in values(metrics.text(), "wireguard_peer_last_handshake_seconds")


def test_a_gateway_that_does_not_answer_is_not_reachable(machine: Machine) -> None:
    machine.asker.turn()
    machine.gateways.deaf = {"10.100.0.1"}
    machine.asker.turn()
    assert values(shown(machine).text(), "hybridnet_gateway_reachable") == {("root",): 0}


def test_a_gateway_that_refuses_is_reachable(machine: Machine) -> None:
    machine.gateways.status = 503
    machine.asker.turn()
    assert values(shown(machine).text(), "hybridnet_gateway_reachable") == {("10.100.0.1",): 1}


def test_an_interface_that_is_down_is_not_asked_for_peers(machine: Machine, interface: Path) -> None:
    machine.wireguard.broken = True
    interface.write_text(DOWN)
    text = shown(machine).text()
    assert values(text, "hybridnet_interface_up") == {("wg0",): 0}
    assert values(text, "wireguard_peer_last_handshake_seconds") == {}


def test_an_interface_that_is_up_and_cannot_be_looked_at_fails_the_scrape(machine: Machine) -> None:
    machine.wireguard.broken = True
    with pytest.raises(WireGuardError):
        shown(machine).text()


def test_a_private_key_is_never_told(machine: Machine) -> None:
    secrets = [base64.b64encode(bytes([number]) * 32).decode() for number in (201, 202)]
    dump = (
        f"{secrets[0]}\t{public('b-1')}\t51820\toff\n"
        f"{public('root')}\t{secrets[1]}\t198.51.100.1:51820\t10.100.0.0/16\t1800000000\t1\t2\t25\n"
    )
    machine.wireguard.state = parse_dump(dump)
    machine.asker.turn()
    text = shown(machine).text().decode()
    assert public("root") in text
    for secret in secrets:
        assert secret not in text


def test_promtool_accepts_a_machines_metrics(machine: Machine) -> None:
    machine.asker.turn()
    machine.wireguard.state[key("x")] = peer("x")
    assert complaints(shown(machine).text()) == ["wireguard_peer_allowed_ips_count"]
