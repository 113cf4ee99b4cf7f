"""Where each peer was last heard from, so that a gateway that comes back can greet its peers at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from node import files
from node.log import say


class Endpoints:
    """Public key -> ``host:port`` in ``path``. Only a memory: one that cannot be read is put aside, loudly."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
            aside = self._path.with_name(self._path.name + ".corrupt")
            self._path.replace(aside)
            say(f"{error} It is kept as {aside}.")

    def remember(self, heard: Mapping[str, str], keys: Iterable[str]) -> None:
        """Note where peers were heard from now, and forget all but ``keys``; the disk is touched only by a change."""
        wanted = set(keys)
        now = {key: value for key, value in {**self.known, **heard}.items() if key in wanted}
        if now != self.known:
            files.write(self._path, {"endpoints": now})
            self.known = now
