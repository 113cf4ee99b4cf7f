"""Reads the inputs of resources out of a preview, where numbers are floats and what is unknown is a string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

UNKNOWN = ("[unknown]", "04da6b54-80e4-46f7-96ec-b56ff0331ba9")
"""What stands for a value that only exists after the change: the small engine's word, and the CLI's."""
SECRET = "[secret]"


def text(inputs: Mapping[str, Any], key: str) -> str:
    """A string; empty where there is none or it is not known yet."""
    value = inputs.get(key)
    return value if isinstance(value, str) and value not in UNKNOWN else ""


def number(inputs: Mapping[str, Any], key: str) -> int:
    """A whole number; 0 where there is none."""
    value = inputs.get(key)
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return int(value) if isinstance(value, int | float) else 0


def flag(inputs: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    """A yes or no, which launch templates say as text."""
    value = inputs.get(key, default)
    return value is True or value == "true"


def section(inputs: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object; empty where there is none."""
    value = inputs.get(key)
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def items(inputs: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """A list's objects."""
    value = inputs.get(key)
    if not isinstance(value, list):
        return []
    return [cast("Mapping[str, Any]", item) for item in cast("list[object]", value) if isinstance(item, dict)]


def texts(inputs: Mapping[str, Any], key: str) -> list[str]:
    """A list's strings; a list that is not known yet has one that says so."""
    value = inputs.get(key)
    if isinstance(value, str):
        return [UNKNOWN[0]] if value in UNKNOWN else [value]
    if not isinstance(value, list):
        return []
    return [UNKNOWN[0] if item in UNKNOWN else str(item) for item in cast("list[object]", value)]
