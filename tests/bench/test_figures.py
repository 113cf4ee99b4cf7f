"""The arithmetic and the table of the measurements."""

import pytest

from bench.figures import Paired, Row, pairs, table


def test_the_ratio_is_the_median_of_the_pairs_and_not_of_the_sides() -> None:
    paired = Paired(ours=(2.0, 30.0, 9.0), by_hand=(1.0, 10.0, 9.0))
    assert paired.ratio == pytest.approx(2.0)
    assert paired.spread == (pytest.approx(1.0), pytest.approx(3.0))


def test_pairs_change_their_order_so_that_neither_side_always_goes_first() -> None:
    order: list[str] = []

    def measured(name: str, value: float) -> float:
        order.append(name)
        return value

    paired = pairs(lambda: measured("ours", 4.0), lambda: measured("hand", 2.0), 3)
    assert order == ["ours", "hand", "hand", "ours", "ours", "hand"]
    assert paired == Paired(ours=(4.0, 4.0, 4.0), by_hand=(2.0, 2.0, 2.0))


def test_the_table_lines_up_under_its_headings() -> None:
    first, rule, one, other = table(
        [Row("preview, 10 spokes", "1.2 s", "1.1 s", "1.09"), Row("x", "130 B")]
    ).splitlines()
    assert first.split() == ["what", "ours", "by", "hand", "ratio", "aim"]
    assert set(rule) == {"-", " "}
    assert one.index("1.2 s") + len("1.2 s") == first.index("ours") + len("ours")
    assert other.endswith("130 B")
