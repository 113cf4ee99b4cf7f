"""Restarts what a restart can mend, and not again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from node import files
from node.health.judge import Problem
from node.log import say
from node.wireguard import WireGuardError

LIMIT = 3
WINDOW_SECONDS = 3600.0
_REMEDY = "Restarts are counted anew."


class Restarts:
    """The restarts of the last hour, in the file at ``path``; ``clock`` gives seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def take(self, unit: str) -> bool:
        """Note a restart of ``unit`` that is about to be; False when there were enough of them. OSError."""
        units, now = self._read(), self._clock()
        recent = [at for at in units.get(unit, ()) if 0 <= now - at < WINDOW_SECONDS]
        if len(recent) >= LIMIT:
            return False
        files.write(self._path, {"restarts": {**units, unit: [*recent, now]}})
        return True

    def _read(self) -> dict[str, list[float]]:
        try:
            document = files.read(self._path, _REMEDY)
            found = cast("dict[str, Any]", document["restarts"]) if document else {}
            return {str(unit): [float(at) for at in times] for unit, times in found.items()}
        except files.StateError as error:
            files.put_aside(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            files.put_aside(files.StateError(self._path, type(error).__name__, _REMEDY))
        return {}


def repair(found: Sequence[Problem], restarts: Restarts, restart: Callable[[str], None]) -> list[str]:
    """Restart what may mend ``found``, each unit once; what there is to be said of that."""
    said: list[str] = []
    for unit in dict.fromkeys(problem.unit for problem in found):
        if unit is None:
            continue
        try:
            if restarts.take(unit):
                say(f"{unit} is restarted: {next(problem.text for problem in found if problem.unit == unit)}")
                restart(unit)
                said.append(f"{unit} was restarted")
            else:
                said.append(f"{unit} was restarted {LIMIT} times within an hour and is not again: look at its journal")
        except (OSError, WireGuardError) as error:
            said.append(f"{unit} cannot be restarted: {error}")
    return said
