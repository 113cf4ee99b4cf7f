"""The release that runs, and the way to the next one: stage 0 stores it, this checks it beside the running one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from node import stage0


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


class Trial:
    """The self-check of a newer release, in a process of its own beside the running one."""

    def __init__(self, number: int, role: str) -> None:
        self.number = number
        self._place = stage0.RELEASES / str(number)
        self._process = subprocess.Popen([sys.executable, "-m", "node", role, "check"], cwd=self._place)

    def passed(self) -> bool | None:
        """Whether it found nothing wrong; None while it is at work. A release that failed is marked and never run."""
        status = self._process.poll()
        if status:
            (self._place / "bad").write_text(f"its self-check ended with status {status}")
        return None if status is None else status == 0

    def end(self) -> None:
        """End the check. Asked again, it has not passed."""
        self._process.kill()
        self._process.wait()
