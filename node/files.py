"""State on disk: for root alone, wholly there or not at all; JSON of one version, and loud when it is not."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from node.log import say

SCHEMA_VERSION = 1
SOCKET = "local.sock"
"""In the gateway's state: where its service answers root on the same machine."""


class StateError(Exception):
    """A state file cannot be read; the message names it and the way out."""

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path} cannot be used ({why}). {remedy}")
        self.path = path


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the file as :func:`write_text` does."""
    write_text(path, json.dumps({"schema_version": SCHEMA_VERSION, **document}))


def write_text(path: Path, text: str) -> None:
    """Replace the file; after a return it survives a power cut, and before it the old one does. Mode 0600."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def put_aside(error: StateError) -> None:
    """Keep the file that cannot be read beside its place, and say so: for what may be done without."""
    aside = error.path.with_name(error.path.name + ".corrupt")
    error.path.replace(aside)
    say(f"{error} It is kept as {aside}.")


def read(path: Path, remedy: str) -> dict[str, Any] | None:
    """The document, or None when there is no file. StateError with ``remedy`` when the file is not what we wrote."""
    with contextlib.suppress(FileNotFoundError):
        try:
            document: object = json.loads(path.read_text())
        except (ValueError, RecursionError) as error:
            raise StateError(path, f"no JSON: {error}", remedy) from error
        if not isinstance(document, dict):
            raise StateError(path, "no JSON object", remedy)
        found = cast("dict[str, Any]", document)
        if found.get("schema_version") != SCHEMA_VERSION:
            raise StateError(path, f"version {found.get('schema_version')!r}, not {SCHEMA_VERSION}", remedy)
        return found
    return None
