"""Checks the audit log's files: whether anything in them was changed, removed, inserted or moved.

Whoever can write the files can also make a whole chain anew, or cut its end off: that is found by what was told
elsewhere, namely the journal's hashes, and one that somebody noted or a metric kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from node.audit.chain import ORIGIN, VERSION, Line, read
from node.audit.files import in_order

_WRITING_SECONDS = 0.05
"""How long an incomplete last line may be one that is being written."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong in ``file`` (its name, empty for the log as a whole) at ``line`` (0 for none)."""

    file: str
    line: int
    text: str


@dataclass
class Outcome:
    """What a check has found.

    ``first`` and ``last`` are numbers of lines, 0 for none; ``head`` is the last hash; of ``compared`` lines another
    place had the hash, too.
    """

    files: int = 0
    events: int = 0
    first: int = 0
    last: int = 0
    head: str = ORIGIN
    compared: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])


def opened(path: Path) -> list[tuple[str, BinaryIO]]:
    """The log's files, oldest first, as they were at one moment, however the writer renames them. OSError."""
    while True:
        paths = in_order(path)
        files: list[tuple[str, BinaryIO]] = []
        try:
            files = [(each.name, each.open("rb")) for each in paths]
            still = [os.fstat(file.fileno()).st_ino for _, file in files]
            if paths == in_order(path) and still == [each.stat().st_ino for each in paths]:
                return files
        except FileNotFoundError:
            pass
        for _, file in files:
            file.close()


class Check:
    """One walk over the whole log in ``path``.

    ``told`` are hashes by the number of their line, as the journal has them; ``head`` is one that somebody noted.
    """

    def __init__(self, path: Path, told: Mapping[int, Set[str]], head: str | None) -> None:
        self._path = path
        self._told = told
        self._head = head
        self._is_head_there = head is None
        self._previous: Line | None = None
        self._oldest = 0
        self._denied: list[tuple[str, int, int]] = []
        """Lines of which the journal has another hash: file, line, number."""
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Everything that is wrong, in the order of the lines. OSError."""
        files = opened(self._path)
        try:
            self._outcome.files = len(files)
            for index, (name, file) in enumerate(files):
                self._file(name, file, is_last=index == len(files) - 1)
        finally:
            for _, file in files:
                file.close()
        self._end()
        return self._outcome

    def _say(self, file: str, line: int, text: str) -> None:
        self._outcome.problems.append(Problem(file, line, text))

    def _file(self, name: str, file: BinaryIO, *, is_last: bool) -> None:
        number = 0
        for number, text in enumerate(file, 1):
            whole = text if text.endswith(b"\n") else text + _rest(file)
            if not whole.endswith(b"\n"):
                self._say(name, number, _torn(is_last=is_last))
                return
            line = read(whole[:-1])
            if line is None:
                self._say(name, number, "no line of the log: changed, inserted, or from a release before the chain")
                continue
            self._line(name, number, line)
        if number == 0 and not is_last:
            self._say(name, 0, "empty, though there is a later file")

    def _line(self, name: str, number: int, line: Line) -> None:
        outcome, previous = self._outcome, self._previous
        if number == 1 and line.document.get("version") != VERSION:
            self._say(name, 1, f"it does not begin a file of version {VERSION}: lines before it were removed or moved")
        if previous is None:
            outcome.first = line.number
            before = str(line.document.get("previous"))
            if line.number == 1:
                before = ORIGIN
        else:
            before = previous.digest
            self._order(name, number, previous.number, line.number)
        if not line.follows(before):
            self._say(name, number, f"event {line.number}: its hash does not follow from it and the line before")
        told = self._told.get(line.number, set())
        outcome.compared += bool(told)
        if told - {line.digest}:
            self._denied.append((name, number, line.number))
        self._is_head_there = self._is_head_there or line.digest == self._head
        oldest = line.document.get("oldest")
        if number == 1 and type(oldest) is int:
            self._oldest = oldest
        outcome.events += 1
        outcome.last, outcome.head = line.number, line.digest
        self._previous = line

    def _order(self, name: str, number: int, before: int, now: int) -> None:
        if now > before + 1:
            missing = f"event {before + 1} is" if now == before + 2 else f"events {before + 1} to {now - 1} are"
            self._say(name, number, f"event {now} comes after {before}: {missing} missing here")
        elif now <= before:
            self._say(name, number, f"event {now} comes after {before}: moved, or there a second time")

    def _end(self) -> None:
        outcome = self._outcome
        if self._oldest and outcome.first > self._oldest:
            self._say("", 0, f"events {self._oldest} to {outcome.first - 1} are missing: their files were still kept")
        if self._denied:
            name, line, number = self._denied[0]
            more = f", as of {len(self._denied) - 1} later ones" if len(self._denied) > 1 else ""
            self._say(name, line, f"event {number}: the journal was told another hash of it{more}")
        later = [number for number in self._told if number > outcome.last]
        if later:
            self._say("", 0, f"the journal was told events up to {max(later)}, and the log ends with {outcome.last}")
        if not self._is_head_there:
            self._say("", 0, f"no line has the hash {self._head}: it was removed or changed, or is older than the log")


def _rest(file: BinaryIO) -> bytes:
    """What is added to a file within a moment."""
    time.sleep(_WRITING_SECONDS)
    return file.read()


def _torn(*, is_last: bool) -> str:
    if is_last:
        return "the last line was cut off: the service puts that right when it starts"
    return "the last line was cut off, though there is a later file"


def check(path: Path, told: Mapping[int, Set[str]] | None = None, head: str | None = None) -> Outcome:
    """Check the log whose last file is ``path``. OSError."""
    return Check(path, told or {}, head).run()


def events(path: Path) -> Iterator[Mapping[str, Any]]:
    """Every event that can be read, oldest first: hundreds of thousands, so one after the other. OSError."""
    for _, file in opened(path):
        with file:
            yield from (line.document for text in file if (line := read(text.rstrip(b"\n"))))
