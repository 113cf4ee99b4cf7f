"""Pushes to several gateways, of which some are away, late, refuse, or hold more than the others."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from components import release
from components.control import ControlPlane, Held, PushError, Status
from components.push import ReleaseProvider, RosterProvider
from tests.components.gateways import SIGNING_KEY, Gateway, Time, ca_pem, inputs_of, node, serving

SECOND = node("10.100.3.254", "9Yk0+6ty0JmGUC8YoaRUeIvHsxYZ6OPN+gSkHgBLKRE=", "gateway", "192.0.2.2:51820")
Both = tuple[Gateway, Gateway]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    with ExitStack() as stack:
        yield (
            stack.enter_context(serving(Gateway(), tmp_path)),
            stack.enter_context(serving(Gateway(), tmp_path)),
        )


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL at which nobody answers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"https://127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def time() -> Time:
    return Time()


def machines(first: Gateway, second: Gateway | str) -> dict[str, dict[str, str]]:
    url = second if isinstance(second, str) else second.url
    return {"gw": {"url": first.url, "serverId": "7"}, "gw-b": {"url": url, "serverId": "8"}}


def roster(first: Gateway, second: Gateway | str) -> dict[str, Any]:
    """A roster's inputs for two gateways and a spoke."""
    inputs = inputs_of(first, gateways=machines(first, second))
    inputs["network"]["sites"]["gcp"] = {"cloud": "gcp", "subnet": "10.100.3.0/24", "region": "europe-west3"}
    inputs["nodes"]["gw-b"] = {**SECOND, "site": "gcp"}
    return inputs


def released(first: Gateway, second: Gateway) -> dict[str, Any]:
    return {
        "sha256": release.build().sha256,
        "gateways": machines(first, second),
        "ca": ca_pem(),
        "signingKey": SIGNING_KEY,
    }


def holds(gateway: Gateway) -> Held | None:
    return Held(gateway.roster["number"], gateway.roster["content"]) if gateway.roster else None


def test_both_hold_the_same(both: Both, time: Time) -> None:
    state = RosterProvider().push(roster(*both), None, time.patience())
    assert [holds(gateway) for gateway in both] == [Held(1, state["digest"])] * 2
    assert set(state["gateway_keys"]) == {"gw", "gw-b"}
    assert not time.said


def test_a_dead_gateway_keeps_nothing_from_the_others(both: Both, nobody: str, time: Time) -> None:
    living, _ = both
    with pytest.raises(PushError, match=r"^gw-b at .*waited 600 s.*\nEvery other gateway was told\.$"):
        RosterProvider().push(roster(living, nobody), Held(4, "before"), time.patience())
    held = holds(living)
    assert held is not None
    assert held.number == 5
    assert time.said[0] == "gw-b: no answer yet; the other gateways were told"
    again = RosterProvider().push(roster(*both), Held(4, "before"), time.patience())
    assert [holds(gateway) for gateway in both] == [Held(again["number"], held.digest)] * 2


def test_the_others_are_told_before_a_late_one_is_waited_for(both: Both, time: Time) -> None:
    first, late = both
    late.answers_before = [(503, {"reason": "boots"})] * 31
    took: list[tuple[str, float]] = []
    first.on_put = lambda _kind, _number: took.append(("gw", time.now))
    late.on_put = lambda _kind, _number: took.append(("gw-b", time.now))
    state = RosterProvider().push(roster(first, late), None, time.patience())
    assert took == [("gw", 0), ("gw-b", 30)]
    assert holds(first) == holds(late) == Held(1, state["digest"])


def test_all_are_told_again_when_a_late_one_holds_a_higher_number(both: Both, time: Time) -> None:
    first, late = both
    late.answers_before = [(503, {"reason": "boots"})]
    late.roster = {"number": 41, "sha256": "x", "content": "theirs"}
    state = RosterProvider().push(roster(first, late), Held(3, "before"), time.patience())
    assert state["number"] == 42
    assert holds(first) == holds(late) == Held(42, state["digest"])


def test_a_late_one_that_holds_the_same_disturbs_nobody(both: Both, time: Time) -> None:
    first, late = both
    state = RosterProvider().push(roster(first, late), None, time.patience())
    late.answers_before = [(503, {"reason": "boots"})]
    again = RosterProvider().push(roster(first, late), Held(1, state["digest"]), time.patience())
    assert again["number"] == 1
    assert first.puts == late.puts == [("roster", 1)] * 2


def test_one_that_refuses_keeps_nothing_from_the_others(both: Both, time: Time) -> None:
    """It comes first by name, and was made with another stack's keys."""
    stranger, other = both
    stranger.key = "9Yk0+6ty0JmGUC8YoaRUeIvHsxYZ6OPN+gSkHgBLKRE="
    with pytest.raises(PushError, match=r"^gw refused /v1/roster: .*\nEvery other gateway was told\.$"):
        RosterProvider().push(roster(stranger, other), None, time.patience())
    assert holds(stranger) is None
    assert holds(other) is not None
    assert time.now == 0, "waiting would not help"


