"""Which direct links are up, and when both ends try one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.links import PERIOD_SECONDS, TRY_SECONDS, LinkWatch, Partner, Sight, in_window
from node.wireguard import PeerState
from overlay.model import LINK_KEEPALIVE
from tests.node.support import Time, key

THERE = Partner(key("there"), "203.0.113.1:51820")
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


@dataclass
class End:
    """One end of a link with ``there``, looked at every second."""

    time: Time = field(default_factory=Time)
    partners: dict[str, Partner] = field(default_factory=lambda: {"there": THERE})
    handshake: float = 0.0
    received: int = 0
    is_peer: bool = True

    def __post_init__(self) -> None:
        self.watch = LinkWatch("here", self.time.clock, self.time.ticks)

    def look(self) -> Sight:
        state = PeerState(
            THERE.public_key, THERE.endpoint, frozenset(), int(self.handshake), self.received, 0, LINK_KEEPALIVE
        )
        return self.watch.look({THERE.public_key: state} if self.is_peer else {}, self.partners)

    def shake(self) -> None:
        self.handshake, self.received = self.time.wall, self.received + 148

    def go(self, seconds: int, every: int = 0) -> list[bool]:
        """Whether the link was up at each look; something comes every so many seconds."""
        found: list[bool] = []
        for second in range(1, seconds + 1):
            self.time.go(1)
            if every and second % every == 0:
                self.received += 32
            found.append("there" in self.look().up)
        return found

    def connected(self) -> End:
        self.look()
        self.time.go(1)
        self.shake()
        assert self.look().up == {"there"}
        return self


def test_a_link_is_up_from_its_handshake_on() -> None:
    end = End()
    assert end.look() == Sight(frozenset(), frozenset({"there"}))
    end.time.go(1)
    assert end.look().up == frozenset(), "a peer alone is no link"
    end.shake()
    assert end.look() == Sight(frozenset({"there"}), frozenset())


@given(st.integers(0, LINK_KEEPALIVE - 1), st.integers(30, 400))
def test_a_link_with_its_keepalives_does_not_flap(offset: int, seconds: int) -> None:
    end = End().connected()
    end.go(offset)
    assert all(end.go(seconds % 100, LINK_KEEPALIVE))
    for _ in range(seconds // 100):
        end.shake()
        assert all(end.go(100, LINK_KEEPALIVE))


@given(st.integers(1, 60))
def test_a_link_that_goes_silent_is_down_after_ten_or_eleven_seconds(seconds: int) -> None:
    end = End().connected()
    end.go(seconds, 1)
    silent = end.go(20)
    assert silent.index(False) + 1 in (10, 11)
    assert not any(silent[silent.index(False) :])


def test_bytes_under_an_old_handshake_are_no_link() -> None:
    end = End().connected()
    found = end.go(200, 1)
    assert found.index(False) + 1 == 180


def test_a_new_process_takes_a_link_that_is_at_work_for_up_until_silence_shows() -> None:
    before = End().connected()
    before.go(60, 4)
    after = End(before.time, handshake=before.handshake, received=before.received)
    assert after.look().up == {"there"}
    silent = after.go(20)
    assert silent.index(False) + 1 in (9, 10, 11)
    old = End(before.time, handshake=before.time.wall - 190, received=before.received)
    assert old.look().up == frozenset()


def test_a_clock_that_is_set_breaks_no_link() -> None:
    end = End().connected()
    end.time.wall += 86400
    assert all(end.go(60, 4))
    end.time.wall -= 2 * 86400
    assert all(end.go(60, 4))


def test_a_peer_that_went_and_came_again_is_up_only_with_another_handshake() -> None:
    end = End().connected()
    end.is_peer = False
    assert end.look().up == frozenset()
    end.go(12)
    end.is_peer, end.handshake, end.received = True, 0.0, 0
    assert end.look().up == frozenset()
    end.received = 148
    assert end.look().up == frozenset(), "bytes of a handshake that did not succeed"
    end.shake()
    assert end.look().up == {"there"}


def tries(end: End, seconds: int) -> list[bool]:
    found: list[bool] = []
    for _ in range(seconds):
        found.append("there" in end.look().trying)
        end.time.go(1)
    return found


@given(st.integers(0, PERIOD_SECONDS))
def test_a_partner_is_tried_at_once_when_it_appears_or_can_be_called_elsewhere(start: int) -> None:
    end = End()
    end.time.go(start)
    assert all(tries(end, int(TRY_SECONDS)))
    end.time.go(100 * PERIOD_SECONDS)
    end.look()
    end.partners["there"] = THERE._replace(endpoint="203.0.113.2:51820")
    assert all(tries(end, int(TRY_SECONDS)))
    end.time.go(100 * PERIOD_SECONDS)
    end.partners["there"] = Partner(key("another"), "203.0.113.2:51820")
    assert all(tries(end, int(TRY_SECONDS)))


def test_a_link_that_broke_is_tried_in_its_windows_and_given_up_only_with_its_partner() -> None:
    end = End().connected()
    end.go(30)
    found = tries(end, 10 * PERIOD_SECONDS)
    assert found.count(True) == 10 * TRY_SECONDS
    end.partners.clear()
    assert end.look() == Sight(frozenset(), frozenset())


@given(NAMES, NAMES, st.floats(0, 1e10))
def test_both_ends_try_at_the_same_time(one: str, other: str, wall: float) -> None:
    assert in_window(one, other, wall) == in_window(other, one, wall)
    time = Time()
    time.wall = wall
    ends = [LinkWatch(name, time.clock, time.ticks) for name in (one, other)]
    found: list[list[bool]] = [[], []]
    for _ in range(int(TRY_SECONDS) + 2 * PERIOD_SECONDS):
        for end, name, seen in zip(ends, (other, one), found, strict=True):
            seen.append(name in end.look({}, {name: THERE}).trying)
        time.go(1)
    assert found[0] == found[1]
    assert 0 < sum(found[0][-PERIOD_SECONDS:]) < PERIOD_SECONDS


@given(NAMES, NAMES, st.floats(0, 1e10))
def test_in_any_period_there_is_one_window_of_twelve_seconds(one: str, other: str, wall: float) -> None:
    inside = [in_window(one, other, wall + second / 4) for second in range(4 * PERIOD_SECONDS)]
    assert inside.count(True) == pytest.approx(4 * TRY_SECONDS, abs=1)


def test_not_all_pairs_try_at_once() -> None:
    begins = {
        next(second for second in range(60) if in_window("hub", f"node-{number}", second) and second >= 12)
        for number in range(100)
    }
    assert len(begins) > PERIOD_SECONDS / 3
