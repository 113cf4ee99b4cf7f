"""What an operation is about: which stack of which project, and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.engine.config import Project, load_project, load_stack
from localcloud.engine.errors import EngineError
from localcloud.engine.passphrase import Sealer
from localcloud.engine.state import Snapshot
from localcloud.engine.store import Store, salt_of

OPERATIONS = ("preview", "up", "destroy", "refresh")


@dataclass(frozen=True)
class Target:
    """Which stack of which project, and where its state is."""

    directory: Path
    """The project: where `Pulumi.yaml` is."""
    stack: str
    config_file: Path
    """The stack's configuration, `Pulumi.<stack>.yaml` or a copy of it."""
    state: Path
    """Directory of all states."""
    environment: Mapping[str, str]
    """PULUMI_DEBUG_PROVIDERS, PULUMI_CONFIG_PASSPHRASE, and what the program needs."""
    policy_packs: Sequence[tuple[Path, Path | None]] = ()
    """Directories of the packs that a preview or an update is judged by, and the configuration file of each."""


@dataclass(frozen=True)
class Opened:
    """A target's files as they were read."""

    project: Project
    raw: Mapping[str, object]
    sealer: Sealer
    config_sealer: Sealer | None
    store: Store


def open_target(target: Target) -> Opened:
    """Reads a target's files and checks the passphrase; raises EngineError for what is wrong with them."""
    project = load_project(target.directory)
    phrase = passphrase(target.environment)
    raw, config_sealer = load_stack(target.config_file, phrase)
    if config_sealer is not None:
        sealer = config_sealer
    elif phrase is not None:
        salt = salt_of(target.state, project.name, target.stack)
        sealer = Sealer(phrase, salt) if salt else Sealer.new(phrase)
    else:
        raise EngineError("the state is sealed with a passphrase: set PULUMI_CONFIG_PASSPHRASE")
    store = Store(target.state, project.name, target.stack, sealer)
    return Opened(project, raw, sealer, config_sealer, store)


def snapshot(target: Target) -> Snapshot:
    """The stack's resources as the last operation left them."""
    return open_target(target).store.load()


def passphrase(environment: Mapping[str, str]) -> str | None:
    """The stack's passphrase as the environment gives it, itself or in a file; None when it does not.

    Raises EngineError when the file cannot be read.
    """
    if "PULUMI_CONFIG_PASSPHRASE" in environment:
        return environment["PULUMI_CONFIG_PASSPHRASE"]
    path = environment.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    if path:
        try:
            return Path(path).expanduser().read_text().rstrip("\r\n")
        except OSError as error:
            raise EngineError(f"PULUMI_CONFIG_PASSPHRASE_FILE: cannot read {path}: {error.strerror}") from error
    return None
