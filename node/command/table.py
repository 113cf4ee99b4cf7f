"""What the commands print for people: aligned columns, colours on a terminal, and no character that could turn it."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

GREEN, YELLOW, RED, DIM, BOLD = "32", "33", "31", "2", "1"
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of characters that control, turn or hide what is around them, or are none."""


def plain(value: object, longest: int = 200) -> str:
    """A value that somebody else chose, as one line that a terminal shows and does not obey."""
    text = "".join(_seen(each) for each in str(value)[: longest + 1])
    return text if len(text) <= longest else f"{text[: longest - 1]}~"


def _seen(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    return f"\\u{ord(character):04x}"


def width(text: str) -> int:
    """How many columns a text takes."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) > 0 for each in text)


class Cell(NamedTuple):
    """A text in a column, and its colour."""

    text: str
    colour: str = ""
    is_number: bool = False


class Paper:
    """Lines for a terminal, or for whatever else takes them: without colours, then."""

    def __init__(self, file: TextIO) -> None:
        is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM", "dumb") == "dumb"
        self._has_colours = file.isatty() and not is_plain
        self.lines: list[str] = []

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if colour and self._has_colours else text

    def say(self, text: str = "", colour: str = "") -> None:
        """Add a line."""
        self.lines.append(self.paint(text, colour))

    def title(self, text: str) -> None:
        """Add an empty line and a heading."""
        self.say()
        self.say(text, BOLD)

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """Add aligned columns, after an empty line; nothing where there are no rows."""
        listed = [list(row) for row in rows]
        if not listed:
            return
        heads = [Cell(title, BOLD, cell.is_number) for title, cell in zip(titles, listed[0], strict=True)]
        widths = [max(width(row[at].text) for row in (heads, *listed)) for at in range(len(heads))]
        self.say()
        for row in (heads, *listed):
            cells = [
                self._padded(cell, wide, is_last=at == len(row) - 1)
                for at, (cell, wide) in enumerate(zip(row, widths, strict=True))
            ]
            self.lines.append("  ".join(cells))

    def _padded(self, cell: Cell, wide: int, *, is_last: bool) -> str:
        space, text = " " * (wide - width(cell.text)), self.paint(cell.text, cell.colour)
        if cell.is_number:
            return space + text
        return text if is_last else text + space


def age(seconds: float | None) -> str:
    """How long ago."""
    if seconds is None:
        return "never"
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds // 60:.0f} min"
    if seconds < 172800:
        return f"{seconds // 3600:.0f} h"
    return f"{seconds // 86400:.0f} d"


def trip(seconds: float | None) -> str:
    """A round trip."""
    if seconds is None:
        return "-"
    ms = seconds * 1000
    return f"{ms:.2f} ms" if ms < 1 else f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"


def rate(count: float) -> str:
    """Bytes a second."""
    for unit in ("B/s", "kB/s", "MB/s"):
        if count < 1000:
            return f"{count:.1f} {unit}" if count < 10 and unit != "B/s" else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB/s"


def size(count: float) -> str:
    """Bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def prepare(file: TextIO = sys.stdout) -> None:
    """Have characters that the terminal's encoding lacks written by their codes."""
    reconfigure = getattr(file, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
