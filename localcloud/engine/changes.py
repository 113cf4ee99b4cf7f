"""What differs between two sets of properties, path by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from localcloud.engine.paths import Path, contains, parse
from localcloud.engine.values import same
from localcloud.wire import Properties, Secret, Value, contains_secret, secret


@dataclass(frozen=True)
class Difference:
    """What a provider says of a change."""

    changes: bool | None
    """None: it cannot tell."""
    replaces: tuple[str, ...]
    keys: tuple[str, ...]
    detailed: Mapping[str, tuple[str, bool]]
    """Property path -> kind (`add`, `add-replace`, `update`, …) and whether the path is one of inputs."""
    delete_before_replace: bool


@dataclass(frozen=True)
class Change:
    """One property that differs."""

    path: Path
    kind: str
    """`add`, `delete` or `update`."""
    old: Value
    new: Value
    replaces: bool = False
    """Whether this change causes a replacement."""


def between(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[Change]:
    """The changes from old to new, in the order of the new properties, removed ones last.

    Objects are followed into, as are lists of equal length; secret marks alone are no change.
    """
    return list(_objects((), old, new, hidden=False))


def _objects(path: Path, old: Mapping[str, Value], new: Mapping[str, Value], *, hidden: bool) -> Iterator[Change]:
    for key, value in new.items():
        here = (*path, key)
        if key in old:
            yield from _values(here, old[key], value, hidden=hidden)
        else:
            yield Change(here, "add", None, _hide(value, hidden))
    for key, value in old.items():
        if key not in new:
            yield Change((*path, key), "delete", _hide(value, hidden), None)


def _values(path: Path, old: Value, new: Value, *, hidden: bool) -> Iterator[Change]:
    hidden = hidden or isinstance(old, Secret) or isinstance(new, Secret)
    bare_old = old.value if isinstance(old, Secret) else old
    bare_new = new.value if isinstance(new, Secret) else new
    if same(bare_old, bare_new):
        return
    if isinstance(bare_old, dict) and isinstance(bare_new, dict):
        yield from _objects(path, bare_old, bare_new, hidden=hidden)
    elif isinstance(bare_old, list) and isinstance(bare_new, list) and len(bare_old) == len(bare_new):
        for index, (left, right) in enumerate(zip(bare_old, bare_new, strict=True)):
            yield from _values((*path, index), left, right, hidden=hidden)
    else:
        hidden = hidden or contains_secret(old) or contains_secret(new)
        yield Change(path, "update", _hide(old, hidden), _hide(new, hidden))


def _hide(value: Value, hidden: bool) -> Value:
    return secret(value) if hidden else value


def explained(old: Properties, new: Properties, difference: Difference) -> list[Change]:
    """The changes of inputs, each marked when the provider says that it causes a replacement.

    Keys that the provider names without a change of inputs are added, so that each reason is seen.
    """
    causes = [parse(path) for path, (kind, _) in difference.detailed.items() if kind.endswith("-replace")]
    causes += [parse(key) for key in difference.replaces]
    found: list[Change] = []
    for change in between(old, new):
        cause = any(contains(path, change.path) or contains(change.path, path) for path in causes)
        found.append(Change(change.path, change.kind, change.old, change.new, cause))
    named = [*causes, *(parse(key) for key in difference.keys)]
    named += [parse(path) for path in difference.detailed]
    for path in dict.fromkeys(named):
        if not any(contains(path, change.path) or contains(change.path, path) for change in found):
            found.append(Change(path, "update", None, None, path in causes))
    return found
