"""The report as tables in a terminal."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from review.report import Report
from review.tables import MOST, tables

_STYLES = {
    "joins": "green", "opens": "yellow", "leaves": "red", "replaced": "bold red", "deleted": "red",
    "no longer protected": "red", "stopped and started": "yellow", "error": "bold red", "warning": "yellow",
}  # fmt: skip


def show(report: Report, stream: TextIO) -> None:
    """Print it; colours only where the stream is a terminal that wants them."""
    width = None if stream.isatty() else int(os.environ.get("COLUMNS", "160"))
    console = Console(file=stream, width=width, highlight=False, emoji=False, soft_wrap=False)
    console.print(_text(report.verdict, "bold red" if report.is_alarming else "bold green"))
    for problem in report.problems[:MOST]:
        about = f" at {problem.about}" if problem.about else ""
        console.print(_text(f"{problem.severity}{about}: {problem.message}", _STYLES[problem.severity]))
    for table in tables(report):
        console.print()
        console.print(_text(table.title, "bold"))
        grid = Grid(box=None, pad_edge=False, header_style="dim", show_header=bool(table.rows))
        for column in table.columns:
            grid.add_column(_text(column, ""), overflow="fold")
        for row in table.shown:
            grid.add_row(*(_text(cell, _STYLES.get(row[0], "")) for cell in row))
        if table.rows:
            console.print(grid)
        if table.left_out:
            console.print(f"… and {table.left_out} more")
        if table.note:
            console.print(_text(table.note, ""))


def _text(words: str, style: str) -> Text:
    """Words that may come from others: without control characters, so that none moves the cursor."""
    return Text("".join(char for char in words if char.isprintable() or char == "\n"), style=style)
