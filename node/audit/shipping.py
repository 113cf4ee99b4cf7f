"""Lines of the audit log on their way to the journal, each told there when it is safe on the disk."""

from __future__ import annotations

import os
import threading

from node.log import say


class Shipper:
    """Syncs and tells in a thread of its own, which is there only while there is something to do.

    The journal is never ahead of the disk, a power cut included: so what it has and the log has not was removed.
    """

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._waiting: list[tuple[int, str]] = []
        self._is_running = False

    def add(self, descriptor: int, text: str) -> None:
        """Tell ``text`` when what was written to ``descriptor`` is on the disk; it stays open until :meth:`flush`."""
        with self._state:
            self._waiting.append((descriptor, text))
            if self._is_running:
                return
            self._is_running = True
            threading.Thread(target=self._run, name="audit", daemon=True).start()

    def flush(self) -> None:
        """Return when everything is told."""
        with self._state:
            self._state.wait_for(lambda: not self._is_running)

    def _run(self) -> None:
        try:
            while lines := self._taken():
                for descriptor in {descriptor for descriptor, _ in lines}:
                    _sync(descriptor)
                for _, text in lines:
                    say(text)
        except BaseException:
            self._end()
            raise

    def _taken(self) -> list[tuple[int, str]]:
        """What waits; when nothing does, the thread counts as ended."""
        with self._state:
            lines, self._waiting = self._waiting, []
            if not lines:
                self._end()
            return lines

    def _end(self) -> None:
        with self._state:
            self._is_running = False
            self._state.notify_all()


def _sync(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        say(f"the audit log cannot be brought to the disk: {error}")
