"""Typed reading of checked properties, where anything may be absent or not known yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from localcloud.wire import UNKNOWN, Value, contains_unknown


class Inputs:
    """Properties of a resource or of an object within; what is absent and what is not known yet both read as None."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values

    def given(self, name: str) -> bool:
        """Whether the property is set, be its value known or not."""
        return self.values.get(name) is not None

    def known(self, name: str) -> bool:
        """Whether nothing in the property is still unknown (an absent one is known)."""
        return not contains_unknown(self.values.get(name))

    def text(self, name: str) -> str | None:
        """The string, when it is set and known."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | None:
        """The integer, when it is set and known."""
        value = self.values.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str, default: bool = False) -> bool:
        """The boolean, or the default."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else default

    def texts(self, name: str) -> list[str]:
        """The known strings of a list."""
        return [item for item in self._list(name) if isinstance(item, str)]

    def numbers(self, name: str) -> list[int]:
        """The known integers of a list."""
        return [item for item in self._list(name) if isinstance(item, int)]

    def objects(self, name: str) -> list[Inputs]:
        """The objects of a list."""
        return [Inputs(item) for item in self._list(name) if isinstance(item, dict)]

    def object(self, name: str) -> Inputs | None:
        """The object, when it is set and known."""
        value = self.values.get(name)
        return Inputs(value) if isinstance(value, dict) else None

    def mapping(self, name: str) -> dict[str, str]:
        """The known entries of a map of strings."""
        value = self.values.get(name)
        pairs = cast("dict[str, Value]", value) if isinstance(value, dict) else {}
        return {key: item for key, item in pairs.items() if isinstance(item, str)}

    def keys(self, name: str) -> Iterator[str]:
        """The keys of a map."""
        value = self.values.get(name)
        return iter(cast("dict[str, Value]", value) if isinstance(value, dict) else ())

    def _list(self, name: str) -> list[Value]:
        value = self.values.get(name)
        return value if isinstance(value, list) and value is not UNKNOWN else []
