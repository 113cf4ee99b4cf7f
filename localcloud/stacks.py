"""The stacks of an instance: whose projects they are, where their configuration and state is, and whose state it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localcloud.cloud import LocalCloudError, write_private

SMALL, CLI = "small", "pulumi"
"""How the engines are recorded."""
_SALT = re.compile(r"^encryptionsalt:.*$", re.MULTILINE)


class DriverError(LocalCloudError):
    """The program cannot be run; says why and what to do."""


@dataclass(frozen=True)
class Stack:
    """Which stack of which project, where its state is, and how commands get to where they run."""

    project: Path
    """Directory of `Pulumi.yaml`."""
    name: str
    instance: Path
    """Directory of the local cloud's instance: configuration copy, all projects' states, and which engine made them."""
    environment: Mapping[str, str]
    """All of it: PATH, PULUMI_DEBUG_PROVIDERS, PULUMI_CONFIG_PASSPHRASE, …"""
    prefix: Sequence[str] = ()
    """Put before each command, such as what enters the desk's namespace."""
    source: Path | None = None
    """The stack's configuration where it is not the project's `Pulumi.<name>.yaml`."""
    folder: Path | None = None
    """Where the configuration's copy is, of a project that is not the instance's own."""
    policy_packs: Sequence[tuple[Path, Path | None]] = ()
    """Directories of the packs that judge previews and updates, and the configuration file of each."""

    @property
    def project_name(self) -> str:
        """What `Pulumi.yaml` calls the project."""
        return project_name(self.project)

    @property
    def config_file(self) -> Path:
        """The copy of the stack's configuration that is used, so that no tracked file changes."""
        return (self.folder or self.instance) / f"Pulumi.{self.name}.yaml"

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


def project_name(project: Path) -> str:
    """What the `Pulumi.yaml` of a directory calls its project. Raises DriverError when it does not say."""
    file = project / "Pulumi.yaml"
    if not file.is_file():
        raise DriverError(f"there is no {file}: give the folder of a Pulumi program")
    try:
        name = yaml.safe_load(file.read_text()).get("name")
    except (OSError, yaml.YAMLError, AttributeError):
        name = None
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,99}", name):
        raise DriverError(f"{file} does not name a project: give the folder of a Pulumi program")
    return name


def owner_of(stack: Stack) -> str | None:
    """The key of the engine that made what exists in the instance; None when there is nothing.

    One engine makes the stacks of all projects, which refer to each other in its state. What was made by hand with the
    CLI at the desk counts too.
    """
    if stack.owner_file.exists():
        return stack.owner_file.read_text().strip()
    if any(_latest(path).get("resources") for path in stack.backend.glob(".pulumi/stacks/*/*.json")):
        return CLI
    return SMALL if any(stack.state.glob("*/*.j*")) else None


def is_made(stack: Stack) -> bool:
    """Whether an engine has made anything of the stack that is still there."""
    kept = [stack.state / stack.project_name / f"{stack.name}.{kind}" for kind in ("json", "journal")]
    return bool(checkpoint(stack).get("resources")) or any(path.exists() for path in kept)


def checkpoint(stack: Stack) -> dict[str, Any]:
    """The CLI's state of the stack; empty where there is none."""
    return _latest(stack.backend / ".pulumi" / "stacks" / stack.project_name / f"{stack.name}.json")


def _latest(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    return json.loads(file.read_text()).get("checkpoint", {}).get("latest") or {}


def copy_config(stack: Stack) -> None:
    """Copies the stack's configuration into the instance; a salt that only the copy has stays in it."""
    tracked = stack.source or stack.project / f"Pulumi.{stack.name}.yaml"
    text = tracked.read_text() if tracked.exists() else ""
    if not _SALT.search(text) and stack.config_file.exists():
        salt = _SALT.search(stack.config_file.read_text())
        if salt:
            text = f"{salt.group()}\n{text}"
    stack.config_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(stack.config_file, text)


def drop_stale_locks(backend: Path) -> None:
    """Removes the locks of CLI processes that are gone, as `pulumi cancel` would."""
    for lock in backend.glob(".pulumi/locks/**/*.json"):
        process = json.loads(lock.read_text()).get("pid")
        if isinstance(process, int) and not Path(f"/proc/{process}").exists():
            lock.unlink(missing_ok=True)
