"""Property values as Python objects, and their wire form (`google.protobuf.Struct`), for engine and providers alike.

A value is None, a bool, an int or float, a str, a list, a dict with str keys, a `Secret` around one, or `UNKNOWN`.
The signatures are those of the Pulumi SDK (`pulumi/runtime/rpc.py`) and of its deployment format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from google.protobuf import struct_pb2

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
RESOURCE_SIGNATURE = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT_SIGNATURE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_ASSET_SIGNATURES = frozenset({"c44067f5952c0a294b673a41bacd8c17", "0def7320c3a5731c473e5ecbe6d01bc7"})
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class WireError(ValueError):
    """A message carries a value that neither engine nor providers handle; the text says which."""


@dataclass(frozen=True)
class Secret:
    """A value that is shown, logged and stored only sealed."""

    value: Value

    def __repr__(self) -> str:
        return "[secret]"


class Unknown(Enum):
    """The type of `UNKNOWN`, what a preview cannot know yet."""

    UNKNOWN = "[unknown]"


UNKNOWN = Unknown.UNKNOWN

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | Secret | Unknown | None"
Properties: TypeAlias = "dict[str, Value]"


def from_struct(struct: struct_pb2.Struct, *, references: bool = True) -> Properties:
    """The properties of a message; WireError for assets and archives.

    Args:
        struct: the message.
        references: keep references to resources as objects; otherwise their id (or URN) is taken.
    """
    return {key: from_wire(value, references=references) for key, value in struct.fields.items()}


def from_wire(value: struct_pb2.Value, *, references: bool = True) -> Value:
    """One value of a message."""
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value == UNKNOWN_TEXT else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _from_object(value.struct_value, references)
        case "list_value":
            return [from_wire(item, references=references) for item in value.list_value.values]
        case _:
            return None


def _from_object(struct: struct_pb2.Struct, references: bool) -> Value:
    fields = struct.fields
    if SIGNATURE not in fields:
        return from_struct(struct, references=references)
    match fields[SIGNATURE].string_value:
        case signature if signature == SECRET_SIGNATURE:
            return secret(from_wire(fields["value"], references=references))
        case signature if signature == OUTPUT_SIGNATURE:
            value = from_wire(fields["value"], references=references) if "value" in fields else UNKNOWN
            return secret(value) if "secret" in fields and fields["secret"].bool_value else value
        case signature if signature == RESOURCE_SIGNATURE:
            return from_struct(struct) if references else from_wire(fields["id" if "id" in fields else "urn"])
        case signature if signature in _ASSET_SIGNATURES:
            raise WireError("assets and archives are not supported by the local cloud")
        case signature:
            raise WireError(f"a property value carries the unknown signature {signature}")


def to_struct(properties: Mapping[str, Value], *, secrets: bool = True, resources: bool = True) -> struct_pb2.Struct:
    """The message of properties.

    Args:
        properties: what to say.
        secrets: keep secrets marked; otherwise their plain value is sent.
        resources: keep references to resources; otherwise their id (or URN) is sent.
    """
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        _fill(struct.fields[key], value, secrets, resources)
    return struct


def _fill(wire: struct_pb2.Value, value: Value, secrets: bool, resources: bool) -> None:
    match value:
        case list():
            wire.list_value.SetInParent()
            for item in value:
                _fill(wire.list_value.values.add(), item, secrets, resources)
        case Secret():
            if secrets:
                fields = wire.struct_value.fields
                fields[SIGNATURE].string_value = SECRET_SIGNATURE
                _fill(fields["value"], value.value, secrets, resources)
            else:
                _fill(wire, value.value, secrets, resources)
        case dict() if not resources and value.get(SIGNATURE) == RESOURCE_SIGNATURE:
            _fill(wire, value.get("id") or value.get("urn"), secrets, resources)
        case dict():
            wire.struct_value.SetInParent()
            for key, item in value.items():
                _fill(wire.struct_value.fields[key], item, secrets, resources)
        case _:
            _fill_scalar(wire, value)


def _fill_scalar(wire: struct_pb2.Value, value: bool | float | str | Unknown | None) -> None:
    match value:
        case None:
            wire.null_value = struct_pb2.NULL_VALUE
        case bool():
            wire.bool_value = value
        case int() | float():
            wire.number_value = value
        case str():
            wire.string_value = value
        case Unknown():
            wire.string_value = UNKNOWN_TEXT


def secret(value: Value) -> Value:
    """The value as a secret; a secret stays one."""
    return value if isinstance(value, Secret) else Secret(value)


def contains_unknown(value: Value) -> bool:
    """Whether any part of the value is unknown."""
    return value is UNKNOWN or any(contains_unknown(part) for part in parts(value))


def contains_secret(value: Value) -> bool:
    """Whether any part of the value is secret."""
    return isinstance(value, Secret) or any(contains_secret(part) for part in parts(value))


def parts(value: Value) -> Iterable[Value]:
    """The values directly inside a value."""
    match value:
        case Secret():
            return (value.value,)
        case list():
            return value
        case dict():
            return value.values()
        case _:
            return ()


def plain(value: Value) -> Value:
    """The value without its secret marks."""
    match value:
        case Secret():
            return plain(value.value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


def plain_properties(properties: Mapping[str, Value]) -> Properties:
    """Properties without their secret marks."""
    return {key: plain(value) for key, value in properties.items()}
