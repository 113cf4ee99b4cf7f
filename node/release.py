"""The release that runs, and the way to the next one: stage 0 stores it, this checks it beside the running one."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from node import files, stage0
from node.log import say

CHECK_SECONDS = 25.0
"""Of a self-check; one that takes longer hangs."""


@dataclass(frozen=True)
class Release:
    """A release on disk. ``archive`` are its bytes as signed, ``signature`` is base64."""

    number: int
    archive: bytes
    signature: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.archive).hexdigest()


def running() -> Release:
    """The release that this process runs from: its working directory, as stage 0 starts it."""
    place = Path.cwd()
    return Release(int(place.name), (place / "archive").read_bytes(), (place / "signature").read_text())


def store(public_key: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
    """Verify and keep a release: (HTTP status, reason), as stage 0 does."""
    return stage0.store(public_key, headers, body)


def resigned(found: Release, headers: Mapping[str, str]) -> Release:
    """``found`` with the signature of ``headers``, by which it was stored again: the stack's key may be another one."""
    signature = headers["X-Hybridnet-Signature"]
    if int(headers["X-Hybridnet-Number"]) != found.number or signature == found.signature:
        return found
    files.write_text(stage0.RELEASES / str(found.number) / "signature", signature)
    return replace(found, signature=signature)


def newer_than(number: int) -> int | None:
    """The newest release on disk that is newer and has not failed here."""
    return next((each for each in stage0.numbers() if each > number and not stage0.has(each, "bad")), None)


def newest() -> int:
    """The number of the newest release on disk, 0 for none; only a higher one will be taken."""
    return max(stage0.numbers(), default=0)


def failed() -> tuple[int, str] | None:
    """(number, reason) of the newest release on disk if it has failed here."""
    number = newest()
    if not number or not stage0.has(number, "bad"):
        return None
    return number, (stage0.RELEASES / str(number) / "bad").read_text() or "it never became healthy"


def leave_newer(number: int) -> None:
    """Never run a newer release again, now that stage 0 has just started this one: newer ones kept ending.

    Else this one would give way to them once more, and again and again.
    """
    for each in stage0.numbers():
        if each > number and not stage0.has(each, "bad"):
            _fail(each, "it kept ending soon after it was healthy")


class Trial:
    """The self-check of a newer release, in a process of its own beside the running one."""

    def __init__(self, number: int, role: str) -> None:
        self.number = number
        self._place = stage0.RELEASES / str(number)
        self._end = time.monotonic() + CHECK_SECONDS
        self._process = subprocess.Popen([sys.executable, "-m", "node", role, "check"], cwd=self._place)

    def passed(self) -> bool | None:
        """Whether it found nothing wrong; None while it is at work. A release that failed is marked and never run.

        One whose check was told to end is not: systemd tells every process of a service that it stops.
        """
        status = self._process.poll()
        if status is None and time.monotonic() < self._end:
            return None
        if status is None:
            self.end()
            _fail(self.number, f"its self-check hung for {CHECK_SECONDS:.0f} s")
        elif status == -signal.SIGTERM:
            say(f"the self-check of release {self.number} was ended from outside")
        elif status:
            _fail(self.number, f"its self-check ended with status {status}")
        return status == 0

    def end(self) -> None:
        """End the check."""
        self._process.kill()
        self._process.wait()


def _fail(number: int, reason: str) -> None:
    """Never run a release again on this machine."""
    (stage0.RELEASES / str(number) / "bad").write_text(reason)
    say(f"release {number} failed: {reason}")
