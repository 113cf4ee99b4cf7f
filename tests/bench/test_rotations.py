"""What the table says of pings that were lost."""

from __future__ import annotations

from bench.pings import Loss
from bench.rotations import figures, lost

ONE = Loss("a", {"10.0.0.2": (500, 0), "10.0.0.3": (500, 4)}, 0.01)
OTHER = Loss("b", {"10.0.0.1": (500, 40), "10.0.0.3": (500, 0)}, 0.01)


def test_mean_and_worst_are_of_pairs() -> None:
    assert figures([ONE, OTHER]) == (11.0, 40)


def test_a_loss_is_shown_beside_that_by_hand() -> None:
    row = lost("x", [ONE], [OTHER])
    assert (row.ours, row.by_hand, row.ratio) == ("2.0, 4", "20.0, 40", "0.10")


def test_without_any_loss_by_hand_there_is_no_ratio() -> None:
    none = Loss("c", {"10.0.0.1": (500, 0)}, 0.01)
    assert (lost("x", [none], [none]).ratio, lost("x", [none]).by_hand) == ("", "")


def test_losses_are_counted_in_pings_and_seconds() -> None:
    assert (ONE.sent, ONE.lost, ONE.worst, ONE.total) == (1000, 4, 0.04, 0.04)
