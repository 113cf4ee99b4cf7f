"""Where each peer was last heard from, so that a gateway that comes back can greet its peers at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import cast

from node import files

MANY = 200
"""With more peers than these some are always on the move, and the file would be written at every look."""
PAUSE_SECONDS = 30.0
"""Between two writes of that many."""


class Endpoints:
    """Public key -> ``host:port`` in ``path``. Only a memory: one that cannot be read is put aside, loudly."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._written = float("-inf")
        self._is_behind = False
        self.known: dict[str, str] = {}

    def load(self) -> None:
        """Read what was remembered."""
        try:
            document = files.read(self._path, "The gateway goes on without it; peers come back within 30 seconds.")
            if document is None:
                return
            endpoints = document.get("endpoints")
            if not isinstance(endpoints, dict):
                raise files.StateError(self._path, "no endpoints in it", "The gateway goes on without it.")
            self.known = {str(key): str(value) for key, value in cast("dict[object, object]", endpoints).items()}
        except files.StateError as error:
            files.put_aside(error)

    def remember(self, heard: Mapping[str, str], keys: Set[str]) -> list[tuple[str, str, str]]:
        """Note where peers were heard from now, and forget all but ``keys``; the disk is touched only by a change.

        Public key, old and new endpoint of those that were elsewhere before.
        """
        before = self.known
        now = {key: value for key, value in {**self.known, **heard}.items() if key in keys}
        if now != self.known:
            self.known, self._is_behind = now, True
        if len(now) <= MANY or self._clock() - self._written >= PAUSE_SECONDS:
            self.flush()
        return [(key, old, now[key]) for key, old in before.items() if now.get(key, old) != old]

    def flush(self) -> None:
        """Bring the file up to what is known."""
        if self._is_behind:
            files.write(self._path, {"endpoints": self.known})
            self._is_behind, self._written = False, self._clock()
