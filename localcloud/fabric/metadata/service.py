"""What every cloud's metadata service has in common: requests, answers, and a tree of values under paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from localcloud.spec import JSON


@dataclass(frozen=True)
class Request:
    """A request of a machine; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Answer:
    """What goes back. `hops` is how many hops it may take, as EC2 limits it for session tokens."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hops: int | None = None


def find(tree: JSON, path: str) -> JSON:
    """What stands at `path`, or None."""
    for part in filter(None, path.split("/")):
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree


def walk(tree: JSON, path: str, entry: Callable[[str, JSON], str]) -> Answer:
    """The value at `path`, or the list of what is below it, where `entry` says how each is written."""
    found = find(tree, path)
    if found is None:
        return Answer(404)
    if isinstance(found, Mapping):
        return Answer(200, "\n".join(entry(name, value) for name, value in sorted(found.items())))
    if isinstance(found, list):
        return Answer(200, "\n".join(entry(str(index), value) for index, value in enumerate(found)))
    return Answer(200, str(found))


def mapping(value: JSON) -> Mapping[str, JSON]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}
