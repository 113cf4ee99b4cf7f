"""``POST /v1/health``: what machines tell of themselves, and what a gateway makes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from node.control import Reply
from node.gateway.conditions import Conditions
from node.gateway.lease import Refusal
from node.health import outcome
from node.health.outcome import STALE_SECONDS, Outcome
from node.health.reporter import TELL_SECONDS, Reporter
from overlay.model import Node
from tests.node.pools import PUBLIC_ADDRESS, STRANGER, Member, PoolGateway
from tests.node.support import GATEWAY_ADDRESS, Time, roster

SPOKE = "127.0.1.1"


def report(*problems: str, **changes: object) -> bytes:
    return json.dumps({"schema_version": 1, "healthy": not problems, "problems": problems, **changes}).encode()


async def tell(gateway: PoolGateway, source: str, body: bytes, address: str = GATEWAY_ADDRESS) -> int:
    return (await gateway.ask("POST", "/v1/health", body, None, address, source))[0]


async def test_a_spoke_and_a_pools_machine_are_in_the_status_as_they_tell(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    assert member.answer
    assert await tell(gateway, SPOKE, report("wg0 is down\x1b[31m")) == 204
    assert await tell(gateway, member.address, report()) == 204
    found = (await gateway.status())["conditions"]
    at = {name: each.pop("at") for name, each in found.items()}
    assert found == {
        "spoke-1": {"healthy": False, "problems": ["wg0 is down?[31m"]},
        member.answer.name: {"healthy": True, "problems": []},
    }
    assert all(each > 1_700_000_000 for each in at.values())
    assert gateway.service.conditions.healthy() == {"spoke-1": False, member.answer.name: True}
    assert await tell(gateway, SPOKE, report()) == 204
    assert gateway.service.conditions.healthy()["spoke-1"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (report(schema_version=2), 400),
        (report(healthy="yes"), 400),
        (report(problems="wg0"), 400),
        (report(problems=[1]), 400),
        (report(more=1), 400),
        (report(*["x"] * 11), 400),
        (report("x" * 201), 400),
        (report("x" * 20_000), 413),
        (report(*["\x07" * 200] * 10), 204),
    ],
    ids=range(11),
)
async def test_what_is_no_report_changes_nothing(gateway: PoolGateway, body: bytes, status: int) -> None:
    assert await tell(gateway, SPOKE, body) == status
    assert ("spoke-1" in gateway.service.conditions.healthy()) == (status == 204)


async def test_only_nodes_may_tell_and_only_through_the_tunnel(gateway: PoolGateway) -> None:
    for source in (STRANGER, SPOKE):
        assert await tell(gateway, source, report(), PUBLIC_ADDRESS) == 403
    assert await tell(gateway, "127.0.9.9", report()) == 403
    assert await tell(gateway, GATEWAY_ADDRESS, report()) == 403
    assert gateway.service.conditions.healthy() == {}
    seen = [await tell(gateway, SPOKE, report()) for _ in range(15)]
    assert {204, 429} == set(seen)


def spoke(name: str) -> Callable[[IPv4Address], Node]:
    node = replace(roster().nodes[1], name=name)
    return lambda _: node


def test_what_was_told_long_ago_is_forgotten_and_the_gateway_tells_of_itself() -> None:
    time, own = Time(), [None, Outcome(False, ("nginx.service is failed",), 5.0)]
    found = Conditions("gw", lambda: own[0], spoke("spoke-1"), time.clock, time.ticks)
    found.take("10.100.1.1", report("it hurts"))
    assert found.status() == {"spoke-1": {"healthy": False, "problems": ("it hurts",), "at": time.wall}}
    time.go(STALE_SECONDS - 1)
    assert found.healthy() == {"spoke-1": False}
    time.go(2)
    assert found.healthy() == {}
    own.reverse()
    assert found.status() == {"gw": {"healthy": False, "problems": ("nginx.service is failed",), "at": 5.0}}


def test_nobody_tells_for_a_name_that_the_network_has_not() -> None:
    with pytest.raises(Refusal, match="no node has this address"):
        Conditions("gw", lambda: None, lambda _: None).take("10.100.1.1", report())


class Hears:
    """A gateway that answers with ``status``, or not at all."""

    def __init__(self) -> None:
        self.status: int | None = 204
        self.heard: list[Any] = []

    def ask(self, method: str, path: str, body: bytes | None = None) -> Reply:
        if self.status is None:
            raise ConnectionError("nobody there")
        self.heard.append((method, path, json.loads(body or b"")))
        return Reply(self.status, {}, b"")


def test_a_machine_tells_what_is_new_at_once_and_the_same_once_a_minute(tmp_path: Path) -> None:
    time, path, gateway, other = Time(), tmp_path / "run" / "health.json", Hears(), Hears()
    reporter = Reporter(lambda: [gateway, other], threading.Event(), path, time.ticks)
    reporter.turn()
    assert gateway.heard == []
    outcome.write(Outcome(True, (), 1.0), path)
    reporter.turn()
    reporter.turn()
    well = ("POST", "/v1/health", json.loads('{"schema_version": 1, "healthy": true, "problems": []}'))
    assert gateway.heard == [well]
    outcome.write(Outcome(True, (), 31.0), path)
    time.go(TELL_SECONDS - 1)
    reporter.turn()
    assert gateway.heard == [well]
    time.go(1)
    reporter.turn()
    assert gateway.heard == [well] * 2
    outcome.write(Outcome(False, ("wg0 is down",), 61.0), path)
    reporter.turn()
    assert gateway.heard[2][2]["problems"] == ["wg0 is down"]
    assert other.heard == []


def test_who_is_not_heard_tries_again_and_says_so_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, gateway = tmp_path / "run" / "health.json", Hears()
    reporter = Reporter(lambda: [gateway], threading.Event(), path)
    outcome.write(Outcome(True, (), 1.0), path)
    gateway.status = None
    reporter.turn()
    reporter.turn()
    assert capsys.readouterr().err.count("the gateway cannot be told how this machine is: nobody there") == 1
    gateway.status = 404
    reporter.turn()
    assert len(gateway.heard) == 1
    assert capsys.readouterr().err == "", "a gateway of an older release is no problem"
