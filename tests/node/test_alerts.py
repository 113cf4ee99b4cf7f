"""What the gateway says is wrong: each finding with the facts that make it and with those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from node import config as machine
from node.gateway.alerts import HOLD_SECONDS, MANY, SILENT_SECONDS, Alerts, Facts, Finding, Silent, find
from node.gateway.health import MISSES, Health
from node.gateway.network import Network
from node.gateway.overview import Overview
from node.gateway.rates import WINDOW_SECONDS, Rates
from node.gateway.recent import COUNT, Recent
from node.neighbour_document import Revocation
from node.wireguard import PeerState
from overlay.model import Node, Site
from overlay.pools import Pool, token_digest
from tests.node.support import (
    MemoryFirewall,
    MemoryProbe,
    MemoryWireGuard,
    Stack,
    Time,
    key,
    roster,
    signed,
    write_config,
)

NOW = 1_800_000_000.0
DAY = 86400.0
WELL = Facts(
    NOW,
    sites={"aws": 3, "gcp": 8},
    certificates={"serving": NOW + 22 * DAY},
    pools={"burst": (13, 126)},
    conditions={"aws-1": {"healthy": True, "problems": [], "at": NOW}},
)


def silent(count: int, site: str = "gcp", pool: str = "") -> tuple[Silent, ...]:
    return tuple(Silent(f"{site}-{number}", site, float(number), pool) for number in range(1, count + 1))


def test_nothing_is_wrong_with_a_healthy_network() -> None:
    assert find(WELL) == []


@pytest.mark.parametrize(
    ("wrong", "name", "severity", "told"),
    [
        ({"reconciled": 15.0, "problem": "wg: no such device"}, "ReconcileFailing", "critical", "wg: no such device"),
        ({"reconciled": None}, "ReconcileFailing", "critical", "cannot be kept right"),
        ({"has_roster": False}, "NoRoster", "warning", "pulumi up"),
        ({"silent": silent(1)}, "NodeSilent", "critical", "gcp-1 in gcp does not answer"),
        ({"silent": silent(1, pool="burst")}, "MachineSilent", "warning", "of the pool burst"),
        ({"silent": silent(3, "aws")}, "SiteSilent", "critical", "none of the 3 nodes in aws"),
        ({"silent": silent(MANY + 2)}, "NodesSilent", "critical", "7 of the 8 nodes in gcp do not answer"),
        ({"silent": silent(MANY + 2, pool="burst")}, "NodesSilent", "warning", "and 2 more"),
        ({"unreachable": {"aws-gw": 12.0}}, "GatewaySilent", "critical", "aws-gw"),
        ({"missing": ["aws-1"]}, "PeersDiffer", "warning", "missing: aws-1"),
        ({"strangers": 2}, "PeersDiffer", "warning", "not wanted: 2"),
        ({"roster_refused": "roster 7 is here"}, "RosterRefused", "warning", "roster 7 is here"),
        ({"certificates": {"serving": NOW + 20 * DAY}}, "CertificateEnding", "warning", "ends on 2027-02-04"),
        ({"certificates": {"ca": NOW + 2 * DAY}}, "CertificateEnding", "critical", "the ca certificate"),
        ({"certificates": {"ca": NOW - 1}}, "CertificateEnding", "critical", "ended on"),
        ({"failed_release": (4, "it crashed")}, "ReleaseFailed", "warning", "release 4 failed here"),
        ({"pools": {"burst": (12, 126)}}, "PoolNearlyFull", "warning", "12 of its 126"),
        ({"pools": {"burst": (0, 126)}}, "PoolNearlyFull", "critical", "0 of its 126"),
        ({"barred": ["burst"]}, "PoolBarred", "warning", "raise its tokenRevision"),
        ({"cleanup": "no peer answers"}, "CleanupPaused", "warning", "no peer answers"),
        ({"balancer": "no credentials yet"}, "LoadBalancer", "critical", "no credentials yet"),
        (
            {"conditions": {"gcp-1": {"healthy": False, "problems": ["disk full", "no DNS"], "at": NOW}}},
            "NodeReportsProblem",
            "warning",
            "gcp-1 reports: disk full; no DNS",
        ),
    ],
)
def test_each_fault_is_found_by_itself(wrong: dict[str, Any], name: str, severity: str, told: str) -> None:
    (found,) = find(replace(WELL, **wrong))
    assert (found.name, found.severity) == (name, severity)
    assert told in found.summary


def test_the_worst_comes_first() -> None:
    found = find(replace(WELL, roster_refused="no", silent=silent(2), cleanup="no peer answers", balancer="down"))
    assert [each.severity for each in found] == ["critical"] * 3 + ["warning"] * 2


def test_a_few_silent_nodes_of_a_site_are_an_alert_each_since_their_last_answer() -> None:
    found = find(replace(WELL, silent=silent(2)))
    assert [(each.subject, each.since) for each in found] == [("gcp-1", NOW - 1), ("gcp-2", NOW - 2)]


def test_an_alert_begins_when_its_finding_has_held_and_ends_with_it() -> None:
    alerts, finding = Alerts(), Finding("PeersDiffer", "", "warning", "first", None, 10.0)
    alerts.look([finding], NOW)
    assert alerts.now == []
    alerts.look([finding._replace(summary="second")], NOW + 10)
    told = {"name": "PeersDiffer", "subject": "", "severity": "warning", "summary": "second", "since": NOW}
    assert alerts.now == [told], "the wording may change, and it is the same alert"
    alerts.look([], NOW + 12)
    assert alerts.now == []
    alerts.look([finding], NOW + 14)
    assert alerts.now == [], "it begins anew"


def test_a_clock_that_was_set_back_makes_no_alert_of_the_future() -> None:
    alerts, finding = Alerts(), Finding("CleanupPaused", "", "warning", "no peer answers")
    alerts.look([finding], NOW)
    alerts.look([finding], NOW - 100)
    assert alerts.now[0]["since"] == NOW - 100


def peer(name: str, received: int, sent: int) -> dict[str, PeerState]:
    return {key(name): PeerState(key(name), None, frozenset(), 0, received, sent, None)}


def test_throughput_is_what_was_counted_between_looks_that_are_far_enough_apart() -> None:
    time = Time()
    rates = Rates(time.ticks)
    rates.look(peer("a", 1000, 0))
    time.go(WINDOW_SECONDS / 2)
    rates.look(peer("a", 9000, 0))
    assert rates.of(key("a")) == (0, 0), "too soon"
    time.go(WINDOW_SECONDS / 2)
    rates.look(peer("a", 1000 + 700, 350))
    assert rates.of(key("a")) == (700 / WINDOW_SECONDS, 350 / WINDOW_SECONDS)
    assert rates.of(key("b")) == (0, 0)
    time.go(WINDOW_SECONDS)
    rates.look(peer("a", 10, 20))
    assert rates.of(key("a")) == (0, 0), "a peer that was made anew counts from zero"


def test_the_last_events_are_read_from_the_logs_end_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    recent = Recent(path)
    assert recent.lines() == []
    path.write_text("".join(f'{{"number": {number}, "event": "join", "hash": "00"}}\n' for number in range(3)))
    assert recent.lines() == [{"number": number, "event": "join"} for number in (2, 1, 0)]
    with path.open("a") as file:
        file.writelines(f'{{"number": {number}, "node": "{"n" * 200}"}}\n' for number in range(3, 1000))
        file.write('{"number": 1000, "half')
    assert [line["number"] for line in recent.lines()] == list(range(999, 999 - COUNT, -1))


class Looked:
    """A gateway's overview of two spokes, one of them a laptop's."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        write_config(folder / "config", stack, "gateway", "10.100.0.1:8443")
        (folder / "state").mkdir()
        config = machine.Config(
            "gateway", "gw", (IPv4Address("10.100.0.1"), 8443), stack.public_key, folder / "state", folder / "config"
        )
        self.time, self.wireguard, self.probe = Time(), MemoryWireGuard(), MemoryProbe(rtt=0.02)
        self.network = Network(config, self.wireguard, MemoryFirewall(), self.time.clock, self.time.ticks)
        self.network.load()
        made = roster(spokes=1)
        home = Site("people", "external", IPv4Network("10.100.9.0/24"), "home")
        laptop = Node("laptop", "people", IPv4Address("10.100.9.1"), "spoke", key("laptop"))
        made = replace(
            made, network=replace(made.network, sites=(*made.network.sites, home)), nodes=(*made.nodes, laptop)
        )
        self.network.rosters.offer(*signed(stack, made))
        self.health = Health(self.probe, self.time.ticks)
        self.overview = Overview(self.network, self.health, self.time.clock)
        self.go()

    def go(self, seconds: float = 0.0) -> list[tuple[str, str]]:
        """Let time pass with a look at its end: the alerts that there are then."""
        self.time.go(seconds)
        self.network.reconcile()
        for _ in range(MISSES + 1):
            self.health.round(self.network.addresses())
        self.overview.look(reconciled=0.0, failed_release=None)
        return [(alert["name"], alert["subject"]) for alert in self.status()["alerts"]]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = {"peers": self.network.peer_status(self.health.healthy()), "leases": [], "pools": {}}
        self.overview.tell(found)
        return found


