"""URNs: `urn:pulumi:<stack>::<project>::<parent types joined by $><type>::<name>`."""

from __future__ import annotations

STACK_TYPE = "pulumi:pulumi:Stack"
_PREFIX = "urn:pulumi:"


def make(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """The URN of a resource; a parent that is the stack itself does not show in it."""
    chain = qualified_type(parent) if parent else ""
    qualified = f"{chain}${type_}" if chain and chain != STACK_TYPE else type_
    return f"{_PREFIX}{stack}::{project}::{qualified}::{name}"


def _fields(urn: str) -> list[str]:
    """Stack, project, qualified type and name; raises ValueError when it is no URN. The name may contain `::`."""
    fields = urn.removeprefix(_PREFIX).split("::", 3)
    if not urn.startswith(_PREFIX) or len(fields) != 4:
        raise ValueError(f"{urn!r} is not a URN")
    return fields


def qualified_type(urn: str) -> str:
    """The type with those of its parents."""
    return _fields(urn)[2]


def type_of(urn: str) -> str:
    """The type alone."""
    return qualified_type(urn).rsplit("$", 1)[-1]


def name_of(urn: str) -> str:
    """The name that the program gave."""
    return _fields(urn)[3]


def package_of(type_: str) -> str:
    """The package that serves a type or function token."""
    return type_.split(":", 1)[0]
