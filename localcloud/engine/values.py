"""Property values as Python objects, and their wire form (`google.protobuf.Struct`).

A value is None, a bool, an int or float, a str, a list, a dict with str keys, a `Secret` around one, or `UNKNOWN`.
The signatures are those of the Pulumi SDK (`pulumi/runtime/rpc.py`) and of its deployment format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, cast

from google.protobuf import struct_pb2

from localcloud.engine.errors import EngineError

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
RESOURCE_SIGNATURE = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT_SIGNATURE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
ASSET_SIGNATURES = frozenset({"c44067f5952c0a294b673a41bacd8c17", "0def7320c3a5731c473e5ecbe6d01bc7"})
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


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


def from_struct(struct: struct_pb2.Struct) -> Properties:
    """The properties of a message; raises EngineError for assets and archives."""
    return {key: from_wire(value) for key, value in struct.fields.items()}


def from_wire(value: struct_pb2.Value) -> Value:
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
            return _from_object(value.struct_value)
        case "list_value":
            return [from_wire(item) for item in value.list_value.values]
        case _:
            return None


def _from_object(struct: struct_pb2.Struct) -> Value:
    fields = struct.fields
    if SIGNATURE not in fields:
        return from_struct(struct)
    match fields[SIGNATURE].string_value:
        case signature if signature == SECRET_SIGNATURE:
            return secret(from_wire(fields["value"]))
        case signature if signature == OUTPUT_SIGNATURE:
            value = from_wire(fields["value"]) if "value" in fields else UNKNOWN
            return secret(value) if "secret" in fields and fields["secret"].bool_value else value
        case signature if signature == RESOURCE_SIGNATURE:
            return from_struct(struct)
        case signature if signature in ASSET_SIGNATURES:
            raise EngineError("assets and archives are not supported by the small engine; use the pulumi CLI")
        case signature:
            raise EngineError(f"a property value carries the unknown signature {signature}")


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


def masked(value: Value) -> Value:
    """The value with `[secret]` and `[unknown]` where one must not or cannot be shown."""
    match value:
        case Secret():
            return "[secret]"
        case Unknown():
            return "[unknown]"
        case list():
            return [masked(item) for item in value]
        case dict():
            return {key: masked(item) for key, item in value.items()}
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
