"""Property paths (`root.array[0]["a.b"].*`) as `ignoreChanges`, `replaceOnChanges` and detailed diffs write them."""

from __future__ import annotations

import re
from typing import TypeAlias

from localcloud.engine.errors import EngineError
from localcloud.wire import Properties, Secret, Value, secret

Path: TypeAlias = "tuple[str | int, ...]"

_ELEMENT = re.compile(r'\.?(?:\["((?:\\"|[^"])*)"\]|\[(\d+|\*)\]|([^.\[\]]+))')
_BARE = re.compile(r"[A-Za-z0-9_]+")


def parse(text: str) -> Path:
    """The elements of a path; raises EngineError when it is none."""
    elements: list[str | int] = []
    position = 0
    while position < len(text):
        found = _ELEMENT.match(text, position)
        if found is None or (position == 0 and text.startswith(".")):
            raise EngineError(f"{text!r} is not a property path: stopped at character {position + 1}")
        quoted, index, name = found.groups()
        if quoted is not None:
            elements.append(quoted.replace('\\"', '"'))
        elif index is not None:
            elements.append(index if index == "*" else int(index))
        else:
            elements.append(name)
        position = found.end()
    return tuple(elements)


def render(path: Path) -> str:
    """The text of a path. Names with other characters than letters, digits, `_` and `-` are quoted."""
    text = ""
    for element in path:
        if isinstance(element, int):
            text += f"[{element}]"
        elif _BARE.fullmatch(element.replace("-", "_")):
            text += f".{element}" if text else element
        else:
            text += '["{}"]'.format(element.replace('"', '\\"'))
    return text


def contains(pattern: Path, path: Path) -> bool:
    """Whether a path lies at or under a pattern, whose `*` stands for any one element."""
    return len(pattern) <= len(path) and all(
        want in ("*", have) for want, have in zip(pattern, path[: len(pattern)], strict=True)
    )


def reset(path: Path, old: Properties, new: Properties) -> bool:
    """Puts the old value at a path back into new properties, in place.

    A property that the old ones lack is removed. Returns False when the path cannot be followed in both, which leaves
    the new properties as they are from there on (elements of lists are neither made nor removed).
    """
    return _reset(path, old, new, old_secret=False, new_secret=False)


def _reset(path: Path, old: Value, new: Value, *, old_secret: bool, new_secret: bool) -> bool:
    while isinstance(old, Secret):
        old, old_secret = old.value, True
    while isinstance(new, Secret):
        new, new_secret = new.value, True
    keep = secret if old_secret and not new_secret else _as_it_is
    head, rest = path[0], path[1:]
    if head == "*":
        return _reset_all(rest, old, new, old_secret=old_secret, new_secret=new_secret)
    if isinstance(head, int):
        if not isinstance(old, list) or not isinstance(new, list):
            return not isinstance(old, list) and not isinstance(new, list)
        if head >= len(old) or head >= len(new):
            return head >= len(old) and head >= len(new)
        if not rest:
            new[head] = keep(old[head])
            return True
        return _reset(rest, old[head], new[head], old_secret=old_secret, new_secret=new_secret)
    if not rest:
        return _reset_leaf(head, old, new, keep is secret)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return not isinstance(old, dict) and not isinstance(new, dict)
    if head not in old or head not in new:
        return head not in old and head not in new
    return _reset(rest, old[head], new[head], old_secret=old_secret, new_secret=new_secret)


def _reset_leaf(key: str, old: Value, new: Value, make_secret: bool) -> bool:
    if isinstance(old, dict) and key in old:
        if not isinstance(new, dict):
            return False
        new[key] = secret(old[key]) if make_secret else old[key]
    elif isinstance(new, dict):
        new.pop(key, None)
    return True


def _reset_all(rest: Path, old: Value, new: Value, *, old_secret: bool, new_secret: bool) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        if rest and old.keys() != new.keys():
            return False
        names: list[str | int] = list(old.keys() | new.keys())
    elif isinstance(old, list) and isinstance(new, list):
        names = list(range(min(len(old), len(new))))
        if len(old) != len(new):
            return False
    else:
        return False
    done = [_reset((name, *rest), old, new, old_secret=old_secret, new_secret=new_secret) for name in names]
    return all(done)


def _as_it_is(value: Value) -> Value:
    return value
