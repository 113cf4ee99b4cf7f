"""The pool machine's way out: notices, the user's drain hook, and the difference between a restart and a shutdown."""

from __future__ import annotations

import json

import pytest

from node.pool import agent as agents
from node.pool.drain import QUIET_LOOKS
from node.pool.system import DRAIN
from node.pool.watch import Watcher
from node.pool.watch.hetzner import Hetzner
from node.pool.watch.metadata import Metadata
from tests.node.pool_support import AWS, Member
from tests.node.support import wait_for

ACTION = f"{AWS}spot/instance-action"
TARGET = f"{AWS}autoscaling/target-lifecycle-state"
REBALANCE = f"{AWS}events/recommendations/rebalance"
SPOT = '{"action": "terminate", "time": "2120-01-01T00:00:00Z"}'


def test_a_spot_notice_drains_runs_the_hook_and_leaves_in_this_order(member: Member) -> None:
    (member.files / "drain").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[ACTION] = SPOT
    wait_for("the hook", lambda: f"start {DRAIN}" in member.system.log)
    drained = 'patch {"reason": "spot interruption (terminate)", "state": "draining"}'
    assert member.gateway.said() == ["join", drained]
    member.beats()
    wait_for("a beat while the hook works", lambda: member.beats() > 0)
    assert len(member.gateway.leases) == 1
    member.system.finish_drain()
    wait_for("the leave", lambda: not member.gateway.leases)
    assert member.gateway.said() == ["join", drained, "leave spot interruption (terminate)"]
    assert "poweroff" not in member.system.log


def left(member: Member) -> bool:
    path = member.state / "departure.json"
    return path.exists() and bool(json.loads(path.read_text())["left"])


