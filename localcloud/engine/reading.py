"""Reads what exists: resources of others (`get`), outputs of other stacks, and the drift of one's own (refresh)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from localcloud.engine import urn as urns
from localcloud.engine.changes import between
from localcloud.engine.decision import keep_ignored
from localcloud.engine.deletion import PARALLEL
from localcloud.engine.errors import EngineError
from localcloud.engine.goals import Goal
from localcloud.engine.session import Session, StoppedError
from localcloud.engine.state import Resource
from localcloud.engine.steps import Step
from localcloud.engine.values import identical
from localcloud.wire import UNKNOWN_TEXT, Properties, Secret, Value, WireError, contains_secret, secret

STACK_REFERENCE = "pulumi:pulumi:StackReference"


class Reader:
    """Serves the program's reads."""

    def __init__(self, session: Session, outputs_of: Callable[[str], Properties]) -> None:
        """Takes what finds the outputs of a stack by its name (`<stack>` or `<organization>/<project>/<stack>`)."""
        self._session = session
        self._outputs_of = outputs_of

    def read(self, goal: Goal) -> Resource:
        """A resource that exists; raises StoppedError when it does not, and the reporter has been told."""
        session = self._session
        session.check_running()
        urn = ""
        try:
            with session.lock:
                urn = session.names.take(goal)
                slot = session.names.find(urn, goal, session.live)
                if slot is not None:
                    session.claimed[slot] = urn
        except (EngineError, WireError) as error:
            session.fail(Step("read", urn, goal.type, goal.name), error)
            raise StoppedError(str(error)) from error
        wanted = Resource(
            urn=urn, type=goal.type, custom=True, id=goal.import_id, inputs=goal.inputs, parent=goal.parent,
            dependencies=goal.dependencies, external=True,
            additional_secret_outputs=goal.additional_secret_outputs,
        )  # fmt: skip
        old = None if slot is None else session.old[slot]
        step = Step("read", urn, goal.type, goal.name, old=old, new=wanted)
        return session.run(step, lambda: self._read(wanted, goal, slot))

    def _read(self, found: Resource, goal: Goal, slot: int | None) -> Resource:
        session = self._session
        if goal.type == STACK_REFERENCE:
            found = replace(found, outputs=self._stack(goal))
        elif goal.import_id == UNKNOWN_TEXT:
            found = replace(found, id="")
        else:
            provider = session.providers.of(urns.package_of(goal.type))
            answer = provider.read(found.urn, goal.import_id, goal.inputs, goal.inputs)
            if answer is None:
                raise EngineError(f"resource '{goal.import_id}' does not exist")
            outputs = {
                key: secret(value) if key in goal.additional_secret_outputs else value
                for key, value in answer.outputs.items()
            }
            found = replace(found, id=answer.id, outputs=outputs)
        old = None if slot is None else session.old[slot]
        if old is not None and not old.external and slot is not None:
            session.finish(None, put={slot: replace(old, delete=True)})
            with session.lock:
                session.replaced.add(slot)
            slot, old = None, None
        session.keep(session.new_slot() if slot is None else slot, found, changed=old is None or old != found)
        return found

    def _stack(self, goal: Goal) -> Properties:
        name = goal.inputs.get("name")
        if not isinstance(name, str):
            raise EngineError(f"stack reference {goal.name}: the name of the stack is not known")
        outputs = self._outputs_of(name)
        names: list[Value] = [key for key, value in outputs.items() if contains_secret(value)]
        return {"name": name, "outputs": dict(outputs), "secretOutputNames": names}


def refresh_all(session: Session) -> None:
    """Takes the state of every resource from its provider; one that is gone is forgotten."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        failures = [one.exception() for one in [pool.submit(_refresh, session, slot) for slot in session.old]]
    for failure in failures:
        if failure is not None:
            raise failure


def _refresh(session: Session, slot: int) -> None:
    old = session.old[slot]
    name = urns.name_of(old.urn)
    if not old.custom or old.delete or old.pending_replacement or old.type == STACK_REFERENCE:
        session.keep(slot, old, changed=False)
        session.count(Step("same", old.urn, old.type, name, old=old, new=old))
        return
    step = Step("read", old.urn, old.type, name, old=old)

    def act() -> Resource | None:
        provider = session.providers.of(urns.package_of(old.type))
        answer = provider.read(old.urn, old.id, old.inputs, old.outputs, timeout=old.timeouts.get("read", 0))
        if answer is None:
            return None
        inputs = old.inputs
        if answer.inputs is not None:
            inputs = keep_ignored(old.inputs, answer.inputs, old.ignore_changes)[0]
        outputs = {
            key: secret(value) if key in old.additional_secret_outputs or isinstance(old.outputs.get(key), Secret)
            else value
            for key, value in answer.outputs.items()
        }  # fmt: skip
        return replace(old, id=answer.id, inputs=inputs, outputs=outputs, init_errors=())

    found = session.watch(step, act)
    if found is None:
        session.finish(None, drop=(slot,))
        session.count(replace(step, operation="delete", because="it is gone at the provider"))
        return
    changes = between(old.inputs, found.inputs) or between(old.outputs, found.outputs)
    differs = not (identical(old.inputs, found.inputs) and identical(old.outputs, found.outputs) and old.id == found.id)
    session.keep(slot, found, changed=differs)
    session.count(replace(step, operation="refresh" if changes else "same", changes=tuple(changes), new=found))
