"""Property values as the engine sends them: JSON with two additions, values not known yet and secrets.

Signatures: https://www.pulumi.com/docs/iac/extending-pulumi/ (the wire format of special values in `Struct`s).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct
from google.protobuf.struct_pb2 import Value as WireValue

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class _Unknown(Enum):
    UNKNOWN = _UNKNOWN


UNKNOWN = _Unknown.UNKNOWN
"""What a preview cannot know."""


@dataclass(frozen=True)
class Secret:
    """A value that is kept sealed in state and never shown."""

    value: Value


Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | _Unknown | Secret | None"


def decode(struct: Struct) -> dict[str, Value]:
    """The properties of a message; numbers without a fraction are integers."""
    return {name: _decode(value) for name, value in struct.fields.items()}


def encode(properties: Mapping[str, Value], *, secrets: bool = True) -> Struct:
    """The inverse of `decode`; without `secrets` they are sent bare, for an engine that cannot take them."""
    struct = Struct()
    for name, value in properties.items():
        _encode(value, struct.fields[name], secrets)
    return struct


def _decode(value: WireValue) -> Value:
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value == _UNKNOWN else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "struct_value":
            return _decode_struct(value.struct_value)
        case _:
            return None


def _decode_struct(struct: Struct) -> Value:
    fields = struct.fields
    match fields[_SIGNATURE].string_value if _SIGNATURE in fields else None:
        case None:
            return decode(struct)
        case sig if sig == _SECRET:
            return Secret(_decode(fields["value"]))
        case sig if sig == _OUTPUT:
            inner = _decode(fields["value"]) if "value" in fields else UNKNOWN
            return Secret(inner) if "secret" in fields and fields["secret"].bool_value else inner
        case sig if sig == _RESOURCE:
            return _decode(fields["id"]) if "id" in fields else fields["urn"].string_value
        case sig:
            raise ValueError(f"a value of the unsupported kind {sig} (an asset or an archive?) was sent")


def _encode(value: Value, wire: WireValue, secrets: bool) -> None:
    match value:
        case None:
            wire.null_value = NullValue.NULL_VALUE
        case bool():
            wire.bool_value = value
        case int() | float():
            wire.number_value = value
        case str():
            wire.string_value = value
        case list():
            wire.list_value.CopyFrom(ListValue())
            for item in value:
                _encode(item, wire.list_value.values.add(), secrets)
        case dict():
            wire.struct_value.CopyFrom(Struct())
            for name, item in value.items():
                _encode(item, wire.struct_value.fields[name], secrets)
        case Secret():
            if not secrets:
                _encode(value.value, wire, secrets)
                return
            wire.struct_value.fields[_SIGNATURE].string_value = _SECRET
            _encode(value.value, wire.struct_value.fields["value"], secrets)
        case _Unknown():
            wire.string_value = _UNKNOWN


def bare(value: Value) -> Value:
    """The value without its secret marks."""
    match value:
        case Secret():
            return bare(value.value)
        case list():
            return [bare(item) for item in value]
        case dict():
            return {name: bare(item) for name, item in value.items()}
        case _:
            return value


def bare_properties(properties: Mapping[str, Value]) -> dict[str, Value]:
    """The properties without their secret marks."""
    return {name: bare(value) for name, value in properties.items()}


def holds_unknown(value: Value) -> bool:
    """Whether anything in the value is not known yet."""
    match value:
        case Secret():
            return holds_unknown(value.value)
        case list():
            return any(holds_unknown(item) for item in value)
        case dict():
            return any(holds_unknown(item) for item in value.values())
        case _:
            return value is UNKNOWN


def holds_secret(value: Value) -> bool:
    """Whether anything in the value is secret."""
    match value:
        case Secret():
            return True
        case list():
            return any(holds_secret(item) for item in value)
        case dict():
            return any(holds_secret(item) for item in value.values())
        case _:
            return False


def secrets_in(value: Value) -> set[str]:
    """The texts and numbers that are secret, for keeping them out of messages."""
    match value:
        case Secret():
            return _texts(value.value)
        case list():
            return {text for item in value for text in secrets_in(item)}
        case dict():
            return {text for item in value.values() for text in secrets_in(item)}
        case _:
            return set()


def _texts(value: Value) -> set[str]:
    match value:
        case str() | float():
            return {str(value)} if str(value) else set()
        case list():
            return {text for item in value for text in _texts(item)}
        case dict():
            return {text for item in value.values() for text in _texts(item)}
        case Secret():
            return _texts(value.value)
        case _:
            return set()


def redacted(text: str, secrets: set[str]) -> str:
    """The text with each secret in it replaced, longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


def sealed_like(value: Value, pattern: Value) -> Value:
    """`value` with secret marks wherever `pattern`, which tells of the same property, has them."""
    match pattern, value:
        case Secret(), _:
            return Secret(value)
        case dict(), dict():
            return {name: sealed_like(item, pattern.get(name)) for name, item in value.items()}
        case list(), list() if len(pattern) == len(value):
            return [sealed_like(item, like) for item, like in zip(value, pattern, strict=True)]
        case _:
            return Secret(value) if holds_secret(pattern) else value
