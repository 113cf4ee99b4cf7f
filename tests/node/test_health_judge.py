"""What is wrong with a machine, from facts; and how often a restart is tried."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node.health.facts import DNS, NGINX, SERVICE, TUNNEL, Facts, Interface, Place, Unit
from node.health.judge import SILENT_SECONDS, STALE_SECONDS, Problem, problems
from node.health.repair import LIMIT, WINDOW_SECONDS, Restarts, repair
from node.wireguard import WireGuardError
from tests.node.support import Time

OWN, GATEWAY, OTHER = IPv4Address("10.100.1.1"), IPv4Address("10.100.0.1"), IPv4Address("10.100.2.254")
ACTIVE = Unit("active", main_pid=7, since=10.0)
STOPPED = Unit("inactive", was_ended=True)
SPOKE = Facts(
    role="spoke",
    is_member=True,
    place=Place(OWN, 1380, {"hetzner-gw": GATEWAY}),
    interface=Interface(is_up=True, addresses=frozenset({OWN}), mtu=1380),
    handshakes={"hetzner-gw": 100.0},
    rtt=0.001,
    units={SERVICE: ACTIVE, TUNNEL: ACTIVE},
    silence=3.0,
    has_rules=True,
    forwards=None,
    failed=None,
)
GATEWAYS = replace(
    SPOKE,
    role="gateway",
    place=Place(GATEWAY, 1380, {"aws-gw": OTHER}),
    interface=Interface(is_up=True, addresses=frozenset({GATEWAY}), mtu=1380),
    handshakes={"aws-gw": 100.0},
    rtt=None,
    units={SERVICE: ACTIVE, TUNNEL: ACTIVE, NGINX: ACTIVE, DNS: ACTIVE},
    forwards=True,
)
POOL = replace(SPOKE, role="pool")


@pytest.mark.parametrize("facts", [SPOKE, GATEWAYS, POOL], ids=["spoke", "gateway", "pool"])
def test_nothing_is_wrong_with_a_machine_that_is_well(facts: Facts) -> None:
    assert problems(facts) == []
    assert problems(replace(facts, handshakes=dict.fromkeys(facts.handshakes, STALE_SECONDS), silence=None)) == []


@pytest.mark.parametrize(
    ("facts", "says", "unit"),
    [
        (replace(SPOKE, interface=None), "wg0 is gone", TUNNEL),
        (replace(GATEWAYS, interface=None), "wg0 is gone", TUNNEL),
        (replace(POOL, interface=None), "wg0 is gone", None),
        (replace(SPOKE, interface=Interface(False, frozenset({OWN}), 1380)), "wg0 is down", TUNNEL),
        (replace(SPOKE, interface=Interface(True, frozenset(), 1380)), "wg0 has not the address 10.100.1.1", TUNNEL),
        (replace(SPOKE, interface=Interface(True, frozenset({OWN}), 8921)), "MTU 8921 and not 1380", None),
        (replace(SPOKE, handshakes={}), "no peer for hetzner-gw at 10.100.0.1", None),
        (replace(SPOKE, handshakes={"hetzner-gw": math.inf}), "no handshake with hetzner-gw yet", None),
        (replace(SPOKE, handshakes={"hetzner-gw": 181.0}), "no handshake with hetzner-gw for 181 s", None),
        (replace(SPOKE, rtt=None), "hetzner-gw at 10.100.0.1 does not answer pings", None),
        (replace(SPOKE, units={**SPOKE.units, SERVICE: Unit("failed", "exit-code")}), "is failed", SERVICE),
        (replace(SPOKE, units={**SPOKE.units, SERVICE: Unit("inactive")}), "is inactive", SERVICE),
        (replace(SPOKE, silence=SILENT_SECONDS + 1), "hybridnet.service hangs: nothing was heard", SERVICE),
        (replace(GATEWAYS, units={**GATEWAYS.units, NGINX: Unit("failed", "exit-code")}), "nginx.service is", NGINX),
        (replace(GATEWAYS, units={**GATEWAYS.units, DNS: Unit("failed", "signal")}), "hybridnet-dns.service is", DNS),
        (replace(GATEWAYS, has_rules=False), "table hybridnet is gone", None),
        (replace(GATEWAYS, forwards=False), "does not forward", None),
        (replace(POOL, is_member=False, interface=None), "has not joined its pool yet", None),
    ],
)
def test_what_is_wrong_is_said_once_with_what_may_mend_it(facts: Facts, says: str, unit: str | None) -> None:
    (found,) = problems(facts)
    assert says in found.text
    assert found.unit == unit
    assert found.is_grave


@pytest.mark.parametrize("unit", [SERVICE, TUNNEL, NGINX])
def test_what_somebody_has_stopped_is_told_and_left_alone(unit: str) -> None:
    facts = replace(GATEWAYS, units={**GATEWAYS.units, unit: STOPPED}, silence=None)
    if unit == TUNNEL:
        facts = replace(facts, interface=None)
    (found,) = problems(facts)
    assert found == Problem(f"{unit} was stopped: `systemctl start {unit}`")


@pytest.mark.parametrize("unit", [SERVICE, TUNNEL, NGINX])
def test_what_systemd_is_about_to_start_or_stop_is_left_to_it(unit: str) -> None:
    facts = replace(GATEWAYS, units={**GATEWAYS.units, unit: Unit("inactive", has_job=True)})
    (found,) = problems(replace(facts, interface=None) if unit == TUNNEL else facts)
    assert found.unit is None
    stopping = ACTIVE._replace(state="deactivating", has_job=True)
    facts = replace(GATEWAYS, units={**GATEWAYS.units, SERVICE: stopping}, silence=SILENT_SECONDS + 1)
    (found,) = problems(facts)
    assert (found.unit, "hangs" in found.text) == (None, True)


def test_a_gateway_is_well_though_another_one_is_not_and_so_is_whoever_left_a_bad_release() -> None:
    (found,) = problems(replace(GATEWAYS, handshakes={"aws-gw": 500.0}))
    assert (found.is_grave, "aws-gw for 500 s" in found.text) == (False, True)
    (found,) = problems(replace(POOL, has_failed_setup=True))
    assert (found.is_grave, "journalctl -u hybridnet-setup" in found.text) == (False, True)
    (found,) = problems(replace(SPOKE, failed=(8, "it hung for 25 s")))
    assert (found.is_grave, found.text) == (False, "release 8 failed here and an older one runs: it hung for 25 s")


HANGS, GONE, OLD = Problem("it hangs", SERVICE), Problem("it is gone", TUNNEL), Problem("it is old")


def test_each_unit_is_restarted_once_and_only_what_a_restart_may_mend(tmp_path: Path) -> None:
    restarted: list[str] = []
    said = repair([HANGS, GONE, OLD, HANGS], Restarts(tmp_path / "restarts.json"), restarted.append)
    assert restarted == [SERVICE, TUNNEL]
    assert said == [f"{SERVICE} was restarted", f"{TUNNEL} was restarted"]
    assert repair([OLD], Restarts(tmp_path / "restarts.json"), restarted.append) == []


def test_restarts_have_a_limit_for_each_unit_in_an_hour_whoever_counts(tmp_path: Path) -> None:
    time, restarted = Time(), list[str]()

    def once(problem: Problem) -> list[str]:
        return repair([problem], Restarts(tmp_path / "restarts.json", time.clock), restarted.append)

    for _ in range(LIMIT):
        once(HANGS)
        time.go(60)
    (said,) = once(HANGS)
    assert restarted == [SERVICE] * LIMIT
    assert said == f"{SERVICE} was restarted {LIMIT} times within an hour and is not again: look at its journal"
    once(GONE)
    assert restarted[-1] == TUNNEL
    time.go(WINDOW_SECONDS - 60 * LIMIT)
    once(HANGS)
    assert restarted.count(SERVICE) == LIMIT + 1
    once(HANGS)
    assert restarted.count(SERVICE) == LIMIT + 1


def test_a_restart_is_counted_before_it_is_tried_and_one_that_fails_is_told(tmp_path: Path) -> None:
    path = tmp_path / "restarts.json"

    def fails(unit: str) -> None:
        assert unit in path.read_text()
        raise WireGuardError("systemctl restart: no")

    (said,) = repair([HANGS], Restarts(path), fails)
    assert said == f"{SERVICE} cannot be restarted: systemctl restart: no"


@pytest.mark.parametrize("text", ["no JSON", '{"schema_version": 1, "restarts": [1]}', '{"schema_version": 9}'])
def test_a_file_of_restarts_that_cannot_be_read_is_put_aside(tmp_path: Path, text: str) -> None:
    path = tmp_path / "restarts.json"
    path.write_text(text)
    assert Restarts(path).take(SERVICE)
    assert (tmp_path / "restarts.json.corrupt").read_text() == text


def test_a_clock_that_went_back_does_not_bar_restarts_for_ever(tmp_path: Path) -> None:
    time = Time()
    for _ in range(LIMIT):
        Restarts(tmp_path / "restarts.json", time.clock).take(SERVICE)
    time.wall -= 10 * WINDOW_SECONDS
    assert Restarts(tmp_path / "restarts.json", time.clock).take(SERVICE)
