"""Who was cut off, and what of them is barred; kept on disk, and the same on every gateway before long."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from node import files
from node.gateway.lease import Refusal
from node.joining import Request
from node.log import say
from node.neighbour_document import Revocation, read_revocation, revocation_document
from overlay.fields import FieldError, Fields
from overlay.model import Node

REMEDY = (
    "The peers stay as they are until the interface goes down. Move the file away and `systemctl restart hybridnet`: "
    "the other gateways tell what they know, and without any the nodes must be revoked again."
)


class Revocations:
    """The revocations in ``path``. None is ever taken back: a node comes back with another key. Any thread may call.

    What every gateway has is the union of what all were told, so it does not matter who told what first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._is_behind = False
        self.all: tuple[Revocation, ...] = ()
        """Oldest first. Replaced, never changed."""
        self.version = 0
        """Another one after each change."""
        self.keys: frozenset[str] = frozenset()
        """WireGuard public keys that nobody may use."""
        self._instances: frozenset[str] = frozenset()
        self.tokens: frozenset[str] = frozenset()
        """Digests of join tokens that let nobody in any more."""

    def load(self) -> None:
        """Read the file, if there is one; StateError when it is not what was stored."""
        document = files.read(self._path, REMEDY)
        if document is None:
            return
        try:
            self._set(map(read_revocation, Fields(self._path.name, document).object_list("revocations")))
        except FieldError as error:
            raise files.StateError(self._path, str(error), REMEDY) from error

    def _set(self, revocations: Iterable[Revocation]) -> None:
        found = sorted(set(revocations), key=lambda each: (each.at, each.name, repr(each)))
        self.all = tuple(found)
        self.keys = frozenset(key for each in found for key in each.keys)
        self._instances = frozenset(each.instance for each in found if each.instance)
        self.tokens = frozenset(each.token for each in found if each.token)
        self.version += 1

    def add(self, *revocations: Revocation) -> None:
        """Bar these from now on. OSError when the disk does not take it; they are barred all the same."""
        with self._lock:
            if set(revocations) - set(self.all):
                self._set([*self.all, *revocations])
                self._is_behind = True
            self._save()

    def merge(self, told: Iterable[Revocation]) -> None:
        """Take what another gateway has told. What the disk does not take now, :meth:`save` tries again."""
        new = set(told) - set(self.all)
        if not new:
            return
        try:
            self.add(*new)
        except OSError as error:
            say(f"{self._path} cannot be written, what is in it holds all the same: {error}")

    def save(self) -> None:
        """Bring the file up to date. OSError."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        if self._is_behind:
            files.write(self._path, {"revocations": [revocation_document(each) for each in self.all]})
            self._is_behind = False

    # What is barred.

    def bars(self, node: Node) -> bool:
        """Whether a declared node is cut off. Gateways never are."""
        return node.role != "gateway" and node.public_key in self.keys

    def bars_machine(self, public_key: str, instance: str) -> bool:
        """Whether the machine of a pool is cut off."""
        return public_key in self.keys or instance in self._instances

    def check(self, request: Request) -> None:
        """Refusal (403) for a machine that is cut off and asks to join."""
        if request.public_key in self.keys:
            raise Refusal(403, "public_key: this key was revoked", kind="revoked")
        if request.instance_id in self._instances:
            raise Refusal(403, "instance_id: this machine was revoked", kind="revoked")

    def of_key(self, public_key: str) -> Revocation | None:
        """What was revoked with a key."""
        return next((each for each in self.all if public_key in each.keys), None)

    def of_name(self, name: str) -> Revocation | None:
        """What was revoked last under a name."""
        return next((each for each in reversed(self.all) if each.name == name), None)

    def status(self) -> list[dict[str, Any]]:
        """``revoked`` of ``GET /v1/status``."""
        return [revocation_document(each) for each in self.all]
