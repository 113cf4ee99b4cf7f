"""Deletes resources: each before what it needs, and those that a delete-before-replace takes along."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial

from localcloud.engine import urn as urns
from localcloud.engine.decision import ask, with_unknown
from localcloud.engine.errors import EngineError
from localcloud.engine.session import Session, StoppedError
from localcloud.engine.state import Resource
from localcloud.engine.steps import Step

PARALLEL = 16


def refuse_protected(session: Session, slots: list[int]) -> None:
    """Raises EngineError naming every protected resource among those to be deleted."""
    protected = [session.old[slot].urn for slot in slots if slot in session.old and session.old[slot].protect]
    if protected:
        listed = "\n".join(f"  {urn}" for urn in protected)
        raise EngineError(
            f"these resources are protected and cannot be deleted:\n{listed}\n"
            "To unprotect them, remove the `protect` flag in the program and run up"
        )


def delete_all(session: Session, resources: dict[int, Resource]) -> None:
    """Deletes resources by slot, in parallel, each after those that need it.

    Raises StoppedError when one fails; those under way are waited for.
    """
    blockers = _blockers(session, resources)
    left = dict(resources)
    running: dict[Future[None], int] = {}
    failed = False
    with ThreadPoolExecutor(PARALLEL) as pool:
        while running or (left and not failed):
            if not failed:
                for slot in [slot for slot in left if not blockers[slot]]:
                    running[pool.submit(_delete_one, session, slot, left.pop(slot))] = slot
            if not running:
                raise EngineError(f"resources need each other in a circle: {', '.join(r.urn for r in left.values())}")
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                slot = running.pop(done)
                failed = failed or done.exception() is not None
                error = done.exception()
                if error is not None and not isinstance(error, StoppedError):
                    raise error
                for waiting in blockers.values():
                    waiting.discard(slot)
    if failed:
        raise StoppedError("a deletion failed")


def _blockers(session: Session, resources: dict[int, Resource]) -> dict[int, set[int]]:
    """Slot -> slots that must be deleted before it."""
    by_urn: dict[str, list[int]] = {}
    for slot, resource in resources.items():
        by_urn.setdefault(resource.urn, []).append(slot)
    blockers: dict[int, set[int]] = {slot: set() for slot in resources}
    for slot, resource in resources.items():
        for urn in resource.needs:
            for needed in by_urn.get(urn, by_urn.get(session.names.former(urn), [])):
                blockers[needed].add(slot)
    return blockers


def _delete_one(session: Session, slot: int, resource: Resource) -> None:
    step = Step(
        "discard" if resource.external else "delete",
        resource.urn,
        resource.type,
        urns.name_of(resource.urn),
        because="retained at the provider" if resource.retain_on_delete else "",
        old=resource,
    )
    if slot in session.replaced:
        session.watch(replace(step, because="replaced"), partial(delete_now, session, slot, resource, pending=False))
    else:
        session.run(step, partial(delete_now, session, slot, resource, pending=False))


def delete_now(session: Session, slot: int, resource: Resource, *, pending: bool) -> None:
    """Deletes one resource at its provider, unless it is not ours to delete, and records it.

    Args:
        session: the operation.
        slot: the resource's slot.
        resource: the resource.
        pending: whether its replacement takes the slot; otherwise the slot is freed.
    """
    if session.preview:
        return
    skip = (
        not resource.custom
        or resource.external
        or resource.retain_on_delete
        or resource.pending_replacement
        or _dies_with_another(session, resource)
    )
    begun = None
    if not skip:
        provider = session.providers.of(urns.package_of(resource.type))
        begun = session.begin("deleting", resource.urn)
        try:
            provider.delete(
                resource.urn, resource.id, resource.inputs, resource.outputs, timeout=resource.timeouts.get("delete", 0)
            )
        except EngineError:
            session.finish(begun)
            raise
    if pending:
        session.finish(begun, put={slot: replace(resource, pending_replacement=True)})
    else:
        session.finish(begun, drop=(slot,))


def _dies_with_another(session: Session, resource: Resource) -> bool:
    """Whether the resource that this one is `deleted_with` is deleted in this operation."""
    slot = session.live.get(resource.deleted_with)
    return slot is not None and (slot not in session.kept or slot in session.deleted_early)


def delete_dependents(session: Session, root: Resource) -> None:
    """Deletes those that would be replaced because a resource is, the last in the chain first.

    They are the resources that were not registered yet, and that their provider replaces when the inputs that come
    from a replaced resource are unknown.
    """
    with session.lock:
        waiting = {
            slot: resource
            for slot, resource in session.old.items()
            if slot not in session.claimed and slot not in session.deleted_early and not resource.delete
        }
    replaced = {root.urn}
    chosen: list[int] = []
    touched = {root.urn}
    for slot, resource in waiting.items():  # the state keeps each after what it needs
        if not touched.intersection(resource.needs - {resource.parent}):
            continue
        touched.add(resource.urn)
        if resource.custom and not resource.external and _must_go(session, resource, replaced):
            if resource.protect:
                raise EngineError(
                    f"unable to replace resource {resource.urn!r} as part of replacing {root.urn!r} as it is currently "
                    "marked for protection. Remove the `protect` flag from the resource in the program and run up"
                )
            replaced.add(resource.urn)
            chosen.append(slot)
    for slot in reversed(chosen):
        resource = waiting[slot]
        with session.lock:
            if slot in session.claimed:
                continue
            session.deleted_early.add(slot)
        step = Step(
            "delete", resource.urn, resource.type, urns.name_of(resource.urn), because=f"{root.urn} is replaced"
        )
        session.watch(step, partial(delete_now, session, slot, resource, pending=True))


def _must_go(session: Session, resource: Resource, replaced: set[str]) -> bool:
    if resource.deleted_with in replaced:
        return True
    inputs = with_unknown(resource, replaced)
    if inputs is None:
        return False
    provider = session.providers.of(urns.package_of(resource.type))
    return bool(ask(provider, resource, inputs, resource.ignore_changes, resource.replace_on_changes).replaces)
