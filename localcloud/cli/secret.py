"""The command that seals a secret into the stack's settings file, for where there is no `pulumi` CLI."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import getpass
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from localcloud.cli.console import Console
from localcloud.cli.desk import PASSPHRASE, Choice
from localcloud.cloud import PROJECT, Cloud, LocalCloudError
from localcloud.engine import paths, stackfile
from localcloud.engine.config import Project, load_project, load_stack
from localcloud.engine.errors import EngineError
from localcloud.engine.passphrase import Sealer
from localcloud.engine.target import passphrase

_PUBLISHED = f"the local cloud's published passphrase ({PASSPHRASE}), so for whoever has the file it is no secret"
_OWN = "your passphrase (PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE)"


def seal(cloud: Cloud, options: argparse.Namespace) -> int:
    """secret: 0 when the value stands in the file, sealed."""
    del cloud
    choice = Choice(options.stack, options.config_file)
    choice.check()
    file = (choice.config_file or PROJECT / f"Pulumi.{choice.stack}.yaml").resolve()
    try:
        project = load_project(PROJECT)
        key, names = _place(options.key, project)
        config, salted = load_stack(file, PASSPHRASE)
        key = next((name for name in config if name == key.removeprefix(f"{project.name}:")), key)
        _check_free(config, key, names)
        sealer, whose = _sealer(salted, file)
        sealed = sealer.seal(_value(options.key))
        text = file.read_bytes().decode()
        if salted is None:
            text = stackfile.put(text, ["encryptionsalt"], sealer.salt, file.name)
        _replace(file, stackfile.put(text, ["config", key, *names, "secure"], sealed, file.name))
    except EngineError as error:
        raise LocalCloudError(str(error)) from error
    except OSError as error:
        raise LocalCloudError(f"cannot write {file}: {error.strerror}; nothing was changed") from error
    Console().say(f"{options.key} is in {file.name}, sealed with {whose}")
    return 0


def _place(text: str, project: Project) -> tuple[str, list[str]]:
    """The full key of a setting, and the names under it."""
    namespace, colon, rest = text.partition(":")
    path = paths.parse(rest if colon else text)
    names = [name for name in path if isinstance(name, str) and name != "*"]
    if not names or len(names) < len(path):
        raise LocalCloudError(
            f"{text!r} names no place for a secret: write it as `apiKeys.portal`, without list indices"
        )
    full = f"{namespace if colon else project.name}:{names[0]}"
    if full.startswith(f"{project.name}:"):
        _check_declared(names, project)
    return full, names[1:]


def _check_declared(names: Sequence[str], project: Project) -> None:
    known = {key.removeprefix(f"{project.name}:"): declared for key, declared in project.declared.items()}
    declared = known.get(names[0])
    if declared is None:
        near = difflib.get_close_matches(names[0], known, 1)
        raise LocalCloudError(
            f"there is no setting {names[0]!r}"
            + (f": did you mean {near[0]}?" if near else "; docs/settings.md has them")
        )
    if declared.type == "object" and len(names) == 1:
        raise LocalCloudError(f"{names[0]} holds several values: say which one, as in `{names[0]}.NAME`")
    if declared.type != "object" and len(names) > 1:
        raise LocalCloudError(f"{names[0]} is one value ({declared.type}), nothing stands under it: write `{names[0]}`")


def _check_free(config: Mapping[str, object], key: str, names: Sequence[str]) -> None:
    """LocalCloudError where something else than one value would be lost."""
    value, where = config.get(key), key
    for name in names:
        if value is not None and not isinstance(value, dict):
            raise LocalCloudError(
                f"{where} is a value itself, so {name} cannot stand under it: take it out of the file"
            )
        fields = cast("dict[str, object]", value or {})
        if "secure" in fields:
            raise LocalCloudError(
                f"{where} is sealed as a whole, so {name} cannot stand under it: take it out of the file"
            )
        value, where = fields.get(name), f"{where}.{name}"
    if isinstance(value, list) or (
        isinstance(value, dict) and value and set(cast("dict[str, object]", value)) != {"secure"}
    ):
        raise LocalCloudError(
            f"{where} holds several values in the file, which one secret would replace: take them out first"
        )


def _sealer(found: Sealer | None, file: Path) -> tuple[Sealer, str]:
    """What seals for the stack, and whose passphrase that is: the environment's where it opens the stack, else ours."""
    own = passphrase(os.environ)
    if found is None:
        return (Sealer.new(PASSPHRASE), _PUBLISHED) if own is None else (Sealer.new(own), _OWN)
    for phrase in (own, PASSPHRASE):
        if phrase is not None:
            sealer = Sealer(phrase, found.salt)
            with contextlib.suppress(EngineError):
                sealer.seal("")
                return sealer, _PUBLISHED if phrase == PASSPHRASE else _OWN
    raise LocalCloudError(
        f"{file.name} has a passphrase of its own, which "
        + ("the environment does not give" if own is None else "is not the one in the environment")
        + ": set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE"
    )


def _value(key: str) -> str:
    """Standard input without the line break at its end, as the CLI takes it; asked for where it is a terminal."""
    value = ""
    with contextlib.suppress(EOFError):  # the terminal's end of file
        if sys.stdin and sys.stdin.isatty():  # None where it is closed
            value = getpass.getpass(f"{key}: ")
        elif sys.stdin:
            try:
                value = sys.stdin.buffer.read().decode()
            except UnicodeDecodeError:
                raise LocalCloudError(
                    "standard input is not UTF-8, and settings are texts: give it in base64 or PEM"
                ) from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise LocalCloudError(f"standard input is empty, and the secret is read from it: `secret {key} < FILE`")
    return value


def _replace(file: Path, text: str) -> None:
    """Replaces a file in one step; whose it is and who may read it stays."""
    was = file.stat()
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as new:
            os.fchown(new.fileno(), was.st_uid, was.st_gid)
            os.fchmod(new.fileno(), was.st_mode & 0o777)
            new.write(text.encode())
            new.flush()
            os.fsync(new.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink()
        raise