def test_everything_that_went_wrong_is_said(both: Both, nobody: str, time: Time) -> None:
    stranger, _ = both
    stranger.key = "9Yk0+6ty0JmGUC8YoaRUeIvHsxYZ6OPN+gSkHgBLKRE="
    with pytest.raises(PushError) as failed:
        RosterProvider().push(roster(stranger, nobody), None, time.patience())
    refused, silent = str(failed.value).splitlines()
    assert refused.startswith("gw refused")
    assert silent.startswith("gw-b at ")


def test_a_gateway_that_was_told_before_is_waited_for_as_long_as_a_boot_takes(
    both: Both, nobody: str, time: Time
) -> None:
    inputs = roster(both[0], nobody)
    with pytest.raises(PushError, match=r"gw-b at .*waited 120 s"):
        RosterProvider().push(inputs, None, time.patience(), before=inputs["gateways"])
    assert 120 <= time.now < 125


def test_a_gateway_made_anew_has_the_time_of_a_first_boot(both: Both, nobody: str, time: Time) -> None:
    inputs = roster(both[0], nobody)
    before = {**inputs["gateways"], "gw-b": {"url": nobody, "serverId": "6"}}
    with pytest.raises(PushError, match=r"gw-b at .*waited 600 s"):
        RosterProvider().push(inputs, None, time.patience(), before=before)


def test_a_release_that_one_cannot_run_runs_on_the_others(both: Both, time: Time) -> None:
    broken, other = both
    broken.release, broken.newest_release = {"number": 1, "sha256": "before"}, 1
    broken.runs_what_it_takes = False
    with pytest.raises(PushError, match=r"^gw went back from release 2: .*\nEvery other gateway was told\.$"):
        ReleaseProvider().push(released(broken, other), None, time.patience())
    assert other.release == {"number": 2, "sha256": release.build().sha256}


def test_a_late_one_with_other_content_under_the_same_number_gets_a_higher_one(both: Both, time: Time) -> None:
    """As after an update that failed because the first was away, and an edit since."""
    first, late = both
    first.roster = {"number": 3, "sha256": "x", "content": "before"}
    late.roster = {"number": 4, "sha256": "y", "content": "half told"}
    late.answers_before = [(503, {"reason": "boots"})]
    state = RosterProvider().push(roster(first, late), Held(3, "before"), time.patience())
    assert state["number"] == 5
    assert holds(first) == holds(late) == Held(5, state["digest"])


def test_one_that_refuses_twice_is_named_once(both: Both, time: Time) -> None:
    stranger, late = both
    stranger.key = "9Yk0+6ty0JmGUC8YoaRUeIvHsxYZ6OPN+gSkHgBLKRE="
    late.answers_before = [(503, {"reason": "boots"})]
    late.roster = {"number": 41, "sha256": "x", "content": "theirs"}
    with pytest.raises(PushError) as failed:
        RosterProvider().push(roster(stranger, late), None, time.patience())
    refused, others = str(failed.value).splitlines()
    assert refused.startswith("gw refused")
    assert others == "Every other gateway was told."
    assert time.said[0] == "gw-b: no answer yet; not every other one was told"


def test_one_that_takes_it_when_all_are_told_again_has_not_failed(both: Both, time: Time) -> None:
    """Its first answer is its status, and the second a refusal that passes."""
    first, late = both
    first.answers_before = [(200, first.status()), (409, {"reason": "busy"})]
    late.answers_before = [(503, {"reason": "boots"})]
    late.roster = {"number": 41, "sha256": "x", "content": "theirs"}
    state = RosterProvider().push(roster(first, late), None, time.patience())
    assert holds(first) == holds(late) == Held(42, state["digest"])


def test_what_keeps_it_from_all_is_said_once(both: Both, time: Time) -> None:
    with pytest.raises(PushError) as failed:
        ReleaseProvider().push({**released(*both), "sha256": "of another day"}, None, time.patience())
    (line,) = str(failed.value).splitlines()
    assert line.startswith("node/ or overlay/ changed")


def test_many_are_told_at_the_same_time(both: Both, time: Time) -> None:
    """Each waits until all are being told: more than the threads that a pool of this host's size would have."""
    first, _ = both
    everybody = threading.Barrier(40, timeout=120)
    inputs = inputs_of(first)
    inputs["gateways"] = {f"gw-{index}": {"url": first.url, "serverId": str(index)} for index in range(40)}

    class Waits(RosterProvider):
        def send(self, plane: ControlPlane, status: Status, props: Mapping[str, Any], number: int) -> None:
            everybody.wait()

        def digest(self, props: Mapping[str, Any]) -> str:
            return "content"

        def told(self, props: Mapping[str, Any], statuses: Mapping[str, Status]) -> dict[str, Any]:
            return {}

    assert Waits().push(inputs, None, time.patience())["number"] == 1
