"""Shows an operation on a terminal or in a log: progress lines, messages, the table of changes, outputs, counts."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Iterable
from typing import TextIO

from localcloud.engine import urn as urns
from localcloud.engine.changes import Change
from localcloud.engine.paths import render
from localcloud.engine.steps import CHANGING, SHOWN, Result, Step, Violation
from localcloud.engine.values import masked
from localcloud.wire import Value

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
_KINDS = {"add": "+", "delete": "-", "update": "~"}
_COLOURS = {"+": "32", "~": "33", "+-": "35", "-": "31", "error": "31", "warning": "33"}
_SEVERITIES = {"mandatory": "error", "advisory": "warning"}
_WIDTH = 120
_SLOW = 2.0
"""Seconds after which a step that still goes on is worth a line of its own."""
_LINES = 8
"""Lines of a text, or items of a list, that are shown of what changed in it."""


class Display:
    """A `Reporter` that writes lines as things happen."""

    def __init__(self, stream: TextIO, *, preview: bool, colours: bool = False, verbose: bool = False) -> None:
        """Takes where to write, whether things are only planned, and whether to colour and to show debug messages."""
        self._stream = stream
        self._preview = preview
        self._verbose = verbose
        self._colours = colours
        self._lock = threading.Lock()
        self._timers: dict[int, threading.Timer] = {}
        self.messages: list[tuple[str, str, str]] = []
        """(URN, severity, text) in the order in which they came."""
        self._violations: list[Violation] = []

    def begins(self, step: Step) -> None:
        """Says what a provider is asked to do, if it takes a while."""
        if not self._preview and step.operation in _DOING:
            timer = threading.Timer(_SLOW, self._line, (step, f"{_DOING[step.operation]}…"))
            timer.daemon = True
            self._timers[id(step)] = timer
            timer.start()

    def ends(self, step: Step, seconds: float) -> None:
        """Says what was done."""
        self._no_longer_slow(step)
        if self._preview or step.operation not in _DONE or step.type == urns.STACK_TYPE:
            return
        because = _because(step)
        details = change_lines(step.changes) if step.operation in ("update", "replace", "refresh") else []
        self._line(step, f"{_DONE[step.operation]}{f' [{because}]' if because else ''} ({seconds:.1f}s)", details)

    def fails(self, step: Step, message: str) -> None:
        """Says what went wrong."""
        self._no_longer_slow(step)
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
            # Providers begin a refusal with the resource that the line names already.
            for index, line in enumerate(_without_subject(message, urn).rstrip().splitlines() or [""]):
                text = f"{head}{label}{line}" if index == 0 else f"      {line}"
                self._write(self._coloured(severity, text))

    def violates(self, violation: Violation) -> None:
        """Keeps what a policy objects to, for the end."""
        text = f"[{violation.level}] {violation.policy} ({violation.pack}): {violation.message}"
        with self._lock:
            self.messages.append((violation.urn, _SEVERITIES[violation.level], text))
            self._violations.append(violation)

    def violations(self) -> None:
        """What policies object to, mandatory ones first."""
        if not self._violations:
            return
        listed = sorted(
            self._violations, key=lambda one: (one.level != "mandatory", one.policy, _short(one.urn), one.message)
        )
        names = max(len(one.policy) for one in listed)
        with self._lock:
            self._write("Policy violations:")
            for one in listed:
                title = f" {one.level:9}  {one.policy:{names}}  {_short(one.urn)}"
                self._write(self._coloured(_SEVERITIES[one.level], title.rstrip()))
                self._indented(one.message.splitlines())

    def table(self, result: Result) -> None:
        """In a preview the changes one by one; then the outputs that change, and the counts."""
        with self._lock:
            if self._preview and not result.succeeded and not result.refused:
                return
            shown = sorted((step for step in result.steps if self._preview and step.operation in SHOWN), key=_order)
            names = max((len(step.name) for step in shown), default=0)
            types = max((len(_short_type(step.type)) for step in shown), default=0)
            for step in shown:
                sign, because = _SIGNS[step.operation], _because(step)
                title = f" {sign:2} {step.name:{names}}  {_short_type(step.type):{types}}  {step.operation}"
                self._write(self._coloured(sign, f"{title} [{because}]" if because else title))
                if step.operation in ("update", "replace"):
                    self._indented(change_lines(step.changes))
            if result.output_changes:
                self._write("Outputs:")
                self._indented(output_lines(result.output_changes))
            self._write(summary(result, preview=self._preview))

    def _no_longer_slow(self, step: Step) -> None:
        timer = self._timers.pop(id(step), None)
        if timer is not None:
            timer.cancel()

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


def _order(step: Step) -> tuple[bool, str, str]:
    """By name, so that what belongs to a machine or a site stands together; the stack first."""
    return step.type != urns.STACK_TYPE, step.name, step.type


def _because(step: Step) -> str:
    causes = sorted({str(change.path[0]) for change in step.changes if change.replaces})
    return f"because of {', '.join(causes)}" if step.operation == "replace" and causes else step.because


def change_lines(changes: Iterable[Change]) -> list[str]:
    """What changes in a resource: `+ nodes.aws-2: {address: "10.100.2.2"}`; secrets are masked."""
    lines: list[str] = []
    for change in sorted(changes, key=_place):
        if change.path == ("__provider",):
            text = ["(the provider's code)"]
        elif change.kind == "add":
            text = [brief(change.new)]
        elif change.kind == "delete":
            text = [brief(change.old)]
        elif change.old is None and change.new is None:
            text = ["(the provider says so)"]
        else:
            text = _difference(masked(change.old), masked(change.new))
        forces = "  (forces replacement)" if change.replaces else ""
        lines += [
            f"{_KINDS[change.kind]} {render(change.path)}: {text[0]}{forces}",
            *(f"    {line}" for line in text[1:]),
        ]
    return lines


def output_lines(changes: Iterable[Change]) -> list[str]:
    """What changes in the exports; of new ones only what they are, since `outputs` shows them."""
    lines: list[str] = []
    for change in sorted(changes, key=_place):
        if change.kind == "update":
            lines += change_lines([change])
        else:
            value = masked(change.new if change.kind == "add" else change.old)
            lines.append(f"{_KINDS[change.kind]} {render(change.path)}: {_shape(value)}")
    return lines


def _place(change: Change) -> list[tuple[bool, int, str]]:
    return [
        (isinstance(part, str), part if isinstance(part, int) else 0, part if isinstance(part, str) else "")
        for part in change.path
    ]


def _difference(old: Value, new: Value) -> list[str]:
    """How a value, masked, becomes another: on one line if that tells it, else with the lines or items that differ."""
    if isinstance(old, list) and isinstance(new, list):
        gone = [f"- {brief(item)}" for item in old if item not in new]
        come = [f"+ {brief(item)}" for item in new if item not in old]
        return [f"{_count(len(old), 'item')} => {_count(len(new), 'item')}", *_some(gone + come)]
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        before, after = old.splitlines(), new.splitlines()
        compared = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
        lines = [f"{line[0]} {_cut(line[1:])}" for line in compared if not line.startswith("@@")]
        return [f"{_count(len(before), 'line')} => {_count(len(after), 'line')}", *_some(lines)]
    return [f"{brief(old)} => {brief(new)}"]


def _some(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], f"… and {len(lines) - _LINES + 1} more"]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _shape(value: Value) -> str:
    """What a masked value is, in a few words: small ones as they are."""
    if isinstance(value, list):
        names = [str(item["name"]) for item in value if isinstance(item, dict) and "name" in item]
        listed = ", ".join(names) if len(names) == len(value) else ""
        return _cut(f"{_count(len(value), 'item')}{f' ({listed})' if listed else ''}")
    if isinstance(value, dict):
        return _cut("{" + ", ".join(sorted(value)) + "}")
    if isinstance(value, str) and "\n" in value:
        return f"{_count(len(value.splitlines()), 'line')} of text"
    return brief(value)


def brief(value: Value) -> str:
    """A value on one line, secrets masked, keys sorted, cut where it is long."""
    return _cut(_brief(masked(value)))


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _brief(value: Value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_brief(item)}" for key, item in sorted(value.items())) + "}"
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


def _short(urn: str) -> str:
    if not urn.startswith("urn:"):
        return urn
    return f"{_short_type(urns.type_of(urn))} {urns.name_of(urn)}"


def _without_subject(message: str, urn: str) -> str:
    return message.removeprefix(f"{urns.type_of(urn)} {urns.name_of(urn)}: ") if urn.startswith("urn:") else message


def _short_type(type_: str) -> str:
    """`tls:index:PrivateKey` for `tls:index/privateKey:PrivateKey`, as the CLI shows types."""
    fields = type_.split(":")
    if len(fields) == 3:
        module, _, file = fields[1].partition("/")
        if file.lower() == fields[2].lower():
            return f"{fields[0]}:{module}:{fields[2]}"
    return type_
