"""The line to stage 0: a release says over it that it is well, and learns from it that stage 0 is gone."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from node import watchdog

SIGN = "beat"
"""In the machine's state: it tells whoever looks that a release works, should stage 0 itself hang."""
_SIGN_SECONDS = 5.0


class OrphanedError(Exception):
    """Stage 0 is gone, and a new one will start a release of its own."""


class Pulse:
    """The write end of stage 0's pipe, and the file ``sign`` that says when it was last used (s, monotonic).

    Stage 0 takes the first beat as "healthy", and ends a release from which it hears nothing for 25 seconds.
    """

    def __init__(self, descriptor: int, sign: Path | None = None) -> None:
        self._descriptor = descriptor
        self._sign = sign
        self._signed = float("-inf")
        os.set_inheritable(descriptor, False)

    def beat(self) -> None:
        """Say that all is well; OrphanedError when nobody listens."""
        watchdog.OWN.beat()
        try:
            os.write(self._descriptor, b"h")
        except BrokenPipeError:
            raise OrphanedError from None
        now = time.monotonic()
        if self._sign is not None and now - self._signed >= _SIGN_SECONDS:
            self._signed = now
            with contextlib.suppress(OSError):
                _overwrite(self._sign, f"{now:015.1f}\n".encode())


def _overwrite(path: Path, content: bytes) -> None:
    """Write ``content``, always of the same size, in its own place: a full disk has room for that. OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