@pytest.fixture
def looked(tmp_path: Path, stack: Stack) -> Looked:
    return Looked(tmp_path, stack)


def test_a_silent_spoke_is_an_alert_and_a_laptop_that_is_closed_is_none(looked: Looked) -> None:
    assert looked.go(SILENT_SECONDS) == [("NodeSilent", "spoke-1")]
    looked.probe.alive.add(IPv4Address("10.100.1.1"))
    assert looked.go(1) == []


def test_a_refused_roster_is_an_alert_unless_anybody_could_have_sent_it(looked: Looked, stack: Stack) -> None:
    looked.probe.alive.add(IPv4Address("10.100.1.1"))
    looked.overview.offered_roster(403, "wrong signature")
    looked.overview.offered_roster(409, "roster 3 is here")
    assert looked.go(1) == []
    looked.overview.offered_roster(400, "this gateway, gw, is not in the roster")
    assert looked.go(1) == [("RosterRefused", "")]
    looked.overview.offered_roster(403, "wrong signature")
    assert looked.go(1) == [("RosterRefused", "")], "a stranger does not end it either"
    looked.overview.offered_roster(201, "taken")
    assert looked.go(1) == []


def test_a_pool_whose_token_was_revoked_is_an_alert_until_it_has_another(looked: Looked, stack: Stack) -> None:
    looked.probe.alive.add(IPv4Address("10.100.1.1"))
    before = looked.network.rosters.kept
    assert before
    site, where = before.roster.network.sites[0].name, IPv4Network("10.100.1.128/25")
    pool = Pool("burst", site, where, 8, token_digest("old"), 300, 600, 8000, "/health")
    looked.network.revocations.add(Revocation("burst-1", 1, (), token=pool.token_sha256))
    for number, token, alerts in ((2, "old", [("PoolBarred", "burst")]), (3, "new", [])):
        made = replace(before.roster, number=number, pools=(replace(pool, token_sha256=token_digest(token)),))
        assert looked.network.rosters.offer(*signed(stack, made))[0] == 201
        assert looked.go(1) == alerts


