"""What the engine does with property values: compares, masks, and marks what must stay secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from localcloud.engine.errors import EngineError
from localcloud.wire import UNKNOWN, Properties, Secret, Unknown, Value, contains_secret, plain, secret


def masked(value: Value, *, unknown: str = "[unknown]") -> Value:
    """The value with `[secret]` and `[unknown]` (or another word) where one must not or cannot be shown."""
    match value:
        case Secret():
            return "[secret]"
        case Unknown():
            return unknown
        case list():
            return [masked(item, unknown=unknown) for item in value]
        case dict():
            return {key: masked(item, unknown=unknown) for key, item in value.items()}
        case _:
            return value


def same(left: Value, right: Value) -> bool:
    """Whether two values are equal, their secret marks aside. True is not 1; unknown equals nothing."""
    left, right = plain(left), plain(right)
    if left is UNKNOWN or right is UNKNOWN:
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def identical(left: Value, right: Value) -> bool:
    """Whether two values are equal, their secret marks included."""
    if isinstance(left, Secret) or isinstance(right, Secret):
        return isinstance(left, Secret) and isinstance(right, Secret) and identical(left.value, right.value)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(identical(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(identical(a, b) for a, b in zip(left, right, strict=True))
    return same(left, right)


def keep_secrets(outputs: Properties, inputs: Mapping[str, Value]) -> Properties:
    """Outputs in which each property is secret that is one in the inputs.

    For providers that cannot carry secrets themselves. An object is followed key by key, as the CLI does.
    """
    marked = dict(outputs)
    for key, given in inputs.items():
        if key not in marked:
            continue
        got = marked[key]
        if isinstance(got, dict) and isinstance(given, dict):
            marked[key] = keep_secrets(got, given)
        elif contains_secret(given):
            marked[key] = secret(got)
    return marked


def from_plain(value: object) -> Value:
    """A value read from JSON or YAML; raises EngineError for what neither has."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [from_plain(item) for item in cast("list[object]", value)]
        case dict():
            return {str(key): from_plain(item) for key, item in cast("dict[object, object]", value).items()}
        case _:
            raise EngineError(f"a value of type {type(value).__name__} is not a property value")
