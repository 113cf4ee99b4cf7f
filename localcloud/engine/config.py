"""Project and stack configuration: `Pulumi.yaml` with its declared keys, `Pulumi.<stack>.yaml` with sealed values."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from localcloud.engine.errors import EngineError
from localcloud.engine.passphrase import Sealer

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True)
class Declared:
    """A key that the project declares."""

    type: str | None
    """`string`, `integer`, `boolean`, `array` or `object`; None when the project does not say."""
    items: str | None
    """The type of an array's items, or None."""
    secret: bool
    """Whether the stack must give it sealed."""
    default: object
    """The value when the stack gives none (None: it must)."""


@dataclass(frozen=True)
class Project:
    """What `Pulumi.yaml` says."""

    name: str
    directory: Path
    """Where `Pulumi.yaml` is."""
    main: Path
    """The program: a file, or a directory with `__main__.py`."""
    declared: Mapping[str, Declared]
    """By full key, `<namespace>:<name>`."""


@dataclass(frozen=True)
class Config:
    """The stack's configuration as the program gets it."""

    values: Mapping[str, str]
    """By full key; lists and mappings as JSON."""
    secret_keys: frozenset[str]
    """Keys of which any part is sealed."""


def load_project(directory: Path) -> Project:
    """Reads `Pulumi.yaml`; raises EngineError with what is wrong in it."""
    path = directory / "Pulumi.yaml"
    document = _read(path)
    name = document.get("name")
    if not isinstance(name, str):
        raise EngineError(f"{path.name}: the project has no name; write `name: …`")
    runtime = document.get("runtime")
    language = cast("dict[str, object]", runtime).get("name") if isinstance(runtime, dict) else runtime
    if language != "python":
        raise EngineError(f"{path.name}: the runtime is {language!r}; the small engine runs python programs only")
    main = document.get("main") or "."
    declared = {
        _full_key(key, name): _declared(path, key, entry) for key, entry in _mapping(path, document, "config").items()
    }
    return Project(name, directory, (directory / str(main)).resolve(), declared)


def _declared(path: Path, key: str, entry: object) -> Declared:
    if not isinstance(entry, dict):
        return Declared(None, None, secret=False, default=entry)
    fields = cast("dict[str, object]", entry)
    type_ = fields.get("type")
    if type_ is not None and type_ not in _TYPES:
        raise EngineError(f"{path.name}: config {key}: type {type_!r} is none of {', '.join(_TYPES)}")
    items = fields.get("items")
    item_type = cast("dict[str, object]", items).get("type") if isinstance(items, dict) else None
    default = fields["value"] if fields.get("value") is not None else fields.get("default")
    return Declared(
        cast("str | None", type_), cast("str | None", item_type), secret=fields.get("secret") is True, default=default
    )


def load_stack(path: Path, passphrase: str | None) -> tuple[Mapping[str, object], Sealer | None]:
    """Reads a stack file: its raw `config` and the sealer of its salt (None when it has no salt).

    Raises EngineError when it has a salt but no passphrase is given, or another secrets provider.
    """
    if not path.exists():
        return {}, None
    document = _read(path)
    provider = document.get("secretsprovider")
    if provider not in (None, "passphrase") or "encryptedkey" in document:
        raise EngineError(
            f"{path.name}: the small engine opens passphrase secrets only, not {provider}: use the pulumi CLI with it"
        )
    salt = document.get("encryptionsalt")
    sealer = None
    if isinstance(salt, str):
        if passphrase is None:
            raise EngineError(
                f"{path.name} has sealed values: set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE"
            )
        sealer = Sealer(passphrase, salt)
    return _mapping(path, document, "config"), sealer


def resolve(project: Project, stack: str, raw: Mapping[str, object], sealer: Sealer | None) -> Config:
    """The configuration of a stack: its values opened, the project's defaults added, types and presence checked."""
    values: dict[str, str] = {}
    secrets: set[str] = set()
    for key, sealed in raw.items():
        full = _full_key(key, project.name)
        value, is_secret = _open(sealed, sealer, key)
        if is_secret:
            secrets.add(full)
        values[full] = _text(value)
        if full in project.declared:
            _check(stack, key, project.declared[full], value, is_secret)
    missing = sorted(
        key
        for key, declared in project.declared.items()
        if key not in values and declared.default is None and key.startswith(f"{project.name}:")
    )
    if missing:
        raise EngineError(
            f"Stack '{stack}' is missing configuration value{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
        )
    for key, declared in project.declared.items():
        if key not in values and declared.default is not None:
            values[key] = _text(declared.default)
    return Config(values, frozenset(secrets))


def _check(stack: str, key: str, declared: Declared, value: object, is_secret: bool) -> None:
    if declared.secret and not is_secret:
        raise EngineError(f"Stack '{stack}' with configuration key '{key}' must be encrypted as it's secret")
    if declared.type is None:
        return
    right = _is_type(value, declared.type)
    if right and declared.items is not None and isinstance(value, list):
        right = all(_is_type(item, declared.items) for item in cast("list[object]", value))
    if not right:
        shape = f"array<{declared.items}>" if declared.items else declared.type
        raise EngineError(f"Stack '{stack}' with configuration key '{key}' must be of type '{shape}'")


def _is_type(value: object, type_: str) -> bool:
    """Texts that read as numbers or truth values pass for them, as `pulumi config set` writes them."""
    if isinstance(value, str) and type_ == "integer":
        return value.lstrip("-").isdigit()
    if isinstance(value, str) and type_ == "boolean":
        return value in ("true", "false")
    if type_ == "string" and isinstance(value, int | float):
        return True
    return _TYPES[type_](value)


def _open(value: object, sealer: Sealer | None, key: str) -> tuple[object, bool]:
    """A value with everything in it opened, and whether anything was sealed."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        if set(fields) == {"secure"} and isinstance(fields["secure"], str):
            if sealer is None:
                raise EngineError(f"config {key} is sealed but the stack file has no encryptionsalt")
            try:
                return sealer.open(fields["secure"]), True
            except EngineError as error:
                raise EngineError(f"config {key}: {error}") from error
        opened = {name: _open(item, sealer, key) for name, item in fields.items()}
        return {name: item for name, (item, _) in opened.items()}, any(secret for _, secret in opened.values())
    if isinstance(value, list):
        items = [_open(item, sealer, key) for item in cast("list[object]", value)]
        return [item for item, _ in items], any(secret for _, secret in items)
    return value, False


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, separators=(",", ":"), ensure_ascii=False)


def _full_key(key: str, project: str) -> str:
    return key if ":" in key else f"{project}:{key}"


def _mapping(path: Path, document: Mapping[str, object], field: str) -> dict[str, object]:
    value = document.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EngineError(f"{path.name}: {field} must be a mapping")
    return {str(key): item for key, item in cast("dict[object, object]", value).items()}


class _Loader(yaml.SafeLoader):
    """As YAML has it, and the CLI: a key stands in a mapping once. PyYAML would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name = (key.tag, key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} stands here again, first in line {seen[name]}; keep one", key.start_mark
                )
            seen[name] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, object]:
    try:
        text = path.read_text()
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror}") from error
    return parse(text, path.name)


def parse(text: str, name: str) -> dict[str, object]:
    """A YAML file's mapping, empty where the file is; EngineError, which calls the file `name`, when it is none."""
    try:
        document: object = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise EngineError(f"{name} is not valid YAML: {where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise EngineError(f"{name} is not valid YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise EngineError(f"{name} must be a mapping")
    return cast("dict[str, object]", document)
