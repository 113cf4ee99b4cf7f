"""Changes to the world, one after the other, each applied to the machines before it is kept.

Changes that arrive while the fabric is busy are applied together; one that cannot be applied leaves no trace.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from localcloud.provider.world import World, load, save
from localcloud.spec import MachineSpec

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Applies(Protocol):
    """What makes machines equal to their specs."""

    def apply(self, specs: Mapping[str, MachineSpec], /) -> object:
        """Make it so, or raise."""
        ...


@dataclass
class _Turn:
    act: Callable[[World], Any]
    result: object = None
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Ledger:
    """The world and its keeper. Safe to use from many threads."""

    def __init__(self, path: Path, fabric: Applies, project: Callable[[World], Mapping[str, MachineSpec]]) -> None:
        self._path = path
        self._fabric = fabric
        self._project = project
        self._world = load(path)
        self._applied: Mapping[str, MachineSpec] | None = None
        self._busy = threading.Lock()
        self._waiting: list[_Turn] = []

    @property
    def world(self) -> World:
        """The world as it is now; a copy."""
        return self._world.copy()

    def change(self, act: Callable[[World], T]) -> T:
        """Let `act` change the world; it may be called more than once, on different drafts, until one is kept.

        Raises what `act` or the fabric raises; nothing has changed then.
        """
        turn = _Turn(act)
        self._waiting.append(turn)
        with self._busy:
            if not turn.done.is_set():
                turns, self._waiting = self._waiting, []
                self._perform(turns)
        if turn.error is not None:
            raise turn.error
        return cast("T", turn.result)

    def _perform(self, turns: list[_Turn]) -> None:
        draft, kept = self._world, list[_Turn]()
        for turn in turns:
            attempt = draft.copy()
            try:
                turn.result = turn.act(attempt)
            except Exception as error:
                self._finish(turn, error)
            else:
                draft = attempt
                kept.append(turn)
        if not kept:
            return
        try:
            self._keep(draft)
        except Exception as error:
            if len(kept) == 1:
                self._finish(kept[0], error)
            else:
                for turn in kept:
                    self._perform([turn])
            return
        for turn in kept:
            self._finish(turn, None)

    def _keep(self, draft: World) -> None:
        specs = self._project(draft)
        if specs != self._applied:
            try:
                self._fabric.apply(specs)
            except Exception:
                self._restore()
                raise
        self._applied = specs
        save(self._path, draft)
        self._world = draft

    def _restore(self) -> None:
        """Put the machines back to what the kept world says; the error that made this needful is the one to tell."""
        try:
            self._applied = self._project(self._world)
            self._fabric.apply(self._applied)
        except Exception:
            self._applied = None
            _log.exception("the machines could not be put back")

    @staticmethod
    def _finish(turn: _Turn, error: Exception | None) -> None:
        turn.error = error
        turn.done.set()
