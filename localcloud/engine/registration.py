"""Registers what the program declares: makes, changes, replaces."""

from __future__ import annotations

import secrets
from dataclasses import replace

from localcloud.engine import urn as urns
from localcloud.engine.changes import Change, between
from localcloud.engine.decision import Decision, as_resource, decide, keep_ignored
from localcloud.engine.deletion import delete_dependents, delete_now
from localcloud.engine.errors import EngineError, InitError
from localcloud.engine.goals import Goal
from localcloud.engine.policies import Policies
from localcloud.engine.providers import Answer, Provider
from localcloud.engine.session import Session, StoppedError
from localcloud.engine.state import Resource
from localcloud.engine.steps import Step
from localcloud.engine.values import identical
from localcloud.wire import Properties, WireError, secret

COMPONENT_IGNORES = (
    "ignore_changes",
    "timeouts",
    "additional_secret_outputs",
    "replace_on_changes",
    "retain_on_delete",
    "deleted_with",
)


class Registrar:
    """Turns goals into resources."""

    def __init__(self, session: Session, policies: Policies) -> None:
        self._session = session
        self._policies = policies
        self._goals: dict[str, Goal] = {}

    def register(self, goal: Goal) -> Resource:
        """The resource that a goal becomes; in a preview with unknown values.

        Raises StoppedError when a step failed; the reporter has been told.
        """
        session = self._session
        session.check_running()
        urn = ""
        try:
            with session.lock:
                goal = self._inherited(goal)
                urn = session.names.take(goal)
                self._goals[urn] = goal
                slot = session.names.find(urn, goal, session.live)
                if slot is not None:
                    session.claimed[slot] = urn
            old = None if slot is None else session.old[slot]
            if not goal.custom:
                return self._component(urn, goal, slot, old)
            if goal.type.startswith("pulumi:"):
                raise EngineError(f"{goal.type} {goal.name}: the small engine does not support this type of resource")
            return self._custom(urn, goal, slot, old)
        except StoppedError:
            raise
        except (EngineError, WireError) as error:
            session.fail(Step("register", urn, goal.type, goal.name), error)
            raise StoppedError(str(error)) from error

    def _inherited(self, goal: Goal) -> Goal:
        """A goal with what its parent passes on."""
        parent = self._goals.get(goal.parent)
        if parent is None:
            return goal
        return replace(
            goal,
            protect=parent.protect if goal.protect is None else goal.protect,
            retain_on_delete=parent.retain_on_delete if goal.retain_on_delete is None else goal.retain_on_delete,
            deleted_with=goal.deleted_with or parent.deleted_with,
        )

    def _component(self, urn: str, goal: Goal, slot: int | None, old: Resource | None) -> Resource:
        session = self._session
        ignored = [name for name in ("ignore_changes", "replace_on_changes", "additional_secret_outputs", "timeouts")
                   if getattr(goal, name)]  # fmt: skip
        if ignored:
            session.reporter.says(urn, "warning", f"{', '.join(ignored)} have no effect on component resources")
        wanted = as_resource(urn, goal, self._policies.examine(urn, goal, goal.inputs))
        changes: list[Change] = []
        if old is not None:
            wanted = replace(wanted, outputs=old.outputs)
            changes = between(old.inputs, wanted.inputs)
        operation = "create" if old is None else "update" if changes else "same"
        session.keep(session.new_slot() if slot is None else slot, wanted, changed=not _equal(old, wanted))
        session.count(self._step(wanted, old, Decision(operation, tuple(changes))))
        return wanted

    def _custom(self, urn: str, goal: Goal, slot: int | None, old: Resource | None) -> Resource:
        session = self._session
        provider = session.providers.of(urns.package_of(goal.type))
        gone = slot in session.deleted_early
        if goal.import_id and (old is None or old.external or (old.import_id or old.id) != goal.import_id):
            return self._import(provider, urn, goal, slot)
        compared = None if old is None or old.external or gone else old
        inputs = self._policies.examine(urn, goal, self._check(provider, urn, goal, compared))
        wanted = as_resource(urn, goal, inputs)
        if old is None or slot is None:
            return self._create(provider, wanted, session.new_slot())
        if gone:
            return self._create(provider, wanted, slot, replaced=old)
        if old.external:
            return self._create(provider, wanted, session.new_slot())
        return self._compared(provider, goal, wanted, slot, old)

    def _check(self, provider: Provider, urn: str, goal: Goal, old: Resource | None) -> Properties:
        seed = secrets.token_bytes(32)
        if old is None:
            return provider.check(urn, None, goal.inputs, seed)
        inputs, lost = keep_ignored(old.inputs, goal.inputs, goal.ignore_changes)
        if lost:
            self._session.reporter.says(
                urn, "info", f"cannot ignore changes in added or removed elements of the path: {', '.join(lost)}"
            )
        return provider.check(urn, old.inputs, inputs, seed)

    def _compared(self, provider: Provider, goal: Goal, wanted: Resource, slot: int, old: Resource) -> Resource:
        session = self._session
        decision = decide(provider, old, wanted, preview=session.preview)
        if decision.operation == "replace":
            if wanted.protect and old.protect:
                raise EngineError(
                    f"unable to replace resource {wanted.urn!r}\nas it is currently marked for protection. "
                    "To unprotect it, remove the `protect` flag in the program and run up"
                )
            if goal.import_id:
                raise EngineError(
                    "an imported resource that still has its `import` option may not be replaced; remove it"
                )
            inputs = self._check(provider, wanted.urn, goal, None)
            wanted = replace(wanted, inputs=self._policies.examine(wanted.urn, goal, inputs))
            return self._replace(provider, goal, wanted, slot=slot, old=old, decision=decision)
        if decision.operation == "update":
            return self._update(provider, wanted, slot, old, decision)
        wanted = self._marked(replace(wanted, id=old.id, outputs=old.outputs))
        session.keep(slot, wanted, changed=not _equal(old, wanted))
        session.count(self._step(wanted, old, Decision("same")))
        return wanted

    def _create(self, provider: Provider, wanted: Resource, slot: int, *, replaced: Resource | None = None) -> Resource:
        """Makes a resource; ``replaced`` is the one that went because of what it depended on."""
        changes = tuple(between({}, wanted.inputs))
        decision = Decision("create", changes)
        if replaced is not None:
            decision = Decision("replace", changes, "what it depends on is replaced")
        step = self._step(wanted, replaced, decision)
        return self._session.run(step, lambda: self._made(provider, wanted, slot, {}))

    def _made(self, provider: Provider, wanted: Resource, slot: int, put: dict[int, Resource]) -> Resource:
        """Asks the provider for a new resource and records it in its slot, with other records that change at once."""
        session = self._session
        begun = session.begin("creating", wanted.urn)
        timeout = wanted.timeouts.get("create", 0)
        try:
            answer = provider.create(wanted.urn, wanted.inputs, timeout=timeout, preview=session.preview)
        except InitError as error:
            unready = replace(wanted, id=error.id, outputs=error.outputs, init_errors=tuple(error.reasons))
            session.finish(begun, put={slot: self._marked(unready), **put})
            raise
        except EngineError:
            session.finish(begun)
            raise
        made = self._marked(replace(wanted, id=answer.id, outputs=answer.outputs))
        session.finish(begun, put={slot: made, **put})
        session.keep(slot, made, changed=False)
        return made

    def _update(self, provider: Provider, wanted: Resource, slot: int, old: Resource, decision: Decision) -> Resource:
        session = self._session

        def act() -> Resource:
            begun = session.begin("updating", wanted.urn)
            try:
                outputs = provider.update(
                    wanted.urn,
                    old.id,
                    (old.inputs, old.outputs),
                    wanted.inputs,
                    ignored=wanted.ignore_changes,
                    timeout=wanted.timeouts.get("update", 0),
                    preview=session.preview,
                )
            except InitError as error:
                unready = replace(wanted, id=old.id, outputs=error.outputs, init_errors=tuple(error.reasons))
                session.finish(begun, put={slot: self._marked(unready)})
                raise
            except EngineError:
                session.finish(begun)
                raise
            updated = self._marked(replace(wanted, id=old.id, outputs=outputs))
            session.finish(begun, put={slot: updated})
            session.keep(slot, updated, changed=False)
            return updated

        return session.run(self._step(wanted, old, decision), act)

    def _replace(
        self, provider: Provider, goal: Goal, wanted: Resource, *, slot: int, old: Resource, decision: Decision
    ) -> Resource:
        session = self._session
        step = self._step(wanted, old, decision)
        delete_first = decision.delete_first if goal.delete_before_replace is None else goal.delete_before_replace

        def create_first() -> Resource:
            made = self._made(provider, wanted, session.new_slot(), {slot: replace(old, delete=True)})
            with session.lock:
                session.replaced.add(slot)
            return made

        def delete_then_create() -> Resource:
            delete_dependents(session, old)
            if not old.pending_replacement:
                delete_now(session, slot, old, pending=True)
            with session.lock:
                session.deleted_early.add(slot)
            return self._made(provider, wanted, slot, {})

        return session.run(step, delete_then_create if delete_first or old.pending_replacement else create_first)

    def _import(self, provider: Provider, urn: str, goal: Goal, slot: int | None) -> Resource:
        """Takes over a resource that exists, then changes it to what the program says where that differs."""
        session = self._session
        step = Step("import", urn, goal.type, goal.name, new=as_resource(urn, goal, goal.inputs))

        def act() -> Resource:
            answer = provider.read(urn, goal.import_id, None, {}, timeout=goal.timeouts.get("read", 0))
            if answer is None:
                raise EngineError(f"resource '{goal.import_id}' does not exist")
            if answer.inputs is None:
                raise EngineError(f"the provider of {goal.type} does not support importing resources")
            return self._taken_over(provider, urn, goal, slot=slot, answer=answer, inputs=answer.inputs)

        return session.run(step, act)

    def _taken_over(
        self, provider: Provider, urn: str, goal: Goal, *, slot: int | None, answer: Answer, inputs: Properties
    ) -> Resource:
        session = self._session
        if slot is not None and not session.old[slot].external:
            raise EngineError(f"{urn} already is {session.old[slot].id}; remove it before importing {goal.import_id}")
        found = self._marked(replace(as_resource(urn, goal, inputs), id=answer.id, outputs=answer.outputs))
        place = session.new_slot() if slot is None else slot
        session.keep(place, found, changed=True)
        inputs = self._policies.examine(urn, goal, self._check(provider, urn, goal, found))
        wanted = as_resource(urn, goal, inputs)
        decision = decide(provider, replace(found, replacement_trigger=None), wanted, preview=session.preview)
        if decision.operation == "replace":
            raise EngineError(
                f"importing {goal.import_id} would replace it, because of "
                f"{', '.join(str(change.path[0]) for change in decision.changes if change.replaces)}"
            )
        if decision.operation == "update":
            return self._update(provider, wanted, place, found, decision)
        session.keep(place, replace(found, inputs=wanted.inputs), changed=True)
        return found

    def _marked(self, resource: Resource) -> Resource:
        """A resource with the outputs secret that the program wants secret."""
        outputs = {
            key: secret(value) if key in resource.additional_secret_outputs else value
            for key, value in resource.outputs.items()
        }
        return replace(resource, outputs=outputs)

    def _step(self, wanted: Resource, old: Resource | None, decision: Decision) -> Step:
        return Step(
            decision.operation, wanted.urn, wanted.type, urns.name_of(wanted.urn), decision.changes, decision.because,
            old, wanted, decision.difference,
        )  # fmt: skip


def _equal(old: Resource | None, new: Resource) -> bool:
    """Whether the state need not be written: nothing differs, secret marks included."""
    return (
        old is not None
        and replace(old, inputs={}, outputs={}, replacement_trigger=None)
        == replace(new, inputs={}, outputs={}, replacement_trigger=None)
        and identical(old.inputs, new.inputs)
        and identical(old.outputs, new.outputs)
        and identical(old.replacement_trigger, new.replacement_trigger)
    )
