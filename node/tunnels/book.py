"""Which WireGuard keys others use in the place of their enrolment keys."""

from __future__ import annotations

from collections.abc import Mapping

from node.network_words import NO_KEYS, Keys


class Book:
    """By enrolment key, the keys in use; whoever is not in it uses its enrolment key.

    ``before`` is what held until now: an interface may still have the keys of then.
    """

    def __init__(self, keys: Mapping[str, Keys] | None = None, before: Book | None = None) -> None:
        self._keys = {identity: each for identity, each in (keys or {}).items() if each != NO_KEYS}
        self._identities: dict[str, str] = {}
        for identity, each in self._keys.items():
            for key in (each.first, each.second):
                if key is not None:
                    self._identities[key] = identity
        old = before.all() if before else {}
        self._stale = {
            identity: {identity, *({before.first(identity)} if before else ())} - {self.first(identity)}
            for identity in self._keys.keys() | old.keys()
        }

    def all(self) -> dict[str, Keys]:
        """Of those who do not use their enrolment key, or change it."""
        return dict(self._keys)

    def stale(self) -> dict[str, set[str]]:
        """By enrolment key, the keys that an interface may have of one who uses another now."""
        return self._stale

    def keys(self, identity: str) -> Keys:
        return self._keys.get(identity, NO_KEYS)

    def first(self, identity: str) -> str:
        """The key of the end's interface."""
        return self.keys(identity).first or identity

    def identity(self, key: str) -> str | None:
        """Whose key it is; None for one that nobody uses, the enrolment key of whoever uses another one included."""
        found = self._identities.get(key)
        if found is not None:
            return found
        return key if self.first(key) == key else None

    def turning(self) -> dict[str, Keys]:
        """Those that change their key now."""
        return {identity: each for identity, each in self._keys.items() if each.second is not None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Book) and self._keys == other._keys

    def __hash__(self) -> int:
        return hash(frozenset(self._keys))
