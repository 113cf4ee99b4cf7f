"""Whether a resource stays the same, is changed, or is replaced."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from localcloud.engine import paths
from localcloud.engine.changes import Change, Difference, between, explained
from localcloud.engine.errors import EngineError
from localcloud.engine.goals import Goal
from localcloud.engine.providers import Provider
from localcloud.engine.state import Resource
from localcloud.engine.values import same
from localcloud.wire import UNKNOWN, Properties, Value, contains_unknown


@dataclass(frozen=True)
class Decision:
    """What becomes of a resource that exists."""

    operation: str
    """`same`, `update` or `replace`."""
    changes: tuple[Change, ...] = ()
    because: str = ""
    delete_first: bool = False
    """The provider wants the old one deleted before the new one is made."""
    difference: Difference | None = None
    """What the provider said; None when the trigger decided."""


def decide(provider: Provider, old: Resource, new: Resource, *, preview: bool) -> Decision:
    """Compares a resource with what is wanted.

    Args:
        provider: asked for the difference, unless the trigger decides.
        old: as it is.
        new: as it is wanted; inputs checked.
        preview: whether unknown values are allowed.
    """
    if contains_unknown(new.replacement_trigger) and not preview:
        raise EngineError(f"replacement trigger contains unknowns for {new.urn}")
    if trigger_differs(old.replacement_trigger, new.replacement_trigger):
        changes = (*between(old.inputs, new.inputs), *_trigger_changes(old, new))
        return Decision("replace", changes, "the replacement trigger changed")
    difference = ask(provider, old, new.inputs, new.ignore_changes, new.replace_on_changes)
    if not difference.changes and not old.pending_replacement:
        if old.init_errors:
            return Decision("update", because="it had not become ready", difference=difference)
        return Decision("same")
    changes = tuple(explained(old.inputs, new.inputs, difference))
    if difference.replaces or old.pending_replacement:
        because = "an earlier replacement did not finish" if old.pending_replacement else ""
        return Decision("replace", changes, because, difference.delete_before_replace, difference)
    return Decision("update", changes, difference=difference)


def _trigger_changes(old: Resource, new: Resource) -> list[Change]:
    given: dict[str, Value] = {"replacementTrigger": new.replacement_trigger}
    before: dict[str, Value] = {"replacementTrigger": old.replacement_trigger}
    return [replace(change, replaces=True) for change in between(before, given)]


def trigger_differs(old: Value, new: Value) -> bool:
    """Whether a replacement trigger asks for a replacement: an unknown one does, setting or unsetting it does not."""
    if contains_unknown(old) or contains_unknown(new):
        return True
    return old is not None and new is not None and not same(old, new)


def ask(
    provider: Provider, old: Resource, inputs: Properties, ignored: tuple[str, ...], replacing: tuple[str, ...]
) -> Difference:
    """The provider's difference, with `replaceOnChanges` applied; where it cannot tell, the inputs are compared."""
    difference = provider.diff(old.urn, old.id, (old.inputs, old.outputs), inputs, ignored)
    if difference.changes is None:
        changes = between(old.inputs, keep_ignored(old.inputs, inputs, ignored)[0])
        difference = replace(
            difference,
            changes=bool(changes),
            keys=tuple(dict.fromkeys(str(change.path[0]) for change in changes)),
            detailed={paths.render(change.path): (change.kind, True) for change in changes},
        )
    if not difference.changes or not replacing:
        return difference
    patterns = [paths.parse(text) for text in replacing]
    detailed = {
        text: (kind if kind.endswith("-replace") or not _under(patterns, text) else f"{kind}-replace", is_input)
        for text, (kind, is_input) in difference.detailed.items()
    }
    replaces = [*difference.replaces, *(key for key in difference.keys if _under(patterns, key))]
    replaces += [text for text, (kind, _) in detailed.items() if kind.endswith("-replace")]
    return replace(difference, detailed=detailed, replaces=tuple(dict.fromkeys(replaces)))


def _under(patterns: list[paths.Path], text: str) -> bool:
    return any(paths.contains(pattern, paths.parse(text)) for pattern in patterns)


def keep_ignored(old: Properties, inputs: Properties, ignored: tuple[str, ...]) -> tuple[Properties, list[str]]:
    """Inputs with the old value at each ignored path, and the paths that cannot be followed in both."""
    if not ignored:
        return inputs, []
    kept = copy.deepcopy(inputs)
    lost = [text for text in ignored if not paths.reset(paths.parse(text), copy.deepcopy(old), kept)]
    return kept, lost


def as_resource(urn: str, goal: Goal, inputs: Properties) -> Resource:
    """A goal as a resource that is still to be made."""
    return Resource(
        urn=urn,
        type=goal.type,
        custom=goal.custom,
        inputs=inputs,
        parent=goal.parent,
        dependencies=goal.dependencies,
        property_dependencies=goal.property_dependencies,
        protect=bool(goal.protect),
        retain_on_delete=bool(goal.retain_on_delete),
        deleted_with=goal.deleted_with,
        additional_secret_outputs=goal.additional_secret_outputs,
        ignore_changes=goal.ignore_changes,
        replace_on_changes=goal.replace_on_changes,
        replacement_trigger=goal.replacement_trigger,
        import_id=goal.import_id,
        timeouts=goal.timeouts,
    )


def with_unknown(resource: Resource, replaced: set[str]) -> Properties | None:
    """A resource's inputs with unknown for each that comes from a replaced resource; None when none does."""
    inputs = {
        key: UNKNOWN if replaced.intersection(resource.property_dependencies.get(key, ())) else value
        for key, value in resource.inputs.items()
    }
    return inputs if any(value is UNKNOWN for value in inputs.values()) else None
