"""What an operation does to one resource, and who is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from localcloud.engine.changes import Change, Difference
from localcloud.engine.state import Resource
from localcloud.wire import Properties

CHANGING = ("create", "update", "replace", "delete", "import", "refresh")
"""Operations that change a stack, in the order in which they are summed up."""
SHOWN = (*CHANGING, "discard")
"""Operations that are listed one by one. `discard` forgets what was only read; `same` and `read` are the others."""


@dataclass(frozen=True)
class Step:
    """One operation on one resource."""

    operation: str
    """One of `SHOWN`, `same` or `read`."""
    urn: str
    type: str
    name: str
    changes: Sequence[Change] = ()
    because: str = ""
    """Why, where the changes do not say it."""
    old: Resource | None = None
    """The resource as the last operation left it; None for one that is new."""
    new: Resource | None = None
    """The resource as it is wanted; None for one that goes."""
    difference: Difference | None = None
    """What its provider says of the change, where it was asked."""


@dataclass(frozen=True)
class Violation:
    """What a policy objects to."""

    policy: str
    pack: str
    """The pack's name and version."""
    level: str
    """`mandatory` or `advisory`."""
    urn: str
    message: str


class Reporter(Protocol):
    """Is told what happens while it happens, from several threads."""

    def begins(self, step: Step) -> None:
        """A provider is about to be asked."""
        ...

    def ends(self, step: Step, seconds: float) -> None:
        """A step is done; steps that ask no provider only end."""
        ...

    def fails(self, step: Step, message: str) -> None:
        """A step failed."""
        ...

    def says(self, urn: str, severity: str, message: str) -> None:
        """A message (`debug`, `info`, `warning`, `error`) about a resource, or (URN empty) about the stack."""
        ...

    def violates(self, violation: Violation) -> None:
        """A policy is violated."""
        ...


@dataclass(frozen=True)
class Result:
    """How an operation ended."""

    succeeded: bool
    steps: Sequence[Step]
    outputs: Properties
    """What the stack exports; in a preview with unknown values."""
    output_changes: Sequence[Change] = ()
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    """The stack's configuration as the program gets it, secrets masked."""
    refused: bool = False
    """Whether it failed because of policies alone: all steps were done, or planned."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Operation -> number of resources."""
        return Counter(step.operation for step in self.steps)

    @property
    def changes(self) -> int:
        """Number of resources that were changed, or would be."""
        return sum(self.counts.get(operation, 0) for operation in CHANGING)
