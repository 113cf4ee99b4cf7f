"""The last lines of the audit log, for whoever looks at the network; after a restart they are still there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

COUNT = 20
_TAIL = 64 << 10
"""Bytes of the file's end that are read: a line has seldom more than 500."""
_CHAIN = ("hash", "version", "previous", "oldest")
"""What only the log's own check needs (``node.audit.chain``)."""


class Recent:
    """The last lines of the file ``path``, read anew when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None
        self._lines: list[dict[str, Any]] = []

    def lines(self) -> list[dict[str, Any]]:
        """The events, the newest first."""
        try:
            with self._path.open("rb") as file:
                stat = self._path.stat()
                state = stat.st_ino, stat.st_size
                if state != self._known:
                    file.seek(max(0, stat.st_size - _TAIL))
                    self._lines, self._known = _parsed(file.read(), is_whole=stat.st_size <= _TAIL), state
        except OSError:
            # No event yet, or the log is being put aside; the next look finds it.
            self._known = None
        return self._lines


def _parsed(tail: bytes, *, is_whole: bool) -> list[dict[str, Any]]:
    lines = tail.split(b"\n")[0 if is_whole else 1 : -1]
    found: list[dict[str, Any]] = []
    for line in reversed(lines[-COUNT:]):
        try:
            document = cast("dict[str, Any]", json.loads(line))
        except ValueError:
            continue
        found.append({name: value for name, value in document.items() if name not in _CHAIN})
    return found
