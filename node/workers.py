"""Threads that a process cannot do without: it ends with the first that fails, and is well while all go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

HUNG_SECONDS = 60.0
"""Without a sign for this long a worker counts as hung; whatever one waits for takes ten seconds at most."""
Beat = Callable[[], None]


class Workers:
    """``stop`` is set when one fails; each is given what it has to call again and again while it is well."""

    def __init__(self, stop: threading.Event, ticks: Callable[[], float] = time.monotonic) -> None:
        self.is_failed = False
        self._stop = stop
        self._ticks = ticks
        self._seen: dict[int, float | None] = {}
        self._threads: list[threading.Thread] = []

    def start(self, run: Callable[[Beat], None]) -> None:
        """Run ``run`` in a thread of its own."""
        number = len(self._threads)
        self._seen[number] = None

        def beat() -> None:
            self._seen[number] = self._ticks()

        def guarded() -> None:
            try:
                run(beat)
            except BaseException:
                self.is_failed = True
                self._stop.set()
                raise

        self._threads.append(threading.Thread(target=guarded, daemon=True))
        self._threads[-1].start()

    def are_well(self) -> bool:
        """Whether each has given a sign, and not long ago."""
        now = self._ticks()
        return all(seen is not None and now - seen < HUNG_SECONDS for seen in self._seen.values())

    def join(self, seconds: float) -> None:
        """Give each some time to end."""
        for thread in self._threads:
            thread.join(seconds)
