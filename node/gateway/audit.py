"""The audit log of a gateway: who came, went, was refused or revoked, and what was changed; ``docs/audit.md``.

One writer: the service. Lines are only ever added, each tied to the one before (``node.audit.chain``).
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from node.audit.chain import ORIGIN, RESERVED, VERSION, Value, journal_line, made
from node.audit.files import first_line, older, put_unchained_aside, tail
from node.audit.shipping import Shipper
from node.gateway.lease import Lease
from node.gateway.limits import Buckets
from node.log import say

MAX_BYTES = 16 << 20
"""A log of this size becomes ``audit.jsonl.1``, and a new one is begun: some 50,000 events."""
KEEP = 7
"""So many older files are kept."""
RECENT = 50
"""Events that are kept at hand."""
_REFUSALS = 60
_ALL_REFUSALS = 600
_REFUSALS_A_SECOND = 1.0
"""For one source, and for all of them: so that strangers need days to fill the log, and not minutes."""
_OFTEN = 10
_OFTEN_A_SECOND = 0.1
"""For what one node can make happen again and again."""


class Audit:
    """Lines in ``path``, mode 0600, and in the journal. ``clock`` gives seconds since 1970. Any thread may write."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._shipper = Shipper()
        self._problem = ""
        self._is_known = False
        """Whether the end of the chain is known: the last line was read, and what is behind it put right."""
        self._refusals = Buckets(_REFUSALS, _REFUSALS_A_SECOND)
        self._all_refusals = Buckets(_ALL_REFUSALS, _REFUSALS_A_SECOND)
        self._unwritten = 0
        self._often = Buckets(_OFTEN, _OFTEN_A_SECOND)
        self._lost = 0
        self.events = 0
        """The number of the last line."""
        self.head = ORIGIN
        """The hash of the last line."""
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=RECENT)
        """The last events, oldest first, as their lines tell them."""
        with self._lock, self._telling():
            self._know()

    # What happens.

    def write(self, event: str, **fields: Value | None) -> None:
        """Add a line. A disk that takes none is told to the journal, and stops nobody's work.

        ValueError for fields that are the log's own.
        """
        if not RESERVED.isdisjoint(fields):
            raise ValueError(f"these fields are the log's own: {sorted(RESERVED & fields.keys())}")
        told = {name: value for name, value in fields.items() if value is not None}
        with self._lock:
            self._lost += 1
            with self._telling():
                self._know()
                lost = self._lost - 1
                self._add(event, {**told, "lost": lost} if lost else told)
                self._lost = 0

    def lease(self, event: str, lease: Lease, **fields: Value | None) -> None:
        """A line about what happened to ``lease``."""
        self.write(event, node=lease.name, pool=lease.pool, address=str(lease.address), **fields)

    def rejoin(self, lease: Lease) -> None:
        """A line about a machine that has asked again, as often as it may have one."""
        if self._may_again(f"rejoin {lease.id}"):
            self.lease("rejoin", lease)

    def endpoint(self, node: str, old: str, new: str) -> None:
        """A line about a node that is heard from elsewhere than before, as often as it may have one."""
        if self._may_again(f"endpoint {node}"):
            self.write("endpoint", node=node, old=old, new=new)

    def refuse(self, source: str, **fields: Value | None) -> None:
        """A line about a refusal, as often as ``source`` may have one; the next one counts those left out."""
        with self._lock:
            if not (self._refusals.take(source) and self._all_refusals.take("")):
                self._unwritten += 1
                return
            unwritten, self._unwritten = self._unwritten, 0
        self.write("refuse", source=source, **fields, unwritten=unwritten or None)

    def _may_again(self, what: str) -> bool:
        with self._lock:
            return self._often.take(what)

    # The files.

    @contextlib.contextmanager
    def _telling(self) -> Generator[None]:
        """What goes wrong with the files inside is told, once, and stops nobody."""
        try:
            yield
            self._problem = ""
        except OSError as error:
            if str(error) != self._problem:
                say(f"the audit log cannot be written: {error}")
            self._problem = str(error)

    def _know(self) -> None:
        """Find the end of the chain, and put right what a power cut or an older release has left. OSError."""
        if self._is_known:
            return
        for aside in put_unchained_aside(self._path):
            say(f"the audit log was not a chain yet: what is in it is kept as {aside}, and a new one is begun")
        torn, strange = 0, 0
        for path in [self._path, *older(self._path).values()]:
            if not path.exists():
                continue
            end = tail(path)
            if path == self._path:
                torn, strange = end.torn, end.strange
            if end.lines:
                self.events, self.head = end.lines[-1].number, end.lines[-1].digest
                self.recent.extend(line.document for line in end.lines[-RECENT:])
                break
        if torn:
            os.truncate(self._path, self._path.stat().st_size - torn)
        self._is_known = True
        if torn or strange:
            say(f"the audit log's end was not whole: {torn} bytes cut off, {strange} lines that are none of its own")
            self._add("repaired", {"dropped": torn, "strange": strange})

    def _add(self, event: str, fields: Mapping[str, Value]) -> None:
        if self._descriptor is not None and os.fstat(self._descriptor).st_size >= MAX_BYTES:
            self._rotate()
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._descriptor).st_size
        at = datetime.datetime.fromtimestamp(self._clock(), datetime.timezone.utc)
        document: dict[str, Any] = {
            "number": self.events + 1,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": event,
        }
        if size == 0:
            document |= {"version": VERSION, "previous": self.head, "oldest": self._oldest()}
        document |= fields
        line, digest = made(self.head, document)
        if os.write(self._descriptor, line) != len(line):
            os.ftruncate(self._descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.events, self.head = self.events + 1, digest
        self.recent.append({**document, "hash": digest})
        self._shipper.add(self._descriptor, journal_line(self.events, digest, event, fields))
        if size == 0:
            for number, path in older(self._path).items():
                if number > KEEP:
                    path.unlink()

    def _oldest(self) -> int:
        """The number of the first line of all files that stay, of a file that is begun now.

        As the file before says, if none goes: so files that somebody else has removed are missed for as long as those
        are kept that tell of them.
        """
        files = older(self._path)
        kept = [path for number, path in files.items() if number <= KEEP]
        line = first_line(kept[-1] if len(kept) < len(files) else kept[0]) if kept else None
        if line is None:
            return self.events + 1
        said = line.document.get("oldest")
        return said if len(kept) == len(files) and type(said) is int else line.number

    def _rotate(self) -> None:
        """Make every file the one before it. Whatever is done of it, the order of the files stays."""
        self._close()
        files, count = older(self._path), 0
        while count + 1 in files:
            count += 1
        for number in range(count, 0, -1):
            files[number].replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))

    def _close(self) -> None:
        if self._descriptor is not None:
            self._shipper.flush()
            os.close(self._descriptor)
            self._descriptor = None

    def close(self) -> None:
        """Close the file when the journal has everything; a further line opens it again."""
        with self._lock:
            self._close()
