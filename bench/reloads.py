"""What becomes of clients that keep their connections while nginx reloads: the gateway's, and one set up by hand.

An nginx that reloads closes the connections on which nothing is under way, and HTTP/1.1 has no way to announce that. A
request that is sent in that moment is lost without any answer, whoever is the server: hence no aim.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.compared import FOLDER
from bench.figures import Row
from bench.load import Outcome, Task
from bench.serving import COMPLETIONS, GATEWAY, Serving

RELOADS = 20
PAUSE = 0.5
"""Seconds after each reload."""
RATE = 100.0
"""Requests a second."""
OURS = ("systemctl", "reload", "nginx")
BY_HAND = ("nginx", "-c", f"{FOLDER}/nginx.conf", "-s", "reload")


def rows(serving: Serving, by_hand: str) -> list[Row]:
    """The table's lines on that; `by_hand` is the URL of the root of nginx by hand."""
    ours = serving.task({"max_tokens": 1}, rate=RATE, keeps=True)
    theirs = replace(ours, url=f"{by_hand}{COMPLETIONS}")
    return report_rows(_seen(serving, ours, OURS), _seen(serving, theirs, BY_HAND))


def _seen(serving: Serving, task: Task, reload: Sequence[str]) -> list[Outcome]:
    with serving.load(task) as outcomes:
        again = f"for number in $(seq {RELOADS}); do {shlex.join(reload)} && sleep {PAUSE} || exit; done"
        serving.place.execute(GATEWAY, "sh", "-c", again)
    return outcomes


def report_rows(ours: Sequence[Outcome], by_hand: Sequence[Outcome]) -> list[Row]:
    """What was seen, as lines of the table."""

    def row(what: str, count: Callable[[Sequence[Outcome]], int]) -> Row:
        return Row(what, str(count(ours)), str(count(by_hand)))

    return [
        row(f"requests on HTTP/1.1 connections that clients keep, while nginx reloads {RELOADS} times", len),
        row("  lost with a connection that was closed before any answer", _unanswered),
        row("  answered with an error", _refused),
    ]


def _unanswered(outcomes: Sequence[Outcome]) -> int:
    return sum(not each.status for each in outcomes)


def _refused(outcomes: Sequence[Outcome]) -> int:
    return sum(bool(each.status and each.error) for each in outcomes)
