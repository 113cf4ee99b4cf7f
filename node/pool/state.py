"""What a pool machine remembers: who it is, its lease, and that it has left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from node import files
from node.joining import Answer, answer_body, parse_answer
from node.pool.client import Home
from overlay.model import is_wireguard_key

_REMEDY = "The machine goes on without it and joins again."
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Identity:
    """A machine and its key (a secret). An image made of this machine carries the file, but is another machine."""

    instance_id: str
    private_key: str


@dataclass(frozen=True)
class Departure:
    """That this machine goes, since its cloud takes it back.

    ``boot`` is the boot that it goes in: in another one the machine is there again. ``deadline`` is when it is to have
    left (seconds of that boot's monotonic clock).
    """

    boot: str
    reason: str
    deadline: float
    left: bool = False


class State:
    """The files in ``folder``; one that cannot be read is put aside, loudly. OSError when the disk takes no more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.identity: Identity | None = None
        self.lease: Answer | None = None
        self.has_ended = False
        """Whether the machine has given the lease back; its ticket is of use yet."""
        self.departure: Departure | None = None
        self.home: Home | None = None
        """Where a gateway sent this machine to join."""

    @property
    def is_set_up(self) -> bool:
        """Whether the user's setup has been through; its unit writes this mark."""
        return (self._folder / "setup-done").exists()

    def load(self) -> None:
        self.identity = self._read("identity.json", _identity)
        self.lease, self.has_ended = self._read("lease.json", _lease) or (None, False)
        self.departure = self._read("departure.json", _departure)
        self.home = self._read("home.json", _home)
        if self.identity is None:
            self.lease = None

    def become(self, identity: Identity) -> None:
        """Be this machine from now on, and forget what another one left here."""
        for name in ("lease.json", "departure.json", "setup-done"):
            (self._folder / name).unlink(missing_ok=True)
        self.lease = self.departure = None
        self.has_ended = False
        files.write(self._folder / "identity.json", asdict(identity))
        self.identity = identity

    def keep(self, lease: Answer, *, has_ended: bool = False) -> None:
        if (lease, has_ended) != (self.lease, self.has_ended):
            document = {"answer": answer_body(lease).decode(), "ended": has_ended}
            files.write(self._folder / "lease.json", document)
            self.lease, self.has_ended = lease, has_ended

    def move(self, home: Home) -> None:
        """Join at ``home`` from now on."""
        if home != self.home:
            files.write(self._folder / "home.json", asdict(home))
            self.home = home

    def depart(self, departure: Departure) -> None:
        self.departure = departure
        files.write(self._folder / "departure.json", asdict(departure))

    def stay(self) -> None:
        """Forget a departure."""
        (self._folder / "departure.json").unlink(missing_ok=True)
        self.departure = None

    def _read(self, name: str, parse: Callable[[dict[str, Any]], _Found]) -> _Found | None:
        path = self._folder / name
        try:
            document = files.read(path, _REMEDY)
            if document is None:
                return None
            try:
                return parse(document)
            except (KeyError, TypeError, ValueError) as error:
                raise files.StateError(path, f"{type(error).__name__}", _REMEDY) from error
        except files.StateError as error:
            files.put_aside(error)
            return None


def _identity(document: dict[str, Any]) -> Identity:
    identity = Identity(str(document["instance_id"]), str(document["private_key"]))
    if not is_wireguard_key(identity.private_key):
        raise ValueError("no key")
    return identity


def _lease(document: dict[str, Any]) -> tuple[Answer, bool]:
    return parse_answer(str(document["answer"]).encode()), bool(document["ended"])


def _departure(document: dict[str, Any]) -> Departure:
    return Departure(
        str(document["boot"]), str(document["reason"]), float(document["deadline"]), bool(document["left"])
    )


def _home(document: dict[str, Any]) -> Home:
    home = Home(str(document["host"]), int(document["port"]), str(document["public_key"]))
    if not is_wireguard_key(home.public_key):
        raise ValueError("no key")
    return home