def test_a_peer_that_the_interface_does_not_keep_is_an_alert(looked: Looked) -> None:
    looked.probe.alive.add(IPv4Address("10.100.1.1"))
    looked.go(1)
    looked.network.observed.pop(key("spoke-1"))
    looked.overview.look(reconciled=0.0)
    looked.time.go(HOLD_SECONDS)
    looked.overview.look(reconciled=0.0)
    (alert,) = looked.status()["alerts"]
    assert (alert["name"], alert["since"]) == ("PeersDiffer", looked.time.wall - HOLD_SECONDS)
    assert "spoke-1" in alert["summary"]


def test_the_status_says_where_nodes_are_and_how_far(looked: Looked) -> None:
    looked.probe.alive.add(IPv4Address("10.100.1.1"))
    looked.go(1)
    found = looked.status()
    laptop, spoke = found["peers"]
    measured: Mapping[str, Any] = {"site": "hetzner", "role": "spoke", "gateway": "gw", "rtt": 0.02}
    assert {name: spoke[name] for name in measured} == measured
    assert (laptop["site"], laptop["rtt"], laptop["rx_rate"], laptop["tx_rate"]) == ("people", None, 0, 0)
    assert found["sites"]["people"]["cloud"] == "external"
    assert found["gateway"] == {"name": "gw", "address": "10.100.0.1", "site": "hetzner"}
    assert found["time"] == looked.time.wall


def test_before_the_first_roster_there_is_an_overview_too(tmp_path: Path, stack: Stack) -> None:
    (tmp_path / "state").mkdir()
    config = machine.Config("gateway", "gw", (IPv4Address("10.100.0.1"), 8443), stack.public_key, tmp_path, tmp_path)
    network, time = Network(config, MemoryWireGuard(), MemoryFirewall()), Time()
    overview = Overview(network, Health(MemoryProbe()), time.clock)
    for _ in range(2):
        overview.look(reconciled=0.0)
        time.go(HOLD_SECONDS)
    found: dict[str, Any] = {"peers": [], "leases": [], "pools": {}}
    overview.tell(found)
    assert [alert["name"] for alert in found["alerts"]] == ["NoRoster"]
