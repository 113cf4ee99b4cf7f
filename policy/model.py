"""What policies look at and what they say. Nothing here knows how engines are spoken to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from components.settings.models import Settings


class Unknown:
    """Stands for what a preview can not know yet."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Resource:
    """A resource that the program declares, with its Pulumi type and the name that the program calls it by.

    ``inputs`` are what the provider made of the program's, camelCase; ``shown`` are the same with UNKNOWN for what is
    secret. ``protect`` is the resource option.
    """

    type: str
    name: str
    inputs: Mapping[str, Any]
    shown: Mapping[str, Any]
    protect: bool = False


@dataclass(frozen=True)
class Finding:
    """One violation: what the resource is or does, why it must not, and what mends it; no full stops."""

    what: str
    why: str
    remedy: str


@dataclass(frozen=True)
class Rule:
    """A policy on single resources. Of a stack of another project there are no settings to go by."""

    name: str
    description: str
    check: Callable[[Resource, Settings | None], Iterable[Finding]]


@dataclass(frozen=True)
class StackRule:
    """A policy on the stack as a whole."""

    name: str
    description: str
    check: Callable[[Sequence[Resource], Settings], Iterable[Finding]]


def link(rule: str) -> str:
    """Where a policy is explained."""
    return f"docs/policies.md#{rule}"


def message(rule: str, subject: str, finding: Finding) -> str:
    """What the user reads of a finding on ``subject``."""
    return f"{subject} {finding.what}: {finding.why}. {finding.remedy} ({link(rule)})."


def at(value: Any, *path: str) -> Any:
    """What stands at ``path``: None when nothing does, UNKNOWN when what leads there is unknown."""
    for part in path:
        if not isinstance(value, Mapping):
            return UNKNOWN if value is UNKNOWN else None
        value = cast("Mapping[str, Any]", value).get(part)
    return value


def each(value: Any, *path: str) -> Iterator[Any]:
    """The known items of the list that stands at ``path``; nothing for anything but a list."""
    found = at(value, *path)
    if isinstance(found, Sequence) and not isinstance(found, str):
        yield from (item for item in cast("Sequence[Any]", found) if item is not UNKNOWN)


def words(value: Any, *path: str) -> list[str]:
    """The known texts of the list, or the one text, that stands at ``path``."""
    found = at(value, *path)
    if isinstance(found, str):
        return [found]
    return [item for item in each(found) if isinstance(item, str)]


def is_on(value: Any) -> bool:
    """Whether a flag is set, or may be; AWS's templates write flags as texts."""
    return value is True or value is UNKNOWN or value == "true"


def labels_of(resource: Resource) -> Mapping[str, Any]:
    """The labels (on AWS tags) of a resource; empty when it has none or they are unknown."""
    for key in ("labels", "tags"):
        found = resource.inputs.get(key)
        if isinstance(found, Mapping):
            return cast("Mapping[str, Any]", found)
    return {}
