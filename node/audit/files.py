"""The files of the audit log: ``audit.jsonl`` is written, ``audit.jsonl.1`` is the one before it, and so on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from node.audit.chain import Line, read

NAME = "audit.jsonl"
_BLOCK = 64 << 10


def older(path: Path) -> dict[int, Path]:
    """By number, the files that ``path`` was before; the largest number is the oldest."""
    found: dict[int, Path] = {}
    for each in path.parent.glob(f"{path.name}.*"):
        suffix = each.name[len(path.name) + 1 :]
        if suffix.isdecimal() and suffix.isascii() and suffix == str(int(suffix)) and int(suffix) > 0:
            found[int(suffix)] = each
    return dict(sorted(found.items()))


def in_order(path: Path) -> list[Path]:
    """All files of the log, oldest first. OSError."""
    return [*reversed(older(path).values()), *([path] if path.exists() else [])]


def first_line(path: Path) -> Line | None:
    """The first line of a file; None when it is none of ours. OSError."""
    with path.open("rb") as file:
        return read(file.readline(_BLOCK).rstrip(b"\n"))


@dataclass(frozen=True)
class End:
    """The end of a file.

    ``lines`` are ours, in order; behind the last one are ``strange`` lines that are none of ours, and ``torn`` bytes
    of a line that was cut off.
    """

    lines: list[Line]
    strange: int
    torn: int


def tail(path: Path, most: int = 100) -> End:
    """The end of a file, with its last ``most`` lines. OSError."""
    *texts, torn = path.read_bytes().split(b"\n")
    lines: deque[Line] = deque()
    strange = 0
    for text in reversed(texts):
        line = read(text)
        if line is not None:
            lines.appendleft(line)
        elif not lines:
            strange += 1
        if len(lines) == most:
            break
    return End(list(lines), strange, len(torn))


def put_unchained_aside(path: Path) -> list[Path]:
    """Rename those files of the log in which no line is part of a chain: where they are now. OSError.

    Releases before the chain wrote such lines.
    """
    moved: list[Path] = []
    for each in in_order(path):
        with each.open("rb") as file:
            whole = (text[:-1] for text in file if text.endswith(b"\n"))
            first = next(whole, None)
            is_old = first is not None and read(first) is None and not any(map(read, whole))
        if is_old:
            aside = next(name for name in _names(each) if not name.exists())
            each.replace(aside)
            moved.append(aside)
    return moved


def _names(path: Path) -> Iterator[Path]:
    """Names beside ``path`` that are none of the log's."""
    yield path.with_name(f"unchained-{path.name}")
    for number in count(2):
        yield path.with_name(f"unchained-{number}-{path.name}")
