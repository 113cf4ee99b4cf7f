"""Reads the document of `pulumi preview --json`, from the CLI or from the local cloud's engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from review.costs import ROSTER, Resource
from review.inputs import items, number, section, text

GONE = ("delete", "discard", "delete-replaced")
REPLACING = ("replace", "create-replacement")
"""How the operations of a replacement begin."""


class NoPreviewError(Exception):
    """A file is no preview; says why and what to do."""


@dataclass(frozen=True)
class State:
    """A resource before or after the change: inputs in camelCase, and by property the URNs that it comes from."""

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    trigger: object
    is_protected: bool
    """Whether engines refuse to delete or replace it."""
    comes_from: Mapping[str, tuple[str, ...]]

    @property
    def resource(self) -> Resource:
        """As estimates take it."""
        return Resource(self.type, self.name, self.inputs)


@dataclass(frozen=True)
class Step:
    """What happens to one resource: `same`, `create`, `update`, `replace`, `delete`, `read`, `import`, …"""

    operation: str
    urn: str
    type: str
    name: str
    old: State | None
    new: State | None
    reasons: tuple[str, ...]
    """Properties that make its provider replace it."""


@dataclass(frozen=True)
class Problem:
    """What went wrong or what somebody should know: `error`, `warning` or `info`; about a resource, or about none."""

    severity: str
    about: str
    message: str

    @property
    def ends_the_preview(self) -> bool:
        """Whether it is an error after which engines say no more; they go on after what policies object to."""
        return self.severity == "error" and not self.message.startswith("[mandatory]")


@dataclass(frozen=True)
class Preview:
    """A whole preview."""

    steps: tuple[Step, ...]
    problems: tuple[Problem, ...]
    lists_all: bool
    """Whether what stays the same is among the steps, so that the stack is known before and after."""

    @property
    def is_broken(self) -> bool:
        """Whether it ended before the whole program was looked at."""
        return any(problem.ends_the_preview for problem in self.problems)

    def states(self, *, after: bool) -> list[State]:
        """The resources that are known, before or after the change."""
        found = ((step.new if after else step.old) for step in self.steps)
        return [state for state in found if state is not None]

    def roster(self, *, after: bool) -> Mapping[str, Any]:
        """What the stack tells its gateways: nodes, pools, network; empty where there is nothing."""
        nothing: Mapping[str, Any] = {}
        return next((state.inputs for state in self.states(after=after) if state.type == ROSTER), nothing)


def read(content: str) -> Preview:
    """The preview in a file. Raises NoPreviewError for anything else."""
    hint = "make one with `python -m localcloud preview --json` or `pulumi preview --json --show-sames`"
    if not content.strip():
        raise NoPreviewError(f"this is empty: what should have written it says why, or {hint}")
    try:
        document: object = json.loads(content)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NoPreviewError(f"this is no JSON ({error}): {hint}") from error
    if not isinstance(document, dict):
        raise NoPreviewError(f"this is no preview but a {type(document).__name__}: {hint}")
    found = cast("dict[str, Any]", document)
    if not found.keys() & {"steps", "changeSummary", "diagnostics"}:
        raise NoPreviewError(f"this has none of a preview's `steps`, `changeSummary` and `diagnostics`: {hint}")
    try:
        return _preview(found)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise NoPreviewError(f"this is no preview that could be read ({error!r}): {hint}") from error


def _preview(document: Mapping[str, Any]) -> Preview:
    for key in ("steps", "diagnostics"):
        if not isinstance(document.get(key) or [], list):
            raise TypeError(f"{key} is no list")
    steps = tuple(_step(step) for step in items(document, "steps"))
    told = number(section(document, "changeSummary"), "same")
    listed = sum(step.operation == "same" for step in steps)
    return Preview(steps, tuple(_problems(document)), listed >= told)


def _problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    for said in items(document, "diagnostics"):
        severity = text(said, "severity").partition("#")[0]
        message = text(said, "message").strip().removeprefix(f"{severity}: ")
        urn = text(said, "urn")
        if message:
            yield Problem(severity, name_of(urn) if urn and not urn.count("pulumi:pulumi:Stack") else "", message)


def _step(step: Mapping[str, Any]) -> Step:
    urn, operation = str(step["urn"]), str(step["op"])
    old, new = _state(section(step, "oldState")), _state(section(step, "newState"))
    needed = (old, new) if operation == "update" or operation.startswith(REPLACING) else (old or new,)
    if None in needed:
        raise ValueError(f"{operation} of {urn} does not say what is before and after")
    reasons = tuple(str(reason) for reason in step.get("replaceReasons") or ())
    return Step(operation, urn, type_of(urn), name_of(urn), old, None if operation in GONE else new, reasons)


def _state(state: Mapping[str, Any]) -> State | None:
    if not state:
        return None
    urn = str(state["urn"])
    comes_from: Mapping[str, Any] = section(state, "propertyDependencies")
    return State(
        urn,
        str(state["type"]),
        name_of(urn),
        section(state, "inputs"),
        state.get("replacementTrigger"),
        bool(state.get("protect")),
        {key: tuple(map(str, urns or ())) for key, urns in comes_from.items()},
    )


def type_of(urn: str) -> str:
    """The type of the resource that a URN names."""
    return urn.split("::", 3)[2].rsplit("$", 1)[-1]


def name_of(urn: str) -> str:
    """The name that the program gave the resource that a URN names."""
    return urn.split("::", 3)[-1]
