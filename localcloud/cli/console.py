"""What the commands print: progress, tables, colours only on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence

GREEN, YELLOW, RED, DIM, BOLD = "32", "33", "31", "2", "1"


class Console:
    """Standard output for results, standard error for progress."""

    def __init__(self) -> None:
        plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self._colours = sys.stdout.isatty() and not plain
        self._live = sys.stderr.isatty() and not plain
        self._start = time.monotonic()
        self._shown = ""

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, where standard output is a terminal."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text

    def step(self, text: str) -> None:
        """Say what is being done now, with the seconds since the command began; it stays on the screen."""
        self.clear()
        print(f"[{time.monotonic() - self._start:5.1f} s] {text}", file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """Say how far a step has got: one line that the next replaces on a terminal, a line each elsewhere."""
        if not self._live:
            if text != self._shown:
                self._shown = text
                print(f"          {text}", file=sys.stderr, flush=True)
            return
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        line = f"[{time.monotonic() - self._start:5.1f} s]   {text}"[: width - 1]
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        self._shown = text

    def clear(self) -> None:
        """Take a replaceable line away."""
        if self._live and self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._shown = ""

    def say(self, text: str = "") -> None:
        """Print a line of the result."""
        self.clear()
        print(text, flush=True)

    def fits(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
        """Whether a table of these is no wider than the terminal; off a terminal any is."""
        widths = _widths(titles, rows)
        return not sys.stdout.isatty() or sum(widths) + 2 * (len(widths) - 1) <= shutil.get_terminal_size().columns

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print aligned columns. Cells may be painted."""
        widths = _widths(titles, rows)
        heading = "  ".join(title.ljust(width) for title, width in zip(titles, widths, strict=True))
        self.say(self.paint(heading.rstrip(), BOLD))
        for row in rows:
            cells = (cell + " " * (width - len(_bare(cell))) for cell, width in zip(row, widths, strict=True))
            self.say("  ".join(cells).rstrip())


def fail(text: str) -> None:
    """Print an error."""
    mark = "\x1b[31merror:\x1b[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else "error:"
    print(f"{mark} {text}", file=sys.stderr, flush=True)


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(_bare(row[column])) for row in (titles, *rows)) for column in range(len(titles))]


def _bare(text: str) -> str:
    while "\x1b[" in text:
        before, _, after = text.partition("\x1b[")
        text = before + after.partition("m")[2]
    return text
