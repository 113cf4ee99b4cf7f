"""How often a pool's machine asks, how soon it looks for its gateway elsewhere, and when it makes room for another.

The agent's clock runs here as fast as the agent waits.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from node.pool import agent as agents
from node.pool.system import TUNNEL
from tests.node.pool_support import TOKEN, Member, Reply
from tests.node.support import GATEWAY_ADDRESS, wait_for

TIMES = {name: getattr(agents, name) for name in ("POLL_SECONDS", "SILENCE_SECONDS", "_SLICE")}
MINUTES = 60.0


class Clock:
    """Stands for the module ``time``. A request that nobody answers costs ``timeout``."""

    timeout = 5.0

    def __init__(self, member: Member) -> None:
        self.now = 1000.0
        self._member = member

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        # So many beats come that they would fill the pipe.
        self._member.beats()


@pytest.fixture
def clock(member: Member, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of ``member``'s agent, which waits as long as on a real machine."""
    made = Clock(member)
    monkeypatch.setattr(agents, "time", made)
    for name, value in TIMES.items():
        monkeypatch.setattr(agents, name, value)
    return made


def note_times(member: Member, clock: Clock) -> list[tuple[str, float]]:
    """The list that gets each request about a join or a lease from now on, with its time."""
    asked: list[tuple[str, float]] = []
    answer: Callable[..., Reply] = member.gateway.answer

    def noting(method: str, path: str, at: str, headers: dict[str, str], body: bytes) -> Reply:
        if path in {"/v1/join", "/v1/lease"}:
            asked.append((path, clock.now))
            if at == GATEWAY_ADDRESS and member.gateway.is_cut:
                clock.now += clock.timeout
        return answer(method, path, at, headers, body)

    member.gateway.answer = noting  # type: ignore[method-assign]
    return asked


def test_a_machine_asks_after_its_lease_about_every_ten_seconds(member: Member, clock: Clock) -> None:
    asked = note_times(member, clock)
    member.start()
    wait_for("a few rounds", lambda: len(asked) > 12)
    member.end()
    gaps = [later - earlier for (_, earlier), (path, later) in pairwise(asked[1:]) if path == "/v1/lease"]
    assert 7.9 < min(gaps) < max(gaps) < 12.3
    assert max(gaps) - min(gaps) > 0.3, "a whole pool would ask at once"


def test_a_gateway_that_lost_everything_is_found_within_half_a_minute(member: Member, clock: Clock) -> None:
    asked = note_times(member, clock)
    member.start()
    wait_for("the network", member.is_member)
    member.gateway.is_cut = True
    count = len(asked)
    wait_for("a join", lambda: any(path == "/v1/join" for path, _ in asked[count:]))
    member.end()
    before = asked[count - 1][1]
    found = next(at for path, at in asked[count:] if path == "/v1/join")
    assert 15 < found - before < 30


def is_off(member: Member) -> bool:
    return "poweroff" in member.system.log


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_machine_that_never_got_in_with_its_old_token_makes_room_for_another(
    member: Member, clock: Clock, cloud: str, capfd: pytest.CaptureFixture[str]
) -> None:
    member.metadata.texts["/computeMetadata/v1/instance/id"] = "42"
    member.gateway.token = "the token after it"
    asked = note_times(member, clock)
    member.start(cloud=cloud)
    wait_for("its end", lambda: is_off(member), 120)
    member.end()
    assert asked[-1][1] - asked[0][1] >= 15 * MINUTES
    assert "its group launches another machine, which gets the present token" in capfd.readouterr().err


def waited(member: Member, clock: Clock) -> None:
    """Half an hour has gone by, and the machine is on."""
    end = clock.now + 30 * MINUTES
    wait_for("half an hour", lambda: clock.now > end, 300)
    assert not is_off(member)


def test_a_machine_of_no_group_goes_on_asking(member: Member, clock: Clock) -> None:
    member.metadata.texts["/hetzner/v1/metadata/instance-id"] = "42"
    member.gateway.token = "the token after it"
    member.start(cloud="hetzner")
    waited(member, clock)
    member.gateway.token = TOKEN
    wait_for("the network", member.is_member)


@pytest.mark.parametrize(
    "refusal", [(403, "proof: the pool asks for one of aws", ""), (503, "the pool is full", ""), (429, "wait", "")]
)
def test_a_machine_that_is_refused_for_anything_else_goes_on_asking(
    member: Member, clock: Clock, refusal: tuple[int, str, str]
) -> None:
    member.gateway.refusal = refusal
    member.start()
    waited(member, clock)


@pytest.mark.parametrize("has_lease", [True, False], ids=["with its lease", "with its tunnel alone"])
def test_a_machine_that_was_in_the_network_once_goes_on_asking(member: Member, clock: Clock, has_lease: bool) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    if not has_lease:
        (member.state / "lease.json").unlink()
    member.gateway.leases.clear()
    member.gateway.token, member.gateway.refusal = "the token after it", (403, "unknown join token", "")
    member.gateway.log.clear()
    member.start()
    wait_for("a refusal", lambda: "refused" in member.gateway.log)
    waited(member, clock)
    assert f"restart {TUNNEL}" in member.system.log
