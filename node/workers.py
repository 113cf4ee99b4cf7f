"""Threads that a process cannot do without: it ends with the first that fails, and is well while all go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

HUNG_SECONDS = 25.0
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

        self._threads.append(threading.Thread(target=guarded, name=_name(run), daemon=True))
        self._threads[-1].start()

    def are_well(self) -> bool:
        """Whether each has given a sign, and not long ago."""
        return None not in self._seen.values() and self.hung() is None

    def hung(self) -> str | None:
        """The name of a worker that gives no sign any more."""
        now = self._ticks()
        late = (number for number, seen in self._seen.items() if seen is not None and now - seen >= HUNG_SECONDS)
        return next((self._threads[number].name for number in late), None)

    def join(self, seconds: float) -> None:
        """Give each some time to end."""
        for thread in self._threads:
            thread.join(seconds)


def _name(run: object) -> str:
    return str(getattr(run, "__qualname__", type(run).__name__))
