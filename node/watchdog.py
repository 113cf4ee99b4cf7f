"""Ends a process that hangs, whatever holds it: the interpreter's own watchdog needs none of Python's locks.

Stage 0 ends a release that is silent, too. This one has the journal say where the release hung, and it is there on
machines whose stage 0 waits for longer.
"""

from __future__ import annotations

import faulthandler
import time

SECONDS = 24.0
"""Shorter than stage 0's patience."""
_REST = 1.0


class Watchdog:
    """Ends this process, with the stack of every thread, unless :meth:`beat` is called again and again."""

    def __init__(self) -> None:
        self._set: float | None = None

    def start(self) -> None:
        """Watch from now on."""
        self._set = time.monotonic()
        faulthandler.dump_traceback_later(SECONDS, exit=True)

    def beat(self) -> None:
        """All is well."""
        if self._set is not None and time.monotonic() - self._set >= _REST:
            self.start()


OWN = Watchdog()
"""This process's, which only a release's start lets watch."""
