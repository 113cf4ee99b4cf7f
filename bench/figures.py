"""Paired measurements and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Paired:
    """Ours and the hand-made thing, measured in turn; pair i of both was taken under the same load of the host."""

    ours: tuple[float, ...]
    by_hand: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios, ours to hand-made."""
        return median(one / other for one, other in zip(self.ours, self.by_hand, strict=True))

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest of the pairs' ratios."""
        ratios = [one / other for one, other in zip(self.ours, self.by_hand, strict=True)]
        return min(ratios), max(ratios)


def pairs(ours: Callable[[], float], by_hand: Callable[[], float], count: int) -> Paired:
    """Measure both `count` times in turn, each pair in the other order than the one before."""
    taken: tuple[list[float], list[float]] = ([], [])
    for index in range(count):
        order = (0, 1) if index % 2 == 0 else (1, 0)
        for which in order:
            taken[which].append((ours, by_hand)[which]())
    return Paired(tuple(taken[0]), tuple(taken[1]))


def shown_ratio(paired: Paired) -> str:
    """The ratio with its spread, as `1.08 (1.05-1.12)`."""
    least, greatest = paired.spread
    return f"{paired.ratio:.2f} ({least:.2f}-{greatest:.2f})"


@dataclass(frozen=True)
class Row:
    """One line of the table, its cells as they are shown."""

    what: str
    ours: str
    by_hand: str = ""
    ratio: str = ""
    aim: str = ""


HEADINGS = Row("what", "ours", "by hand", "ratio", "aim")


def table(rows: Sequence[Row]) -> str:
    """The rows under their headings, in columns as wide as they must be."""
    lines = [(row.what, row.ours, row.by_hand, row.ratio, row.aim) for row in (HEADINGS, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    shown.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in shown)
