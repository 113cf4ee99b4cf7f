"""What the parts of one operation share: the state before, what was registered since, and how steps are recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from localcloud.engine.errors import EngineError
from localcloud.engine.naming import Names
from localcloud.engine.providers import Providers
from localcloud.engine.state import Resource
from localcloud.engine.steps import Reporter, Step, Violation
from localcloud.engine.store import Store
from localcloud.engine.values import identical
from localcloud.wire import Properties

T = TypeVar("T")


class StoppedError(EngineError):
    """An earlier step failed; nothing more begins."""


class Session:
    """One operation on a stack. Threads may use it at the same time."""

    def __init__(self, store: Store, providers: Providers, reporter: Reporter, names: Names, *, preview: bool) -> None:
        self.store = store
        self.providers = providers
        self.reporter = reporter
        self.names = names
        self.preview = preview
        self.lock = threading.RLock()
        self.failed = threading.Event()
        self.steps: list[Step] = []
        self.violations: list[Violation] = []
        self.old = store.slots()
        """Slot -> resource, as the last operation left them."""
        self.live = {resource.urn: slot for slot, resource in self.old.items() if not resource.delete}
        """URN -> slot of the resources that a goal can mean."""
        self.current: dict[str, Resource] = {}
        """URN -> resource, as registered in this run."""
        self.slot_of: dict[str, int] = {}
        """URN -> slot of what was registered in this run."""
        self.claimed: dict[int, str] = {}
        """Slot -> URN of the goal that took it."""
        self.replaced: set[int] = set()
        """Slots of resources whose replacement was made in this run; they are deleted at the end."""
        self.deleted_early: set[int] = set()
        """Slots of resources that were deleted before a replacement was made."""
        self.kept: set[int] = set()
        """Slots of resources that stay."""

    def run(self, step: Step, act: Callable[[], T]) -> T:
        """Does what a step is, tells the reporter and counts it; a failure stops the operation."""
        result = self.watch(step, act)
        with self.lock:
            self.steps.append(step)
        return result

    def watch(self, step: Step, act: Callable[[], T]) -> T:
        """Like `run`, for what is part of another step and not counted."""
        self.check_running()
        self.reporter.begins(step)
        started = time.monotonic()
        try:
            result = act()
        except EngineError as error:
            self.fail(step, error)
            raise StoppedError(str(error)) from error
        self.reporter.ends(step, time.monotonic() - started)
        return result

    def count(self, step: Step) -> None:
        """Counts a step that asks no provider."""
        with self.lock:
            self.steps.append(step)
        self.reporter.ends(step, 0.0)

    def fail(self, step: Step, error: Exception) -> None:
        """Tells of a failure; nothing more begins."""
        self.failed.set()
        if not isinstance(error, StoppedError):
            self.reporter.fails(step, str(error))

    def violates(self, violation: Violation) -> None:
        """Tells of what a policy objects to, once."""
        with self.lock:
            if violation in self.violations:
                return
            self.violations.append(violation)
        self.reporter.violates(violation)

    @property
    def refused(self) -> bool:
        """Whether a policy that is mandatory is violated."""
        return any(violation.level == "mandatory" for violation in self.violations)

    def check_running(self) -> None:
        """Raises StoppedError when a step has failed."""
        if self.failed.is_set():
            raise StoppedError("an earlier step failed")

    def begin(self, operation: str, urn: str) -> int | None:
        """Records that a provider is about to change something; nothing in a preview."""
        return None if self.preview else self.store.begin(operation, urn)

    def finish(self, begun: int | None, *, put: dict[int, Resource] | None = None, drop: tuple[int, ...] = ()) -> None:
        """Records what a step did; nothing in a preview."""
        if not self.preview and (begun is not None or put or drop):
            self.store.finish(begun, put=put, drop=drop)

    def keep(self, slot: int, resource: Resource, *, changed: bool) -> None:
        """Takes a resource into this run's stack and, when its record changed, into the state."""
        with self.lock:
            self.kept.add(slot)
            self.current[resource.urn] = resource
            self.slot_of[resource.urn] = slot
        if changed:
            self.finish(None, put={slot: resource})

    def set_outputs(self, urn: str, outputs: Properties) -> None:
        """Takes what a component says of itself; raises EngineError for a URN that was not registered."""
        with self.lock:
            if urn not in self.current:
                raise EngineError(f"outputs for {urn}, which is not registered")
            old = self.current[urn]
            slot = self.slot_of[urn]
        self.keep(slot, replace(old, outputs=outputs), changed=not identical(old.outputs, outputs))

    def new_slot(self) -> int:
        """A slot for a resource that is to be made."""
        return self.store.new_slot()
