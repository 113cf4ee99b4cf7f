"""Strict reading of JSON from outside: every field is there, of its type, and no other is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Any, cast

from overlay.model import is_endpoint, is_wireguard_key

Source = IPv4Network | IPv6Network
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PEM = re.compile(r"(?:-----BEGIN ([A-Z ]{3,40})-----\n(?:[A-Za-z0-9+/]{1,76}={0,2}\n)+-----END \1-----\n)+")


class FieldError(ValueError):
    """The document is not as it should be; the message names the field and what is wrong with it."""


def is_pem(text: str) -> bool:
    """Whether ``text`` is one PEM block or more, each line with its end."""
    return _PEM.fullmatch(text) is not None


class Fields:
    """A JSON object that is read field by field; every field must be read, and none may be missing."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise FieldError(f"{where}: an object is needed")
        self._where = where
        self._left = dict(cast("dict[str, object]", value))

    def take(self, key: str) -> tuple[str, object]:
        """The field's path and value."""
        path = f"{self._where}.{key}"
        if key not in self._left:
            raise FieldError(f"{path}: missing")
        return path, self._left.pop(key)

    def text(self, key: str) -> str:
        path, value = self.take(key)
        if not isinstance(value, str) or not value:
            raise FieldError(f"{path}: a text is needed")
        return value

    def number(self, key: str, low: int, high: int) -> int:
        path, value = self.take(key)
        if type(value) is not int or not low <= value <= high:
            raise FieldError(f"{path}: a whole number from {low} to {high} is needed")
        return value

    def flag(self, key: str) -> bool:
        path, value = self.take(key)
        if not isinstance(value, bool):
            raise FieldError(f"{path}: true or false is needed")
        return value

    def network(self, key: str) -> IPv4Network:
        try:
            return IPv4Network(self.text(key))
        except ValueError as error:
            raise FieldError(f"{self._where}.{key}: {error}") from None

    def address(self, key: str) -> IPv4Address:
        try:
            return IPv4Address(self.text(key))
        except ValueError as error:
            raise FieldError(f"{self._where}.{key}: {error}") from None

    def key(self, key: str) -> str:
        value = self.text(key)
        if not is_wireguard_key(value):
            raise FieldError(f"{self._where}.{key}: not a WireGuard key (base64 of 32 bytes)")
        return value

    def endpoint(self, key: str) -> str | None:
        if self._is_null(key):
            return None
        value = self.text(key)
        if not is_endpoint(value):
            raise FieldError(f"{self._where}.{key}: {value!r} is not host:port")
        return value

    def digest(self, key: str) -> str:
        value = self.text(key)
        if not _DIGEST.fullmatch(value):
            raise FieldError(f"{self._where}.{key}: not a SHA-256 in 64 lower-case hex digits")
        return value

    def pem(self, key: str) -> str:
        """A text of one or more PEM blocks, which nobody has looked into."""
        value = self.text(key)
        if not is_pem(value):
            raise FieldError(f"{self._where}.{key}: not PEM")
        return value

    def maybe_pem(self, key: str) -> str | None:
        return None if self._is_null(key) else self.pem(key)

    def maybe_text(self, key: str) -> str | None:
        return None if self._is_null(key) else self.text(key)

    def maybe_optional_text(self, key: str) -> str | None:
        """A text that may be empty, or null."""
        return None if self._is_null(key) else self.optional_text(key)

    def maybe_network(self, key: str) -> IPv4Network | None:
        return None if self._is_null(key) else self.network(key)

    def maybe_network6(self, key: str) -> IPv6Network | None:
        if self._is_null(key):
            return None
        try:
            return IPv6Network(self.text(key))
        except ValueError as error:
            raise FieldError(f"{self._where}.{key}: {error}") from None

    def text_lists(self, key: str) -> Mapping[str, tuple[str, ...]]:
        fields = self.object(key)
        found = {name: tuple(fields.texts(name)) for name in sorted(fields.names())}
        fields.end()
        return found

    def names(self) -> Set[str]:
        """The fields that are not read yet."""
        return self._left.keys()

    def optional_text(self, key: str) -> str:
        """A text that may be empty."""
        path, value = self.take(key)
        if not isinstance(value, str):
            raise FieldError(f"{path}: a text is needed")
        return value

    def maybe_address(self, key: str) -> IPv4Address | None:
        return None if self._is_null(key) else self.address(key)

    def networks(self, key: str) -> tuple[IPv4Network, ...]:
        try:
            return tuple(IPv4Network(text) for text in self.texts(key))
        except ValueError as error:
            raise FieldError(f"{self._where}.{key}: {error}") from None

    def maybe(self, key: str) -> Fields | None:
        """The object in a field that may be null."""
        path, value = self.take(key)
        return None if value is None else Fields(path, value)

    def object(self, key: str) -> Fields:
        return Fields(*self.take(key))

    def text_map(self, key: str) -> Mapping[str, str]:
        path, value = self.take(key)
        items = cast("dict[str, object]", value) if isinstance(value, dict) else None
        if items is None or not all(isinstance(item, str) for item in items.values()):
            raise FieldError(f"{path}: an object of texts is needed")
        return cast("dict[str, str]", items)

    def objects(self, key: str) -> Mapping[str, Fields]:
        path, value = self.take(key)
        if not isinstance(value, dict):
            raise FieldError(f"{path}: an object is needed")
        return {name: Fields(f"{path}.{name}", item) for name, item in cast("dict[str, object]", value).items()}

    def object_list(self, key: str) -> Sequence[Fields]:
        """The objects in a list."""
        path, value = self.take(key)
        if not isinstance(value, list):
            raise FieldError(f"{path}: a list is needed")
        return [Fields(f"{path}.{number}", item) for number, item in enumerate(cast("list[object]", value))]

    def texts(self, key: str) -> Sequence[str]:
        path, value = self.take(key)
        items = cast("list[object]", value) if isinstance(value, list) else None
        if items is None or not all(isinstance(item, str) for item in items):
            raise FieldError(f"{path}: a list of texts is needed")
        return cast("list[str]", items)

    def sources(self, key: str) -> tuple[Source, ...]:
        try:
            return tuple(ip_network(text) for text in self.texts(key))
        except ValueError as error:
            raise FieldError(f"{self._where}.{key}: {error}") from None

    def _is_null(self, key: str) -> bool:
        """Whether the field is there and null; it is read then."""
        if self._left.get(key, "") is not None:
            return False
        del self._left[key]
        return True

    def end(self) -> None:
        if self._left:
            raise FieldError(f"{self._where}: unknown field {min(self._left)!r}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FieldError("the same field stands twice in one object")
    return found


def read(where: str, body: bytes) -> Fields:
    """The object in ``body``, which is JSON in ASCII; ``where`` is what errors call it."""
    try:
        document: object = json.loads(body.decode("ascii"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FieldError):
            raise
        raise FieldError(f"not JSON in ASCII: {type(error).__name__}") from None
    return Fields(where, document)
