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

from localcloud.cloud import LocalCloudError, write_private

CHANGING = ("create", "update", "replace", "delete", "import", "refresh")
"""Kinds of changes; `unchanged` and `read` are the other counts."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COUNT = re.compile(r"(\d+) (?:to )?([a-z]+)")
_OUTPUTS = re.compile(r"^\s*(?:Outputs:|--outputs:--)\s*\n\s*[-+~] ", re.MULTILINE)
_SALT = re.compile(r"^encryptionsalt:.*$", re.MULTILINE)
_WORDS = {
    "created": "create", "updated": "update", "replaced": "replace", "deleted": "delete", "imported": "import",
    "refreshed": "refresh",
}  # fmt: skip


class DriverError(LocalCloudError):
    """The program cannot be run; says why and what to do."""


@dataclass(frozen=True)
class Stack:
    """Which stack of which project, where its state is, and how commands get to where they run."""

    project: Path
    """Directory of `Pulumi.yaml`."""
    name: str
    instance: Path
    """Directory of the local cloud's instance: configuration copy, states, and which engine made them."""
    environment: Mapping[str, str]
    """All of it: PATH, PULUMI_DEBUG_PROVIDERS, PULUMI_CONFIG_PASSPHRASE, …"""
    prefix: Sequence[str] = ()
    """Put before each command, such as what enters the desk's namespace."""
    source: Path | None = None
    """The stack's configuration where it is not the project's `Pulumi.<name>.yaml`."""

    @property
    def config_file(self) -> Path:
        """The copy of the stack's configuration that is used, so that no tracked file changes."""
        return self.instance / f"Pulumi.{self.name}.yaml"

    @property
    def backend(self) -> Path:
        """The CLI's state."""
        return self.instance / "backend"

    @property
    def state(self) -> Path:
        """The small engine's state."""
        return self.instance / "state"

    @property
    def owner_file(self) -> Path:
        """Says which engine made the state."""
        return self.instance / "engine"


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

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what the engine needs before it can run."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """The engine's environment."""

    def _operate(self, operation: str) -> Outcome:
        self._check_owner()
        copy_config(self.stack)
        self._prepare()
        if operation == "up":
            write_private(self.stack.owner_file, self.key)
        return self._run(self._command(operation))

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

    key = "small"

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
        if not any(self.stack.state.glob(f"*/{self.stack.name}.journal")):
            return [], []  # the journal goes when an operation ends
        from localcloud.engine import operation

        copy_config(self.stack)
        stack = self.stack
        target = operation.Target(stack.project, stack.name, stack.config_file, stack.state, stack.environment)
        found = operation.snapshot(target)
        left = [pending.urn for pending in found.pending if pending.operation == "creating"]
        return left, [(resource.urn, resource.id) for resource in found.resources]

    def _command(self, operation: str) -> list[str]:
        return [*self._engine(operation), "--color", self._colour]

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

    key = "pulumi"

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
        latest = _latest(self.stack)
        pending: list[dict[str, Any]] = latest.get("pending_operations") or []
        resources: list[dict[str, Any]] = latest.get("resources") or []
        left = [one["resource"]["urn"] for one in pending if one["type"] == "creating"]
        return left, [(one["urn"], one.get("id", "")) for one in resources]

    def _command(self, operation: str) -> list[str]:
        how = {"preview": ["--diff"], "up": ["--yes", "--skip-preview"]}.get(operation, ["--yes", "--skip-preview"])
        return [
            self._executable, operation, *how, "--stack", self.stack.name, "--config-file",
            str(self.stack.config_file), "--non-interactive", "--color", self._colour,
        ]  # fmt: skip

    def _prepare(self) -> None:
        self.stack.backend.mkdir(mode=0o700, exist_ok=True)
        _drop_stale_locks(self.stack.backend)
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


def owner_of(stack: Stack) -> str | None:
    """The key of the engine that made what exists; None when there is nothing.

    What was made by hand with the CLI at the desk counts too.
    """
    if stack.owner_file.exists():
        return stack.owner_file.read_text().strip()
    if _latest(stack).get("resources"):
        return PulumiCli.key
    return SmallEngine.key if any(stack.state.glob(f"*/{stack.name}.j*")) else None


def _latest(stack: Stack) -> dict[str, Any]:
    """The CLI's state of the stack; empty where there is none."""
    for checkpoint in stack.backend.glob(f".pulumi/stacks/*/{stack.name}.json"):
        return json.loads(checkpoint.read_text()).get("checkpoint", {}).get("latest") or {}
    return {}


def copy_config(stack: Stack) -> None:
    """Copies the stack's configuration into the instance; a salt that only the copy has stays in it."""
    tracked = stack.source or stack.project / f"Pulumi.{stack.name}.yaml"
    text = tracked.read_text() if tracked.exists() else ""
    if not _SALT.search(text) and stack.config_file.exists():
        salt = _SALT.search(stack.config_file.read_text())
        if salt:
            text = f"{salt.group()}\n{text}"
    stack.instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(stack.config_file, text)


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
    """Whether either engine's preview lists exports that would change."""
    return _OUTPUTS.search(text) is not None


def _drop_stale_locks(backend: Path) -> None:
    """Removes the locks of CLI processes that are gone, as `pulumi cancel` would."""
    for lock in backend.glob(".pulumi/locks/**/*.json"):
        process = json.loads(lock.read_text()).get("pid")
        if isinstance(process, int) and not Path(f"/proc/{process}").exists():
            lock.unlink(missing_ok=True)
