"""How requests on kept connections are counted."""

from __future__ import annotations

from bench.load import Outcome
from bench.reloads import report_rows


def test_what_was_lost_is_told_apart_from_errors_and_has_no_aim() -> None:
    good, lost = Outcome(0, 1, 200, "a"), Outcome(0, 1, 0, error="ServerDisconnectedError")
    wrong = Outcome(0, 1, 502, error="the machine did not answer")
    rows = report_rows([good, lost, lost, wrong], [good, good, lost, wrong, wrong])
    assert [(row.ours, row.by_hand) for row in rows] == [("4", "5"), ("2", "1"), ("1", "2")]
    assert [row.aim for row in rows] == ["", "", ""]
