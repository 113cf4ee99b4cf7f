"""The audit log: who came, went and was refused, one JSON object a line, only ever added to."""

from __future__ import annotations

import datetime
import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from node.gateway.lease import Lease
from node.gateway.limits import Buckets
from node.log import say

MAX_BYTES = 16 << 20
"""A log of this size becomes ``audit.jsonl.1``, and a new one is begun."""
_REFUSALS = 60
_ALL_REFUSALS = 600
_REFUSALS_A_SECOND = 1.0
"""For one source, and for all of them: so that strangers need a day to fill a log, and not a minute."""
_REJOINS = 10
_REJOINS_A_SECOND = 0.1


class Audit:
    """Lines in ``path``, mode 0600. ``clock`` gives seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._problem = ""
        self._refusals = Buckets(_REFUSALS, _REFUSALS_A_SECOND)
        self._all_refusals = Buckets(_ALL_REFUSALS, _REFUSALS_A_SECOND)
        self._unwritten = 0
        self._rejoins = Buckets(_REJOINS, _REJOINS_A_SECOND)

    def write(self, event: str, **fields: str | float | None) -> None:
        """Add a line. A disk that takes none is told to the journal, and stops nobody's work."""
        at = datetime.datetime.fromtimestamp(self._clock(), datetime.timezone.utc)
        stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = {name: value for name, value in fields.items() if value is not None}
        line = json.dumps({"time": stamp, "event": event, **told}) + "\n"
        with self._lock:
            try:
                self._add(line.encode("ascii"))
                self._problem = ""
            except OSError as error:
                if str(error) != self._problem:
                    say(f"the audit log cannot be written: {error}")
                self._problem = str(error)

    def lease(self, event: str, lease: Lease, **fields: str | float | None) -> None:
        """A line about what happened to ``lease``."""
        self.write(event, node=lease.name, pool=lease.pool, address=str(lease.address), **fields)

    def rejoin(self, lease: Lease) -> None:
        """A line about a machine that has asked again, as often as it may have one."""
        with self._lock:
            if not self._rejoins.take(lease.id):
                return
        self.lease("rejoin", lease)

    def refuse(self, source: str, **fields: str | float | None) -> None:
        """A line about a refusal, as often as ``source`` may have one; the next one counts those left out."""
        with self._lock:
            if not (self._refusals.take(source) and self._all_refusals.take("")):
                self._unwritten += 1
                return
            unwritten, self._unwritten = self._unwritten, 0
        self.write("refuse", source=source, **fields, unwritten=unwritten or None)

    def _add(self, line: bytes) -> None:
        if self._descriptor is not None and os.fstat(self._descriptor).st_size >= MAX_BYTES:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self.close()
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._descriptor).st_size
        if os.write(self._descriptor, line) != len(line):
            os.ftruncate(self._descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file; a further line opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
