"""Runs the program: with the `pulumi` CLI where one is on PATH, else with the small engine in `localcloud/engine`.

Both get the same provider servers, configuration and passphrase through the environment, and a state directory in the
instance. A state belongs to the engine that made it; the other refuses it until everything was destroyed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from localcloud.cloud import write_private
from localcloud.stacks import CLI, SMALL, DriverError, Stack, checkpoint, copy_config, drop_stale_locks, owner_of
from localcloud.violations import with_violations

CHANGING = ("create", "update", "replace", "delete", "import", "refresh")
"""Kinds of changes; `unchanged` and `read` are the other counts."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COUNT = re.compile(r"(\d+) (?:to )?([a-z]+)")
_OUTPUTS = re.compile(r"^ *(?:Outputs:|--outputs:--) *\n(?:(?!Resources:).*\n)*?  (?:    )?[-+~] ", re.MULTILINE)
"""A changed export: with its sign in the third column by the CLI, which lists all exports after an update, and in the
seventh by the small engine."""
_WORDS = {
    "created": "create", "updated": "update", "replaced": "replace", "deleted": "delete", "imported": "import",
    "refreshed": "refresh",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How an operation ended."""

    succeeded: bool
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Operation (`create`, `update`, `replace`, `delete`, …, `unchanged`) -> number of resources."""
    exports_change: bool = False
    """Whether what the stack exports changes too, or alone."""

    @property
    def changes(self) -> bool:
        """Whether anything was changed, or would be."""
        return self.exports_change or any(self.counts.get(kind) for kind in CHANGING)


class Driver(ABC):
    """Runs the program with one engine."""

    key: str
    """How the engine is recorded."""

    def __init__(self, stack: Stack, output: TextIO | None = None) -> None:
        """Takes the stack, and where to show what happens (default: standard output)."""
        self.stack = stack
        self._output = output or sys.stdout

    @property
    @abstractmethod
    def description(self) -> str:
        """Which engine this is, for the user."""

    def preview(self) -> Outcome:
        """What `up` would change."""
        return self._operate("preview")

    def preview_document(self) -> tuple[bool, str]:
        """Whether the program could be previewed, and what `up` would change, as `pulumi preview --json` tells it.

        What stays the same is in it too. Progress and errors go to standard error; the document of a program that
        could not even be started is empty.
        """
        self._prepare_all()
        with tempfile.TemporaryDirectory(dir=self.stack.instance) as directory:
            log = Path(directory) / "events"
            done = subprocess.run(
                [*self.stack.prefix, *self._document_command(log)],
                cwd=self.stack.project,
                env={**self._environment(), "PULUMI_DEBUG_COMMANDS": "true"},  # the CLI's --event-log needs it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            return done.returncode == 0, with_violations(done.stdout, log)

    def up(self) -> Outcome:
        """Makes the clouds equal to the program."""
        return self._operate("up")

    def refresh(self) -> Outcome:
        """Makes the state equal to the clouds."""
        return self._operate("refresh")

    def destroy(self) -> Outcome:
        """Deletes everything; either engine may be used afterwards."""
        outcome = self._operate("destroy")
        if outcome.succeeded:
            self.stack.owner_file.unlink(missing_ok=True)
        return outcome

    @abstractmethod
    def outputs(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """What the stack exports; secrets as `[secret]` unless they are to be shown."""

    def broken_off(self) -> dict[str, set[str]]:
        """URN of each creation that an engine left under way when it died -> the ids that the state has for it."""
        left, ids = self._left()
        return {urn: {id_ for owner, id_ in ids if owner == urn} for urn in left}

    @abstractmethod
    def _left(self) -> tuple[list[str], list[tuple[str, str]]]:
        """URNs of broken-off creations, and (URN, id) of the resources in the state."""

    @abstractmethod
    def _command(self, operation: str) -> list[str]:
        """The command of an operation."""

    def _policies(self, operation: str) -> list[str]:
        """The options that name the policy packs, where an operation takes them."""
        if operation not in ("preview", "up"):
            return []
        options: list[str] = []
        for directory, config in self.stack.policy_packs:
            options += ["--policy-pack", str(directory)]
            options += ["--policy-pack-config", str(config)] if config else []
        return options

    @abstractmethod
    def _document_command(self, log: Path) -> list[str]:
        """The command that previews as JSON; what it does not put into the document is in the log of its events."""

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what the engine needs before it can run."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """The engine's environment."""

    def _operate(self, operation: str) -> Outcome:
        self._prepare_all()
        if operation == "up":
            write_private(self.stack.owner_file, self.key)
        return self._run(self._command(operation))

    def _prepare_all(self) -> None:
        self._check_owner()
        copy_config(self.stack)
        self._prepare()

    def _check_owner(self) -> None:
        owner = owner_of(self.stack)
        if owner is not None and owner != self.key:
            raise DriverError(
                f"the stack was made with {ENGINES[owner]}, but {ENGINES[self.key]} would be used now: "
                f"run `make down` first (with {ENGINES[owner]}), or put things back as they were"
            )

    def _run(self, command: Sequence[str]) -> Outcome:
        """Runs a command, shows its output while it comes, and reads the counts from its end."""
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [*self.stack.prefix, *command],
            cwd=self.stack.project,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.STDOUT,
            pass_fds=(reading,),  # when this process dies, what the engine still says does not end it
            start_new_session=True,  # a terminal's signals come from here, once
        )
        os.close(writing)
        lines: list[str] = []
        with os.fdopen(reading, errors="replace") as said:
            try:
                self._show(said, lines)
            except KeyboardInterrupt:
                # It ends what it has begun and records it; at a second signal the CLI would not.
                process.send_signal(signal.SIGINT)
                self._show(said, lines)
                process.wait()
                raise
        text = "".join(lines)
        return Outcome(process.wait() == 0, counts_in(text), exports_change_in(text))

    def _show(self, stream: Iterable[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(_ESCAPES.sub("", line))
            self._output.write(line)
            self._output.flush()

    def _ask(self, command: Sequence[str]) -> str:
        """The standard output of a command; raises DriverError with what it says when it fails."""
        done = subprocess.run(
            [*self.stack.prefix, *command],
            cwd=self.stack.project,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DriverError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    @property
    def _colour(self) -> str:
        return "always" if self._output.isatty() else "never"


class SmallEngine(Driver):
    """`python -m localcloud.engine`."""

    key = SMALL

    @property
    def description(self) -> str:
        """Says that no CLI is used."""
        return "the small engine (no pulumi CLI on PATH)"

    def outputs(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """See `Driver.outputs`."""
        self._check_owner()
        copy_config(self.stack)
        options = ["--show-secrets"] if show_secrets else []
        return json.loads(self._ask([*self._engine("outputs"), *options]))

    def _left(self) -> tuple[list[str], list[tuple[str, str]]]:
        if not (self.stack.state / self.stack.project_name / f"{self.stack.name}.journal").exists():
            return [], []  # the journal goes when an operation ends
        from localcloud.engine.target import Target, snapshot

        copy_config(self.stack)
        stack = self.stack
        target = Target(stack.project, stack.name, stack.config_file, stack.state, stack.environment)
        found = snapshot(target)
        left = [pending.urn for pending in found.pending if pending.operation == "creating"]
        return left, [(resource.urn, resource.id) for resource in found.resources]

    def _command(self, operation: str) -> list[str]:
        return [*self._engine(operation), *self._policies(operation), "--color", self._colour]

    def _document_command(self, log: Path) -> list[str]:
        del log
        return [*self._command("preview"), "--json"]

    def _engine(self, operation: str) -> list[str]:
        return [
            sys.executable, "-m", "localcloud.engine", operation, "--stack", self.stack.name,
            "--cwd", str(self.stack.project), "--config-file", str(self.stack.config_file),
            "--state", str(self.stack.state),
        ]  # fmt: skip

    def _prepare(self) -> None:
        self.stack.state.mkdir(mode=0o700, exist_ok=True)

    def _environment(self) -> dict[str, str]:
        own = str(Path(__file__).resolve().parent.parent)
        path = [own, *filter(None, [self.stack.environment.get("PYTHONPATH")])]
        return {**self.stack.environment, "PYTHONPATH": os.pathsep.join(path)}


class PulumiCli(Driver):
    """A real `pulumi` CLI on a `file://` backend."""

    key = CLI

    def __init__(self, stack: Stack, executable: str, output: TextIO | None = None) -> None:
        """Takes the stack, the CLI's path, and where to show what happens."""
        super().__init__(stack, output)
        self._executable = executable

    @property
    def description(self) -> str:
        """Says which CLI is used."""
        return f"the pulumi CLI {self._ask([self._executable, 'version']).strip()} ({self._executable})"

    def outputs(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """See `Driver.outputs`."""
        self._check_owner()
        copy_config(self.stack)
        self._prepare()
        options = ["--show-secrets"] if show_secrets else []
        asked = [self._executable, "stack", "output", "--json", "--stack", self.stack.name, *options]
        return json.loads(self._ask(asked))

    def _left(self) -> tuple[list[str], list[tuple[str, str]]]:
        latest = checkpoint(self.stack)
        pending: list[dict[str, Any]] = latest.get("pending_operations") or []
        resources: list[dict[str, Any]] = latest.get("resources") or []
        left = [one["resource"]["urn"] for one in pending if one["type"] == "creating"]
        return left, [(one["urn"], one.get("id", "")) for one in resources]

    def _command(self, operation: str) -> list[str]:
        how = {"preview": ["--diff"], "up": ["--yes", "--skip-preview"]}.get(operation, ["--yes", "--skip-preview"])
        return [
            self._executable, operation, *how, "--stack", self.stack.name, "--config-file",
            str(self.stack.config_file), *self._policies(operation), "--non-interactive", "--color", self._colour,
        ]  # fmt: skip

    def _document_command(self, log: Path) -> list[str]:
        command = [word for word in self._command("preview") if word != "--diff"]
        return [*command, "--json", "--show-sames", "--event-log", str(log)]

    def _prepare(self) -> None:
        self.stack.backend.mkdir(mode=0o700, exist_ok=True)
        drop_stale_locks(self.stack.backend)
        listed = json.loads(self._ask([self._executable, "stack", "ls", "--json"]))
        if not any(entry["name"].rsplit("/", 1)[-1] == self.stack.name for entry in listed):
            self._make_stack()

    def _make_stack(self) -> None:
        """Makes the stack from a copy of the project: `stack init` writes a salt into the stack's file."""
        with tempfile.TemporaryDirectory(dir=self.stack.instance) as directory:
            copied = Path(directory) / self.stack.config_file.name
            shutil.copy(self.stack.project / "Pulumi.yaml", directory)
            shutil.copy(self.stack.config_file, copied)
            self._ask([self._executable, "stack", "init", self.stack.name, "--cwd", directory, "--non-interactive"])
            write_private(self.stack.config_file, copied.read_text())

    def _environment(self) -> dict[str, str]:
        defaults = {
            "PULUMI_BACKEND_URL": f"file://{self.stack.backend}",
            "PULUMI_HOME": str(self.stack.instance / "pulumi-home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        return {**defaults, **self.stack.environment}


ENGINES = {SmallEngine.key: "the small engine", PulumiCli.key: "the pulumi CLI"}
"""Recorded key -> what the user reads."""


def choose(stack: Stack, output: TextIO | None = None) -> Driver:
    """The driver to use: the CLI's when a `pulumi` is on the environment's PATH."""
    executable = shutil.which("pulumi", path=stack.environment.get("PATH"))
    return PulumiCli(stack, executable, output) if executable else SmallEngine(stack, output)


def counts_in(text: str) -> dict[str, int]:
    """The counts of the last `Resources:` paragraph that either engine wrote."""
    _, found, summary = text.rpartition("Resources:\n")
    counts: dict[str, int] = {}
    if found:
        for number, word in _COUNT.findall(summary.split("\n\n")[0]):
            kind = _WORDS.get(str(word), str(word))
            if kind in (*CHANGING, "unchanged"):
                counts[kind] = int(number)
    return counts


def exports_change_in(text: str) -> bool:
    """Whether either engine's preview or update lists exports that change."""
    return _OUTPUTS.search(text) is not None
