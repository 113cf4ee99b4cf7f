"""Shows an operation on a terminal or in a log: progress lines, messages, the table of changes, outputs, counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from localcloud.engine import urn as urns
from localcloud.engine.changes import Change
from localcloud.engine.paths import render
from localcloud.engine.steps import CHANGING, SHOWN, Result, Step
from localcloud.engine.values import Secret, Value, masked

_SIGNS = {
    "create": "+", "update": "~", "replace": "+-", "delete": "-", "discard": "<", "import": "=", "read": ">",
    "refresh": "~", "same": " ",
}  # fmt: skip
_DONE = {
    "create": "created", "update": "updated", "replace": "replaced", "delete": "deleted", "discard": "discarded",
    "import": "imported", "read": "read", "refresh": "refreshed",
}  # fmt: skip
_DOING = {
    "create": "creating", "update": "updating", "replace": "replacing", "delete": "deleting", "discard": "discarding",
    "import": "importing", "read": "reading", "refresh": "refreshing",
}  # fmt: skip
_COLOURS = {"+": "32", "~": "33", "+-": "35", "-": "31", "error": "31", "warning": "33"}
_WIDTH = 120


class Display:
    """A `Reporter` that writes lines as things happen."""

    def __init__(self, stream: TextIO, *, preview: bool, colours: bool = False, verbose: bool = False) -> None:
        """Takes where to write, whether things are only planned, and whether to colour and to show debug messages."""
        self._stream = stream
        self._preview = preview
        self._verbose = verbose
        self._colours = colours
        self._lock = threading.Lock()
        self.messages: list[tuple[str, str, str]] = []
        """(URN, severity, text) in the order in which they came."""

    def begins(self, step: Step) -> None:
        """Says what a provider is asked to do."""
        if not self._preview and step.operation in _DOING:
            self._line(step, f"{_DOING[step.operation]}…")

    def ends(self, step: Step, seconds: float) -> None:
        """Says what was done."""
        if self._preview or step.operation not in _DONE or step.type == urns.STACK_TYPE:
            return
        because = _because(step)
        details = change_lines(step.changes) if step.operation in ("update", "replace", "refresh") else []
        self._line(step, f"{_DONE[step.operation]}{f' [{because}]' if because else ''} ({seconds:.1f}s)", details)

    def fails(self, step: Step, message: str) -> None:
        """Says what went wrong."""
        self.says(step.urn or f"{step.type} {step.name}".strip(), "error", message)

    def says(self, urn: str, severity: str, message: str) -> None:
        """Writes a message under the resource it is about."""
        if severity == "debug" and not self._verbose:
            return
        severity, _, source = severity.partition("#")
        with self._lock:
            if not source:
                self.messages.append((urn, severity, message))
            where = _short(urn) if urn and not urn.endswith(f"::{urns.STACK_TYPE}") else ""
            label = f"{severity}: " if severity != "info" else ""
            head = f"    {where}: " if where else "    "
            for index, line in enumerate(message.rstrip().splitlines() or [""]):
                text = f"{head}{label}{line}" if index == 0 else f"      {line}"
                self._write(self._coloured(severity, text))

    def table(self, result: Result) -> None:
        """In a preview the changes one by one; then the outputs that change, and the counts."""
        with self._lock:
            for step in result.steps:
                if self._preview and step.operation in SHOWN:
                    self._write(self._coloured(_SIGNS[step.operation], _title(step)))
                    if step.operation in ("update", "replace"):
                        self._indented(change_lines(step.changes))
            if result.output_changes:
                self._write("Outputs:")
                self._indented(change_lines(result.output_changes))
            self._write(summary(result, preview=self._preview))

    def _line(self, step: Step, text: str, details: Iterable[str] = ()) -> None:
        sign = _SIGNS[step.operation]
        with self._lock:
            self._write(self._coloured(sign, f" {sign:2} {_short_type(step.type)} {step.name} {text}"))
            self._indented(details)

    def _indented(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._write(f"      {line}")

    def _coloured(self, kind: str, text: str) -> str:
        colour = _COLOURS.get(kind)
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour else text

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def _title(step: Step) -> str:
    because = _because(step)
    title = f" {_SIGNS[step.operation]:2} {_short_type(step.type):45} {step.name:30} {step.operation}"
    return f"{title} [{because}]" if because else title


def _because(step: Step) -> str:
    causes = sorted({str(change.path[0]) for change in step.changes if change.replaces})
    return f"because of {', '.join(causes)}" if step.operation == "replace" and causes else step.because


def change_lines(changes: Iterable[Change]) -> list[str]:
    """One line a change: `+ nodes.aws-2: {address: "10.100.2.2"}`; secrets are masked."""
    signs = {"add": "+", "delete": "-", "update": "~"}
    lines: list[str] = []
    for change in changes:
        if change.path == ("__provider",):
            text = "(the provider's code)"
        elif change.kind == "add":
            text = brief(change.new)
        elif change.kind == "delete":
            text = brief(change.old)
        elif change.old is None and change.new is None:
            text = "(the provider says so)"
        else:
            text = f"{brief(change.old)} => {brief(change.new)}"
        forces = "  (forces replacement)" if change.replaces else ""
        lines.append(f"{signs[change.kind]} {render(change.path)}: {text}{forces}")
    return lines


def brief(value: Value, width: int = _WIDTH) -> str:
    """A value on one line, secrets masked, cut where it is long."""
    text = _brief(masked(value)) if not isinstance(value, Secret) else "[secret]"
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _brief(value: Value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_brief(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_brief(item) for item in value) + "]"
    if value in ("[secret]", "[unknown]"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def summary(result: Result, *, preview: bool) -> str:
    """The counts, as the CLI writes them: `Resources:`, then a line a kind."""
    lines = ["Resources:"]
    for operation in CHANGING:
        if number := result.counts.get(operation):
            verb = f"to {operation}" if preview else _DONE[operation]
            lines.append(f"    {_SIGNS[operation]:2}{number} {verb}")
    if number := result.counts.get("same"):
        lines.append(f"    {number} unchanged")
    return "\n".join(lines)


def as_json(operation: str, result: Result, messages: Sequence[tuple[str, str, str]]) -> Mapping[str, object]:
    """The result as a document, secrets masked; `steps` leaves out what is unchanged."""
    return {
        "operation": operation,
        "succeeded": result.succeeded,
        "changeSummary": dict(result.counts),
        "steps": [
            {
                "op": step.operation,
                "urn": step.urn,
                "because": step.because,
                "inputs": masked(step.inputs),
                "changes": [
                    {
                        "path": render(change.path),
                        "kind": change.kind,
                        "old": masked(change.old),
                        "new": masked(change.new),
                        "replaces": change.replaces,
                    }
                    for change in step.changes
                ],
            }
            for step in result.steps
            if step.operation in SHOWN
        ],
        "outputs": masked(result.outputs),
        "diagnostics": [{"urn": urn, "severity": severity, "message": text} for urn, severity, text in messages],
    }


def _short(urn: str) -> str:
    if not urn.startswith("urn:"):
        return urn
    return f"{_short_type(urns.type_of(urn))} {urns.name_of(urn)}"


def _short_type(type_: str) -> str:
    """`tls:index:PrivateKey` for `tls:index/privateKey:PrivateKey`, as the CLI shows types."""
    fields = type_.split(":")
    if len(fields) == 3:
        module, _, file = fields[1].partition("/")
        if file.lower() == fields[2].lower():
            return f"{fields[0]}:{module}:{fields[2]}"
    return type_
