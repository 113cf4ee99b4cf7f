"""What a release does for the case that it, or the next one, is bad."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from node import follow, release, stage0
from node.config import Config
from node.control import ControlPlane, Reply
from node.trust.trust import Trust
from node.workers import HUNG_SECONDS, Workers
from tests.node.support import Stack, Time, archive, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "releases"
    place.mkdir()
    monkeypatch.setattr(stage0, "RELEASES", place)
    return place


def install(stack: Stack, number: int, main: str) -> bytes:
    body = archive({"node/__init__.py": "", "node/__main__.py": main})
    assert stage0.store(stack.public_key, stack.release_headers(number, body), body)[0] == 201
    return body


def test_a_self_check_that_hangs_has_failed_before_long(
    releases: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert release.CHECK_SECONDS < 30, "the machine is to be done with a bad release by then"
    monkeypatch.setattr(release, "CHECK_SECONDS", 3.0)
    install(stack, 2, "import time; time.sleep(600)")
    trial = release.Trial(2, "spoke")
    assert trial.passed() is None
    wait_for("the verdict", lambda: trial.passed() is False)
    assert release.newer_than(1) is None
    assert release.failed() == (2, "its self-check hung for 3 s")


def test_a_self_check_that_ends_with_the_service_says_nothing_of_the_release(releases: Path, stack: Stack) -> None:
    for number, signal, is_left in ((2, "SIGTERM", 2), (3, "SIGSEGV", 2)):
        install(stack, number, f"import os, signal; os.kill(os.getpid(), signal.{signal})")
        trial = release.Trial(number, "spoke")
        wait_for("the verdict", lambda trial=trial: trial.passed() is False)
        assert release.newer_than(1) == is_left
    assert release.failed() == (3, "its self-check ended with status -11")


def test_an_older_release_that_stage_0_went_back_to_does_not_give_way_again(releases: Path, stack: Stack) -> None:
    for number in (1, 2, 3, 4):
        install(stack, number, "")
    (releases / "3" / "bad").write_text("its own reason")
    release.leave_newer(2)
    assert not stage0.has(1, "bad")
    assert not stage0.has(2, "bad")
    assert (releases / "3" / "bad").read_text() == "its own reason"
    assert release.failed() == (4, "it kept ending soon after it was healthy")
    assert release.newer_than(2) is None


class Answers:
    """A gateway that runs a release, and counts how often it hands it out."""

    def __init__(self, stack: Stack, number: int, body: bytes) -> None:
        self.handed_out = 0
        self._stack = stack
        self._number = number
        self._body = body

    def ask(self, method: str, path: str, *, limit: int, beat: Callable[[], None]) -> Reply:
        del method, limit
        beat()
        if path == "/v1/status?brief":
            return Reply(200, {}, b'{"release": {"number": %d}}' % self._number)
        self.handed_out += 1
        return Reply(200, self._stack.release_headers(self._number, self._body), self._body)


def test_a_release_that_failed_here_is_not_fetched_again(
    tmp_path: Path, releases: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "ASK_SECONDS", 0.01)
    install(stack, 1, "")
    gateway = Answers(stack, 2, archive({"node/__init__.py": "", "node/__main__.py": "raise SystemExit(3)"}))
    config = cast("Config", type("Config", (), {"role": "spoke"}))
    trust, stop = Trust(tmp_path, tmp_path, stack.public_key), threading.Event()
    rounds: list[None] = []
    follower = follow.Follower(config, trust, 1, lambda: [cast("ControlPlane", gateway)], stop)
    thread = threading.Thread(target=follower.run, args=(lambda: rounds.append(None),))
    thread.start()
    try:
        wait_for("the verdict", lambda: release.failed() is not None)
        before = len(rounds)
        wait_for("further rounds", lambda: len(rounds) > before + 20)
    finally:
        stop.set()
        thread.join()
    assert gateway.handed_out == 1


def test_the_worker_that_hangs_is_named() -> None:
    time, stop = Time(), threading.Event()
    workers = Workers(stop, time.ticks)

    def questions(beat: Callable[[], None]) -> None:
        beat()
        stop.wait()

    workers.start(questions)
    wait_for("its sign", workers.are_well)
    assert workers.hung() is None
    time.go(HUNG_SECONDS)
    assert str(workers.hung()).endswith("questions")
    stop.set()
    workers.join(20)


WATCHED = """
import sys; sys.path.insert(0, sys.argv[1])
from node import watchdog
watchdog.SECONDS, watchdog._REST = 3.0, 0.0
watchdog.OWN.start()
"""
HOLDS_EVERY_LOCK = "import re\nre.match('(a+)+b', 'a' * 64)\n"
BEATS = "import time\nfor _ in range(80):\n    time.sleep(0.05); watchdog.OWN.beat()\n"


@pytest.mark.parametrize(("goes_on", "status"), [(HOLDS_EVERY_LOCK, 1), (BEATS, 0)], ids=["hangs", "beats"])
def test_the_watchdog_ends_a_process_that_hangs_and_says_where(goes_on: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + goes_on, str(ROOT)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status
    assert ("most recent call first" in done.stderr) == bool(status)
