"""The difference between two versions of a resource's inputs, property by property."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from localcloud.wire import Value

Change = Literal["add", "delete", "update"]


def differences(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, Change]:
    """Path -> change, in Pulumi's path syntax; what is not known yet counts as changed."""
    return dict(_objects("", old, new))


def _objects(path: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> Iterator[tuple[str, Change]]:
    for name in sorted(old.keys() | new.keys()):
        yield from _values(_join(path, name), old.get(name), new.get(name))


def _values(path: str, old: Value, new: Value) -> Iterator[tuple[str, Change]]:
    match old, new:
        case dict(), dict():
            yield from _objects(path, old, new)
        case list(), list():
            for index in range(max(len(old), len(new))):
                before = old[index] if index < len(old) else None
                after = new[index] if index < len(new) else None
                yield from _values(f"{path}[{index}]", before, after)
        case _ if old != new:
            yield path, "add" if old is None else "delete" if new is None else "update"
        case _:
            pass


def _join(path: str, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", name):
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{path}["{quoted}"]'
    return f"{path}.{name}" if path else name


def top(path: str) -> str:
    """The property that the path begins with."""
    match = re.match(r'\["((?:[^"\\]|\\.)*)"\]|[^.\[]+', path)
    return (match.group(1) or match.group(0)) if match else path


def within(path: str, paths: list[str]) -> bool:
    """Whether the path lies at or below one of the paths."""
    return any(path == outer or path.startswith((f"{outer}.", f"{outer}[")) for outer in paths)
