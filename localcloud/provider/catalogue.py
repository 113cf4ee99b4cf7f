"""Names and types of every property, taken from the installed SDK's own classes, so that they are the user's own.

An SDK's module is imported when the first token of it is asked for (gcp.compute: about 1.5 s), or by `warm`.
"""

from __future__ import annotations

import difflib
import enum
import importlib
import inspect
import sys
import threading
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, cast

import pulumi
from pulumi import _types as sdk_types  # pyright: ignore[reportPrivateUsage] - the SDK has no public reflection

_reflection = threading.RLock()
"""Held while SDK modules are looked at: they load on first use, and a second thread would see them half done."""

Shape = Literal["string", "integer", "number", "boolean", "list", "map", "object", "any"]


class UnknownTokenError(Exception):
    """The token names no resource or function of the installed SDK; the text names the nearest."""


@dataclass(frozen=True)
class Type:
    """The type of a property; `element` is that of a list's or a map's items, `cls` an object's SDK class."""

    shape: Shape
    element: Type | None = None
    cls: type | None = None

    @property
    def properties(self) -> Mapping[str, Property]:
        """An object's properties by their names on the wire."""
        return {} if self.cls is None else properties_of(self.cls)


@dataclass(frozen=True)
class Property:
    """A property of an object."""

    type: Type
    required: bool


@dataclass(frozen=True)
class ResourceShape:
    """What a resource takes and what it tells."""

    inputs: Mapping[str, Property]
    outputs: Mapping[str, Type]


@dataclass(frozen=True)
class FunctionShape:
    """What a function takes and what it answers."""

    inputs: Mapping[str, Property]
    outputs: Mapping[str, Type]


ANY = Type("any")


@cache
def resource(token: str) -> ResourceShape:
    """The shape of the resource type `token`, such as `hcloud:index/server:Server`."""
    with _reflection:
        return _resource(token)


@cache
def function(token: str) -> FunctionShape:
    """The shape of the function `token`, such as `aws:ec2/getAmi:getAmi`."""
    with _reflection:
        return _function(token)


def _resource(token: str) -> ResourceShape:
    name = token.rpartition(":")[2]
    cls = getattr(_module(token), name, None)
    if not inspect.isclass(cls) or not issubclass(cls, pulumi.CustomResource):
        raise UnknownTokenError(f"unknown resource type {token}{_nearest(name, dir(_module(token)))}")
    module = sys.modules[cls.__module__]
    arguments = next(
        found for found in (getattr(module, each) for each in module.__all__) if sdk_types.is_input_type(found)
    )
    outputs = {key: _type(hint) for key, hint in sdk_types.resource_types(cls).items()}
    return ResourceShape(properties_of(arguments), outputs)


def _function(token: str) -> FunctionShape:
    name = token.rpartition(":")[2]
    call = cast("Callable[..., Any] | None", getattr(_module(token), _snake(name), None))
    result = getattr(_module(token), f"{name[0].upper()}{name[1:]}Result", None)
    if call is None or result is None:
        raise UnknownTokenError(f"unknown function {token}")
    hints = typing.get_type_hints(call, vars(sys.modules[call.__module__]))
    parameters = inspect.signature(call).parameters
    inputs = {
        _camel(parameter): Property(_type(hints[parameter]), parameters[parameter].default is inspect.Parameter.empty)
        for parameter in parameters
        if parameter != "opts"
    }
    outputs = {key: _type(hint) for key, hint in sdk_types.output_type_types(result).items()}
    return FunctionShape(inputs, outputs)


@cache
def configuration(package: str) -> tuple[str, ...]:
    """The names of the provider's own settings, such as `region`."""
    with _reflection:
        return tuple(properties_of(_import(f"pulumi_{package}").ProviderArgs))


@cache
def properties_of(cls: type) -> Mapping[str, Property]:
    """The properties of an SDK class of arguments or of outputs."""
    with _reflection:
        return _properties_of(cls)


def _properties_of(cls: type) -> Mapping[str, Property]:
    if not sdk_types.is_input_type(cls):
        return {name: Property(_type(hint), False) for name, hint in sdk_types.output_type_types(cls).items()}
    parameters = inspect.signature(cls.__init__).parameters
    names = sdk_types.input_type_py_to_pulumi_names(cls)
    hints = sdk_types.input_type_types(cls)
    return {
        wire: Property(_type(hints[wire]), parameters[name].default is inspect.Parameter.empty)
        for name, wire in names.items()
    }


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that `name` most likely is a misspelling of."""
    wanted = _folded(name)
    folded = {_folded(candidate): candidate for candidate in known}
    begun = [each for each in folded if wanted and (each.startswith(wanted) or wanted.startswith(each))]
    match = begun or difflib.get_close_matches(wanted, list(folded), n=1, cutoff=0.6)
    return folded[match[0]] if match else None


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def warm(package: str) -> None:
    """Import what the package's kinds need, so that the first check does not wait for it."""
    for module in {"aws": ("ec2", "vpc", "autoscaling", "iam"), "gcp": ("compute", "serviceaccount")}.get(package, ()):
        _import(f"pulumi_{package}.{module}")
    _import(f"pulumi_{package}")


def _module(token: str) -> types.ModuleType:
    package, _, rest = token.partition(":")
    module = rest.partition("/")[0].partition(":")[0]
    name = f"pulumi_{package}" if module == "index" else f"pulumi_{package}.{module}"
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        raise UnknownTokenError(f"unknown module in {token}: {error}") from error


def _import(name: str) -> types.ModuleType:
    with _reflection:
        module = importlib.import_module(name)
        _ = module.__doc__  # loads a lazy one
        return module


def _nearest(name: str, known: Sequence[str]) -> str:
    match = nearest(name, [candidate for candidate in known if candidate[:1].isupper()])
    return f"; did you mean {match}?" if match else ""


def _type(hint: Any) -> Type:
    hint = _unwrapped(hint)
    origin = typing.get_origin(hint)
    if origin in (list, Sequence) or origin is typing.get_origin(Sequence[int]):
        return Type("list", _type(typing.get_args(hint)[0]))
    if origin in (dict, Mapping) or origin is typing.get_origin(Mapping[str, int]):
        return Type("map", _type(typing.get_args(hint)[1]))
    if not inspect.isclass(hint):
        return ANY
    if sdk_types.is_input_type(hint) or sdk_types.is_output_type(hint):
        return Type("object", cls=hint)
    scalars: dict[type, Shape] = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if issubclass(hint, enum.Enum):
        return Type("string")
    return Type(scalars[hint]) if hint in scalars else ANY


def _unwrapped(hint: Any) -> Any:
    """The one meaning among an annotation's wrappers: Optional, Input, Output, and the TypedDict of the same object."""
    while typing.get_origin(hint) in (Union, types.UnionType):
        arms = [arm for arm in typing.get_args(hint) if not _is_wrapper(arm)]
        if not arms:
            return Any
        hint = arms[0]
    return hint


def _is_wrapper(arm: Any) -> bool:
    if arm is type(None) or isinstance(arm, typing.ForwardRef) or typing.is_typeddict(arm):
        return True
    return typing.get_origin(arm) in (Awaitable, pulumi.Output) or arm is pulumi.Output


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)
