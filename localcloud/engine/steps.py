"""What an operation does to one resource, and who is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from localcloud.engine.changes import Change
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
    inputs: Properties = field(default_factory=dict)
    """The inputs from now on; of a deleted resource the last ones."""


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


@dataclass(frozen=True)
class Result:
    """How an operation ended."""

    succeeded: bool
    steps: Sequence[Step]
    outputs: Properties
    """What the stack exports; in a preview with unknown values."""
    output_changes: Sequence[Change] = ()

    @property
    def counts(self) -> Mapping[str, int]:
        """Operation -> number of resources."""
        return Counter(step.operation for step in self.steps)

    @property
    def changes(self) -> int:
        """Number of resources that were changed, or would be."""
        return sum(self.counts.get(operation, 0) for operation in CHANGING)
