"""The result of an operation as a document, in the shape of `pulumi preview --json --show-sames`.

The shape is the CLI's own: pkg/display/json.go and pkg/backend/display/json.go of pulumi 3.260. Its `provider` is left
out, since providers are no resources here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.engine.changes import Difference
from localcloud.engine.state import Resource, shown
from localcloud.engine.steps import Result, Step


def digest(result: Result, messages: Sequence[tuple[str, str, str]], seconds: float) -> Mapping[str, object]:
    """The document: secrets are masked, the duration is in nanoseconds. What is empty is left out, as the CLI does.

    Args:
        result: how the operation ended.
        messages: URN, severity and text of each.
        seconds: how long it took.
    """
    document: dict[str, object] = {
        "config": dict(result.config),
        "steps": [_step(step) for step in result.steps],
        "diagnostics": [_diagnostic(*message) for message in messages],
        "duration": int(seconds * 1e9),
        "changeSummary": dict(result.counts),
    }
    return {key: value for key, value in document.items() if value}


def _step(step: Step) -> Mapping[str, Any]:
    found: dict[str, Any] = {"op": step.operation, "urn": step.urn}
    found |= _state("oldState", step.old) | _state("newState", step.new)
    difference = step.difference
    if difference is not None and step.operation in ("update", "replace"):
        found |= {"diffReasons": list(difference.keys)} if difference.keys else {}
        found |= {"replaceReasons": list(difference.replaces)} if difference.replaces else {}
    return found | {"detailedDiff": _detailed(difference)}


def _state(key: str, resource: Resource | None) -> dict[str, Any]:
    return {} if resource is None else {key: shown(resource)}


def _detailed(difference: Difference | None) -> Mapping[str, Any] | None:
    if difference is None or not difference.detailed:
        return None
    return {path: {"kind": kind, "inputDiff": inputs} for path, (kind, inputs) in difference.detailed.items()}


def _diagnostic(urn: str, severity: str, message: str) -> Mapping[str, str]:
    about = {"urn": urn} if urn.startswith("urn:") else {}
    label = "" if severity == "info" else f"{severity}: "
    return {**about, "message": f"{label}{message}\n", "severity": severity}
