"""Policy packs as they lie on the disk: `PulumiPolicy.yaml`, and the configuration of their policies.

The rules are the CLI's (`pkg/resource/analyzer/config.go` of pulumi/pulumi): a policy's own defaults, then what the
pack says at first, then the file; in each, `all` before a policy's own entry.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from localcloud.engine.config import parse
from localcloud.engine.errors import EngineError

FILE = "PulumiPolicy.yaml"
LEVELS = ("advisory", "mandatory", "disabled", "remediate")
"""Enforcement levels in the order of the protocol's numbers (`analyzer.proto`)."""
ALL = "all"
"""Stands for every policy of a pack in its configuration."""

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == int(value),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True)
class Pack:
    """A policy pack on the disk."""

    directory: Path
    version: str
    """As the file has it; empty when the pack is to say it."""
    python: Path
    """What runs it."""
    settings: Mapping[str, Setting]
    """What the configuration file says, by policy's name or `ALL`."""


@dataclass(frozen=True)
class Setting:
    """How one policy is to be applied."""

    level: str = ""
    """One of `LEVELS`; empty to leave it as it is."""
    properties: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class Policy:
    """A policy as its pack describes it."""

    name: str
    level: str
    schema: Mapping[str, Mapping[str, object]]
    """Property -> its JSON schema."""
    required: Sequence[str]


def pair(directories: Sequence[Path], configs: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Each pack's directory with its configuration file; raises EngineError when the numbers do not fit."""
    if configs and len(configs) != len(directories):
        raise EngineError(
            f"--policy-pack is there {_times(len(directories))}, --policy-pack-config {_times(len(configs))}: give "
            "each pack its file, in the same order, or none at all"
        )
    return list(zip(directories, configs or [None] * len(directories), strict=True))


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def find(directory: Path) -> Path:
    """The file that makes a directory a pack; raises EngineError when it is none."""
    path = directory.resolve() / FILE
    if not path.is_file():
        raise EngineError(f"{directory} is no policy pack: it has no {FILE}")
    return path


def load(directory: Path, config: Path | None) -> Pack:
    """Reads a pack and its configuration file; raises EngineError with what is wrong."""
    path = find(directory)
    directory = path.parent
    document = parse(path.read_text(), str(path))
    runtime = document.get("runtime")
    described = cast("dict[str, object]", runtime) if isinstance(runtime, dict) else {"name": runtime}
    if described.get("name") != "python":
        raise EngineError(
            f"{path}: the runtime is {described.get('name')!r}; the small engine runs packs in python only: "
            "use the pulumi CLI for others"
        )
    options = described.get("options")
    environment = cast("dict[str, object]", options).get("virtualenv") if isinstance(options, dict) else None
    python = Path(sys.executable)
    if environment:
        python = directory / str(environment) / "bin" / "python"
        if not python.exists():
            raise EngineError(f"{path}: there is no {python}: make the virtual environment that it names")
    return Pack(directory, str(document.get("version") or ""), python, {} if config is None else read_settings(config))


def read_settings(path: Path) -> dict[str, Setting]:
    """A configuration file (JSON): policy or `all` -> a level, or an object of `enforcementLevel` and properties."""
    try:
        text = path.read_text()
        document: object = json.loads(text) if text.strip() else {}
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise EngineError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise EngineError(f"{path} must be an object: each policy's name, and its level")
    entries = cast("dict[str, object]", document)
    if "environments" in entries:
        raise EngineError(f"{path}: environments (Pulumi ESC) need Pulumi's service; give the values themselves")
    return {name: _setting(f"{path}: {name}", entry) for name, entry in entries.items()}


def _setting(where: str, entry: object) -> Setting:
    given = {"enforcementLevel": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict):
        raise EngineError(f"{where} must be a level ({', '.join(LEVELS)}) or an object with one")
    properties = dict(cast("dict[str, object]", given))
    level = properties.pop("enforcementLevel", "")
    if level not in ("", *LEVELS):
        raise EngineError(f"{where}: {level!r} is no level; it is one of {', '.join(LEVELS)}")
    return Setting(str(level), properties)


def reconcile(pack: Pack, name: str, policies: Sequence[Policy], initial: Mapping[str, Setting]) -> dict[str, Setting]:
    """How each policy is applied in the end.

    Of a property's schema its presence, type and enumeration are checked; the rest of it is the policy's own affair.

    Raises:
        EngineError: a policy that the pack has not, or a property that is missing or wrong.
    """
    unknown = sorted(pack.settings.keys() - {policy.name for policy in policies} - {ALL})
    if unknown:
        raise EngineError(
            f"policy pack {name} has no policy {', '.join(unknown)}; "
            f"it has {', '.join(sorted(policy.name for policy in policies))}"
        )
    result = {
        policy.name: Setting(
            policy.level, {key: schema["default"] for key, schema in policy.schema.items() if "default" in schema}
        )
        for policy in policies
    }
    for given in (initial, pack.settings):
        everywhere = given.get(ALL, Setting()).level
        for policy, setting in result.items():
            own = given.get(policy, Setting())
            level = own.level or everywhere or setting.level
            result[policy] = replace(setting, level=level, properties={**setting.properties, **own.properties})
    wrong = [problem for policy in policies for problem in _problems(policy, result[policy.name].properties)]
    if wrong:
        raise EngineError(f"configuration of policy pack {name}: {'; '.join(wrong)}")
    return result


def _problems(policy: Policy, properties: Mapping[str, object]) -> list[str]:
    missing = [f"{policy.name}: {key} is required" for key in policy.required if key not in properties]
    for key, value in properties.items():
        schema = policy.schema.get(key, {})
        type_, choices = schema.get("type"), schema.get("enum")
        if isinstance(type_, str) and not _TYPES.get(type_, lambda _: True)(value):
            missing.append(f"{policy.name}: {key} must be of type {type_}, not {json.dumps(value)}")
        elif isinstance(choices, list) and value not in choices:
            listed = ", ".join(json.dumps(choice) for choice in cast("list[object]", choices))
            missing.append(f"{policy.name}: {key} must be one of {listed}, not {json.dumps(value)}")
    return missing