def test_a_machine_that_left_stays_out_until_its_next_boot(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[ACTION] = SPOT
    wait_for("the leave", lambda: left(member))
    member.end()
    member.gateway.log.clear()
    del member.metadata.texts[ACTION]
    asked = len(member.metadata.asked)
    member.start()
    wait_for("a few rounds", lambda: len(member.metadata.asked) > asked + 12 and member.beats() > 0)
    member.end()
    assert member.gateway.log == []
    member.system.reboot()
    member.start()
    wait_for("the network", member.is_member)


def test_a_hook_that_takes_too_long_does_not_keep_the_machine(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.pool.watch.aws.DRAIN_SECONDS", 0.5)
    (member.files / "drain").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[ACTION] = SPOT
    wait_for("the leave", lambda: left(member))
    assert member.system.states[DRAIN] == "activating"


def test_a_new_agent_goes_on_with_a_departure_and_starts_no_second_hook(member: Member) -> None:
    (member.files / "drain").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[ACTION] = SPOT
    wait_for("the hook", lambda: f"start {DRAIN}" in member.system.log)
    member.end()
    assert len(member.gateway.leases) == 1
    del member.metadata.texts[ACTION]
    member.system.finish_drain()
    member.start()
    wait_for("the leave", lambda: left(member))
    assert member.gateway.said()[-1] == "leave spot interruption (terminate)"
    assert member.system.log.count(f"start {DRAIN}") == 1


def test_a_termination_by_the_group_ends_with_the_machine_powered_off(member: Member) -> None:
    member.metadata.texts[TARGET] = "InService"
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[TARGET] = "Terminated"
    wait_for("the end", lambda: "poweroff" in member.system.log)
    assert member.gateway.said()[1:] == [
        'patch {"reason": "terminated by its auto-scaling group", "state": "draining"}',
        "leave terminated by its auto-scaling group",
    ]


@pytest.mark.parametrize("has_hook", [False, True])
def test_a_machine_whose_gateway_is_gone_powers_off_when_its_time_is_over(
    member: Member, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], has_hook: bool
) -> None:
    monkeypatch.setattr("node.pool.watch.aws.DRAIN_SECONDS", 0.5)
    if has_hook:
        (member.files / "drain").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.gateway.is_cut = True
    member.metadata.texts[TARGET] = "Terminated"
    wait_for("the end", lambda: member.system.log.count("poweroff") > 3)
    assert capfd.readouterr().err.count("cannot leave") == 1
    assert not left(member)
    member.gateway.is_cut = False
    wait_for("the leave", lambda: left(member))
    assert not member.gateway.leases


def test_a_machine_leaves_when_its_last_request_has_ended(member: Member) -> None:
    member.gateway.serving_port = 8000
    member.system.requests = 1
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[ACTION] = SPOT
    wait_for("a few looks", lambda: len(member.system.looks) > 2 * QUIET_LOOKS)
    assert member.gateway.said()[1:] == ['patch {"reason": "spot interruption (terminate)", "state": "draining"}']
    looks = len(member.system.looks)
    member.system.requests = 0
    wait_for("the leave", lambda: left(member))
    assert set(member.system.looks) == {8000}
    assert len(member.system.looks) >= looks + QUIET_LOOKS - 1, "one look may have come between the two lines"


def test_a_machine_does_not_leave_while_the_gateway_may_still_send_requests(member: Member) -> None:
    member.gateway.serving_port = 8000
    member.gateway.is_full = True
    member.start()
    wait_for("the first round", lambda: "get" in member.gateway.log)
    member.metadata.texts[ACTION] = SPOT
    wait_for("a few tries", lambda: member.gateway.turned_down > 2 * QUIET_LOOKS)
    assert member.gateway.said() == ["join"]
    member.gateway.is_full = False
    wait_for("the leave", lambda: left(member))
    assert len(member.system.looks) >= QUIET_LOOKS


def test_requests_that_do_not_end_are_not_waited_for_beyond_the_notice(
    member: Member, capfd: pytest.CaptureFixture[str]
) -> None:
    member.gateway.serving_port = 8000
    member.system.requests = 1
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[ACTION] = '{"action": "terminate", "time": "2020-01-01T00:00:00Z"}'
    wait_for("the leave", lambda: left(member))
    assert "requests are still at work, but the time is over" in capfd.readouterr().err


def test_a_machine_at_risk_gets_less_to_do_and_stays(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[REBALANCE] = '{"noticeTime": "2026-11-05T08:22:00Z"}'
    wait_for("less weight", lambda: len(member.gateway.said()) > 1)
    asked = len(member.gateway.log)
    wait_for("a few rounds", lambda: len(member.gateway.log) > asked + 3)
    assert member.gateway.said() == [
        "join",
        'patch {"reason": "the cloud may take the machine before long", "weight": 10}',
    ]
    assert [lease["state"] for lease in member.gateway.leases.values()] == ["active"]


def test_a_machine_at_risk_says_so_without_waiting_for_its_next_round(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "POLL_SECONDS", 3600.0)
    member.start()
    wait_for("the first round", lambda: "get" in member.gateway.log)
    member.metadata.texts[REBALANCE] = '{"noticeTime": "2026-11-05T08:22:00Z"}'
    wait_for("less weight", lambda: len(member.gateway.said()) > 1)


def test_a_restart_of_the_service_leaves_nothing(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    assert member.gateway.said() == ["join"]
    assert len(member.gateway.leases) == 1


def test_the_machines_shutdown_drains_runs_the_hook_and_leaves(member: Member) -> None:
    (member.files / "drain").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.system.stopping = True
    assert member.agent is not None
    member.agent.terminated = True
    wait_for("the hook", lambda: f"start {DRAIN}" in member.system.log)
    assert member.gateway.said() == ["join", 'patch {"reason": "the machine shuts down", "state": "draining"}']
    member.system.finish_drain()
    wait_for("the end", member.ends)
    assert member.gateway.said()[2:] == ["leave the machine shuts down"]
    member.end()
    member.gateway.log.clear()
    member.system.reboot()
    member.system.stopping = False
    member.start()
    wait_for("the network", member.is_member)
    assert member.gateway.log[0] == "join", "it asked through the tunnel for a lease that it had given back"
    assert member.gateway.requests[1].ticket is not None


def test_a_shutdown_in_the_middle_of_a_notice_shortens_the_drain(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SHUTDOWN_SECONDS", 0.5)
    (member.files / "drain").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.metadata.texts[ACTION] = SPOT
    wait_for("the hook", lambda: f"start {DRAIN}" in member.system.log)
    member.system.stopping = True
    member.end()
    assert not member.gateway.leases


def test_the_gateway_hears_of_the_drain_and_the_leave_as_soon_as_it_answers(member: Member) -> None:
    (member.files / "drain").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.gateway.is_cut = True
    member.metadata.texts[ACTION] = SPOT
    wait_for("the hook", lambda: f"start {DRAIN}" in member.system.log)
    member.gateway.is_cut = False
    wait_for("the news", lambda: [each["state"] for each in list(member.gateway.leases.values())] == ["draining"])
    member.gateway.is_cut = True
    member.system.finish_drain()
    member.beats()
    wait_for("beats", lambda: member.beats() > 0)
    assert member.gateway.leases
    member.gateway.is_cut = False
    wait_for("the leave", lambda: left(member))
    assert not member.gateway.leases


def test_a_shutdown_by_the_cloud_is_told_with_its_reason(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    member.start()
    wait_for("the network", member.is_member)
    assert member.agent is not None
    monkeypatch.setattr(member.agent, "_watcher", Watcher(Hetzner(Metadata()), member.agent.stop))
    member.metadata.texts[ACTION] = SPOT
    member.system.stopping = True
    member.end()
    assert member.gateway.said()[-1] == "leave spot interruption (terminate)"
