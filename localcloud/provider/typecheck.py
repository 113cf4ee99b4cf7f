"""Checks of properties against the SDK's types: unknown names, missing ones, wrong types; and their normal form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localcloud.provider.catalogue import Property, Type, nearest
from localcloud.wire import UNKNOWN, Secret, Value, plain

INTERNAL = "__"
"""Names that begin so are the engine's own (`__defaults`, `__meta`), never the user's."""


@dataclass(frozen=True)
class Failure:
    """Why a property is refused; `path` as Pulumi writes it: `rules[0].port`, empty for the resource as a whole."""

    path: str
    reason: str


@dataclass
class Checker:
    """Walks properties along their types and collects what is wrong."""

    failures: list[Failure] = field(default_factory=list[Failure])

    def properties(
        self, values: Mapping[str, Value], known: Mapping[str, Property], path: str = ""
    ) -> dict[str, Value]:
        """The properties in normal form: null ones left out, numbers and flags given as text as what they mean."""
        normal: dict[str, Value] = {}
        for name, value in values.items():
            if name.startswith(INTERNAL) or plain(value) is None:
                continue
            at = f"{path}.{name}" if path else name
            if name not in known:
                self._unknown(at, name, known)
            else:
                normal[name] = self._value(value, known[name].type, at)
        for name, declared in known.items():
            if declared.required and name not in normal:
                at = f"{path}.{name}" if path else name
                self.failures.append(
                    Failure(at, f'Missing required argument. The argument "{name}" is required, but it was not set')
                )
        return normal

    def _unknown(self, path: str, name: str, known: Mapping[str, Property]) -> None:
        self.failures.append(Failure(path, f'Invalid or unknown key "{name}"{suggestion(name, list(known))}'))

    def _value(self, value: Value, declared: Type, path: str) -> Value:
        if isinstance(value, Secret):
            return Secret(self._value(value.value, declared, path))
        if value is UNKNOWN:
            return value
        match declared.shape, value:
            case "object", dict():
                return dict(self.properties(value, declared.properties, path))
            case "map", dict() if declared.element:
                return {key: self._value(item, declared.element, f"{path}.{key}") for key, item in value.items()}
            case "list", list() if declared.element:
                return [self._value(item, declared.element, f"{path}[{i}]") for i, item in enumerate(value)]
            case "any", _:
                return value
            case _:
                return self._scalar(value, declared, path)

    def _scalar(self, value: Value, declared: Type, path: str) -> Value:
        match declared.shape, value:
            case ("string", str()) | ("boolean", bool()):
                return value
            case "string", bool():
                return "true" if value else "false"
            case "string", int() | float():
                return str(value)
            case "boolean", "true" | "false":
                return value == "true"
            case "integer" | "number", str() | int() | float() if not isinstance(value, bool):
                number = _number(value)
                if number is not None and (declared.shape == "number" or isinstance(number, int)):
                    return number
            case _:
                pass
        self.failures.append(Failure(path, f"expected {declared.shape} type, got {describe(value)}"))
        return value


def suggestion(name: str, known: list[str]) -> str:
    """What to say after naming an unknown key."""
    match = nearest(name, known)
    return f'; did you mean "{match}"?' if match else f"; known are {', '.join(sorted(known)) or 'none'}"


def _number(value: str | float) -> int | float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else number


def describe(value: Value) -> str:
    """The value's type in words, with the value itself where it is short and plain."""
    match value:
        case bool() | int() | float():
            return f"{'boolean' if isinstance(value, bool) else 'number'} {value!r}".replace("True", "true")
        case str():
            return f"string {value!r}" if len(value) <= 40 else "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "null"
