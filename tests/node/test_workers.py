"""Threads that a process cannot do without."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from node.workers import HUNG_SECONDS, Workers
from tests.node.support import Time, wait_for


def test_a_process_is_well_once_each_worker_has_given_a_sign_and_until_one_gives_none() -> None:
    time, stop = Time(), threading.Event()
    workers = Workers(stop, time.ticks)
    signs = [threading.Event(), threading.Event()]
    turn = threading.Lock()

    def work(number: int) -> Callable[[Callable[[], None]], None]:
        def run(beat: Callable[[], None]) -> None:
            while not stop.is_set():
                with turn:
                    if signs[number].is_set():
                        beat()
                stop.wait(0.005)

        return run

    for number in (0, 1):
        workers.start(work(number))
    signs[0].set()
    assert not workers.are_well()
    signs[1].set()
    wait_for("both", workers.are_well)
    with turn:
        signs[0].clear()
    time.go(HUNG_SECONDS - 1)
    assert workers.are_well()
    time.go(1)
    wait_for("the one that hangs", lambda: not workers.are_well())
    signs[0].set()
    wait_for("both again", workers.are_well)
    stop.set()
    workers.join(20)
    assert not workers.is_failed


def test_the_first_that_fails_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    stop = threading.Event()
    workers = Workers(stop)

    def fails(beat: Callable[[], None]) -> None:
        beat()
        raise KeyError("unexpected")

    def waits(_: Callable[[], None]) -> None:
        assert stop.wait(20)

    workers.start(waits)
    workers.start(fails)
    workers.join(20)
    assert workers.is_failed
    assert stop.is_set()
    assert len(failures) == 1
