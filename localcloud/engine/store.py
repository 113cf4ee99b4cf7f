"""Where a stack's state is kept: one file, a journal of the steps since it was written, and a lock.

`<stack>.json` is replaced whole when an operation ends; `<stack>.journal` gets one line a step, synced before the
operation goes on, so a crash at any moment loses nothing that a provider has answered. All are mode 0600.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from localcloud.engine.errors import EngineError
from localcloud.engine.passphrase import Sealer
from localcloud.engine.state import Pending, Resource, Snapshot, decode, encode, from_document, order, to_document


class Store:
    """The state of one stack in `<directory>/<project>/`. Threads may use it at the same time.

    A resource is known by its slot, a number that stays with it as long as it is in the state.
    """

    def __init__(self, directory: Path, project: str, stack: str, sealer: Sealer) -> None:
        self.directory = directory / project
        self.path = self.directory / f"{stack}.json"
        self._journal_path = self.directory / f"{stack}.journal"
        self._lock_path = self.directory / f"{stack}.lock"
        self._sealer = sealer
        self._mutex = threading.RLock()
        self._base = ""
        self._journal: IO[str] | None = None
        self._slots: dict[int, Resource] = {}
        self._pending: dict[int, Pending] = {}
        self._next = 0

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keeps other operations off this stack; raises EngineError when one is under way."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._lock_path, "a+", opener=_private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise EngineError(
                    f"another operation is running on this stack (process {lock.read().strip() or 'unknown'}); "
                    "wait for it to end"
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def load(self) -> Snapshot:
        """The state as of the last step that was recorded, a crash included; raises EngineError when it is corrupt."""
        try:
            return self._load()
        except (KeyError, TypeError, AttributeError) as error:
            raise _corrupt(self.path, f"{type(error).__name__}: {error}") from error

    def _load(self) -> Snapshot:
        with self._mutex:
            self._base = ""
            self._slots = {}
            self._pending = {}
            if self.path.exists():
                document = _parse(self.path, self.path.read_text())
                own = document["localcloud"]
                self._base = own["journal"]
                found = from_document(document, self._opener(document))
                self._slots = dict(zip(own["slots"], found.resources, strict=True))
                self._pending = dict(zip(own["pending_slots"], found.pending, strict=True))
            self._replay()
            self._next = max([-1, *self._slots, *self._pending]) + 1
            return self.snapshot()

    def _opener(self, document: dict[str, Any]) -> Sealer:
        """The sealer of the salt that the file was written with."""
        salt = _salt(document)
        return self._sealer if salt in (None, self._sealer.salt) else self._sealer.with_salt(salt)

    def _replay(self) -> None:
        if not self._journal_path.exists():
            return
        lines = self._journal_path.read_text().split("\n")
        entries = [_parse(self._journal_path, line) for line in lines[:-1]]  # an unfinished last line never happened
        if not entries or entries[0].get("base") != self._base:
            return
        opener = self._sealer if entries[0]["salt"] == self._sealer.salt else self._sealer.with_salt(entries[0]["salt"])
        for entry in entries[1:]:
            if "begin" in entry:
                self._pending[entry["slot"]] = Pending(entry["begin"], entry["urn"])
            for slot, resource in entry.get("put", {}).items():
                self._slots[int(slot)] = decode(resource, opener)
            for slot in entry.get("drop", ()):
                self._slots.pop(slot, None)
            if "end" in entry:
                self._pending.pop(entry["end"], None)

    def snapshot(self) -> Snapshot:
        """The state as of now."""
        with self._mutex:
            return Snapshot(tuple(self._slots[slot] for slot in self._in_order()), tuple(self._pending.values()))

    def _in_order(self) -> list[int]:
        """Slots with each after those that its resource needs."""
        slots = list(self._slots)
        return [slots[index] for index in order(list(self._slots.values()))]

    def slots(self) -> dict[int, Resource]:
        """Slot -> resource."""
        with self._mutex:
            return dict(self._slots)

    def forget_pending(self) -> None:
        """Drops what a broken-off operation left under way, after it was told to the user."""
        with self._mutex:
            for slot in list(self._pending):
                self._record({"end": slot})
                del self._pending[slot]

    def begin(self, operation: str, urn: str) -> int:
        """Records that a step begins; give the result to `finish`."""
        with self._mutex:
            slot = self._take()
            self._pending[slot] = Pending(operation, urn)
            self._record({"begin": operation, "urn": urn, "slot": slot})
            return slot

    def finish(self, begun: int | None, *, put: dict[int, Resource] | None = None, drop: tuple[int, ...] = ()) -> None:
        """Records what a step did, durably, before anything else depends on it."""
        with self._mutex:
            entry: dict[str, Any] = {}
            if put:
                entry["put"] = {slot: encode(resource, self._sealer) for slot, resource in put.items()}
                self._slots.update(put)
            if drop:
                entry["drop"] = list(drop)
                for slot in drop:
                    self._slots.pop(slot, None)
            if begun is not None:
                entry["end"] = begun
                self._pending.pop(begun, None)
            self._record(entry)

    def new_slot(self) -> int:
        """A slot for a resource that is to be made."""
        with self._mutex:
            return self._take()

    def _take(self) -> int:
        self._next += 1
        return self._next - 1

    def _record(self, entry: dict[str, Any]) -> None:
        if self._journal is None:
            if self._journal_path.exists():
                self.save()
            self._journal = open(self._journal_path, "w", opener=_private)  # noqa: SIM115 - lives as long as the operation
            self._journal.write(json.dumps({"base": self._base, "salt": self._sealer.salt}) + "\n")
        self._journal.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def save(self) -> None:
        """Writes the state file anew and ends the journal."""
        with self._mutex:
            self._base = secrets.token_hex(8)
            own = {"journal": self._base, "slots": self._in_order(), "pending_slots": list(self._pending)}
            document = {**to_document(self.snapshot(), self._sealer), "localcloud": own}
            _replace(self.path, json.dumps(document, indent=1))
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            self._journal_path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the files of a stack that has no resources left."""
        with self._mutex:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            self.path.unlink(missing_ok=True)
            self._journal_path.unlink(missing_ok=True)


def salt_of(directory: Path, project: str, stack: str) -> str | None:
    """The salt that a stack's state is sealed with; None when there is no state."""
    path = directory / project / f"{stack}.json"
    if path.exists():
        return _salt(_parse(path, path.read_text()))
    journal = path.with_suffix(".journal")
    if journal.exists():
        return _parse(journal, journal.read_text().partition("\n")[0]).get("salt")
    return None


def _salt(document: dict[str, Any]) -> str | None:
    try:
        return document["deployment"].get("secrets_providers", {}).get("state", {}).get("salt")
    except (KeyError, TypeError, AttributeError):
        return None  # whoever loads the document says what is wrong with it


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _corrupt(path, str(error)) from error


def _corrupt(path: Path, why: str) -> EngineError:
    return EngineError(
        f"{path} is corrupt ({why}): put back a copy, or remove it and what the stack made (`make down`)"
    )


def _replace(path: Path, text: str) -> None:
    """Writes a file (mode 0600) so that a crash leaves the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
