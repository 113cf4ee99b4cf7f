"""The report as Markdown for GitHub. What others wrote (names, addresses, messages) is never taken for markup."""

from __future__ import annotations

import re
from collections.abc import Iterator

from review.preview import Problem
from review.report import Report
from review.tables import MOST, Table, tables

LIMIT = 1_000_000
"""Bytes: GitHub takes 1 MiB of summary (docs.github.com, Workflow commands, step isolation and limits)."""
CELL = 300
"""Characters of a cell that are shown."""
_MARKUP = re.compile(r"[!-'*<>?@\[-`{-~]")
"""ASCII punctuation, but for what texts need: ( ) + , - . / : ; ="""


def markdown(report: Report) -> str:
    """The whole report, at most `LIMIT` bytes."""
    text = "\n".join(_lines(report))
    if len(text.encode()) <= LIMIT:
        return text
    cut = text.encode()[:LIMIT].decode(errors="ignore").rpartition("\n")[0]
    return f"{cut}\n\nThe report is longer than GitHub shows; `python -m review` prints all of it.\n"


def _lines(report: Report) -> Iterator[str]:
    mark = "❌" if report.has_failed else "🔴" if report.is_alarming else "🟢"
    yield f"### {mark} {quoted(report.verdict)}"
    yield ""
    yield from _problems(report.problems)
    for table in tables(report):
        yield from _table(table)


def _problems(problems: tuple[Problem, ...]) -> Iterator[str]:
    for problem in problems[:MOST]:
        about = f" at {quoted(problem.about)}" if problem.about else ""
        yield f"**{problem.severity}**{about}:"
        yield f"<pre>{_entities(_cut(problem.message, 10 * CELL))}</pre>"
        yield ""
    if len(problems) > MOST:
        yield f"… and {len(problems) - MOST} more"
        yield ""


def _table(table: Table) -> Iterator[str]:
    if table.is_folded:
        yield f"<details><summary>{_entities(table.title)}</summary>"
    else:
        yield f"#### {table.title}"
    yield ""
    if table.alarming:
        yield "```diff"
        for line in table.alarming[:MOST]:
            yield f"- {_cut(' '.join(_visible(line).split()), CELL)}"
        yield "```"
        yield ""
    if table.rows:
        yield f"| {' | '.join(table.columns)} |"
        yield f"|{' --- |' * len(table.columns)}"
        for row in table.shown:
            yield f"| {' | '.join(quoted(cell) for cell in row)} |"
        if table.left_out:
            yield ""
            yield f"… and {table.left_out} more"
        yield ""
    if table.note:
        yield _entities(table.note).replace("\n", "  \n")
        yield ""
    if table.is_folded:
        yield "</details>"
        yield ""


def quoted(text: str) -> str:
    """What somebody wrote, on one line: characters that Markdown or HTML could take for markup are spelt out."""
    return _entities(_cut(" ".join(text.split()), CELL))


def _entities(text: str) -> str:
    spelt = _MARKUP.sub(lambda found: f"&#{ord(found[0])};", _visible(text))
    # GitHub links mentions, issues and addresses after it has read entities: a space without width prevents that.
    for part, spaced in (
        ("&#64;", "&#64;&#8203;"),
        ("&#35;", "&#35;&#8203;"),
        ("://", ":&#8203;//"),
        ("www.", "www&#8203;."),
    ):
        spelt = spelt.replace(part, spaced)
    return spelt


def _visible(text: str) -> str:
    return "".join(char for char in text if char.isprintable() or char == "\n")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
