"""What the other gateways have told, kept on disk: whoever starts again while one of them is dead still knows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from node import files
from node.neighbour_document import Neighbour, neighbour_body, parse_neighbour
from node.network_words import DocumentError, Report

_REMEDY = "The gateway goes on without it, and asks the other gateways again."
STALE_SECONDS = 10.0
"""A gateway that has not answered for this long is told of as not reachable."""


class Neighbours:
    """The last answer of each other gateway, in ``path``, and this one's reports. ``ticks`` is monotonic, in seconds.

    Only a memory: a file that cannot be read is put aside, loudly.
    """

    def __init__(self, path: Path, ticks: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._ticks = ticks
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._heard: dict[str, float] = {}
        self._is_behind = False
        self.answers: dict[str, Neighbour] = {}
        """Name -> what that gateway told last. Replaced, never changed."""
        self.version = 0
        """Another one after each change of what somebody told."""

    def load(self) -> dict[str, Report]:
        """Read what was kept; the reports that this gateway knew of."""
        try:
            document = files.read(self._path, _REMEDY)
            return {} if document is None else self._read(document)
        except files.StateError as error:
            files.put_aside(error)
            return {}

    def _read(self, document: dict[str, Any]) -> dict[str, Report]:
        try:
            texts = cast("dict[str, str]", document["answers"])
            answers = {name: parse_neighbour(text.encode()) for name, text in texts.items()}
            own = parse_neighbour(str(document["own"]).encode())
        except (KeyError, AttributeError, DocumentError) as error:
            raise files.StateError(self._path, f"{type(error).__name__}: {error}", _REMEDY) from error
        self.answers, self.version = answers, self.version + 1
        return dict(own.reports)

    def take(self, answer: Neighbour) -> None:
        """Keep what a gateway has told just now."""
        with self._lock:
            self._heard[answer.name] = self._ticks()
            before = self.answers.get(answer.name)
            if before == answer:
                return
            self.answers = {**self.answers, answer.name: answer}
            self.version += 1
            # Where it sees nodes, and its version, are of no use after a restart.
            is_worth = before is None or _worth(before) != _worth(answer)
            self._is_behind = self._is_behind or is_worth

    def heard(self, name: str) -> None:
        """Note that a gateway has answered, with nothing new."""
        self._heard[name] = self._ticks()

    def keep(self, names: Set[str]) -> None:
        """Forget all but these gateways."""
        with self._lock:
            if self.answers.keys() - names:
                self.answers = {name: answer for name, answer in self.answers.items() if name in names}
                self.version += 1
                self._is_behind = True

    def changed(self) -> None:
        """This gateway's own reports are others now."""
        with self._lock:
            self._is_behind = True

    def save(self, own: str, reports: Callable[[], Mapping[str, Report]]) -> None:
        """Bring the file up to date with this gateway's ``reports``, one thread after the other; OSError.

        What was told before the call is on the disk when it returns.
        """
        with self._saving:
            with self._lock:
                if not self._is_behind:
                    return
                self._is_behind, answers = False, self.answers
            texts = {name: neighbour_body(replace(each, seen={})).decode() for name, each in answers.items()}
            known = neighbour_body(Neighbour(own, "0", (), {}, reports())).decode()
            try:
                files.write(self._path, {"answers": texts, "own": known})
            except OSError:
                self.changed()
                raise

    def age(self, name: str) -> float | None:
        """Seconds since a gateway's last answer; None for one that has not answered since the service's start."""
        at = self._heard.get(name)
        return None if at is None else self._ticks() - at

    def status(self, names: Set[str]) -> dict[str, dict[str, Any]]:
        """``neighbours`` of ``GET /v1/status``."""
        found: dict[str, dict[str, Any]] = {}
        for name in sorted(names):
            age, answer = self.age(name), self.answers.get(name)
            found[name] = {
                "reachable": age is not None and age < STALE_SECONDS,
                "age": None if age is None else round(age, 1),
                "leases": len(answer.leases) if answer else 0,
            }
        return found


def _worth(answer: Neighbour) -> object:
    """What a gateway that starts again should know of another one."""
    return answer.leases, answer.reports, answer.keys, answer.revocations
