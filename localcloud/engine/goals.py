"""What the program asks for: registration requests, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from localcloud.engine.errors import EngineError
from localcloud.wire import Properties, Value, from_struct, from_wire

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_KNOWN = frozenset(
    {
        "type", "name", "parent", "custom", "object", "protect", "dependencies", "propertyDependencies",
        "deleteBeforeReplace", "deleteBeforeReplaceDefined", "ignoreChanges", "acceptSecrets", "acceptResources",
        "additionalSecretOutputs", "aliasURNs", "aliases", "importId", "customTimeouts", "supportsPartialValues",
        "replaceOnChanges", "replacement_trigger", "retainOnDelete", "deletedWith", "aliasSpecs", "sourcePosition",
        "stackTrace", "parentStackTraceHandle", "supportsResultReporting", "accepts_byte_string", "version",
        "pluginDownloadURL", "pluginChecksums",
    }
)  # fmt: skip
"""Fields that are acted on, and those that change nothing here: where in the program a resource is, what the SDK
understands, and which plug-in to download (the attached one serves, as with the CLI)."""

_KNOWN_READ = frozenset(
    {
        "id", "type", "name", "parent", "properties", "dependencies", "acceptSecrets", "additionalSecretOutputs",
        "acceptResources", "sourcePosition", "stackTrace", "parentStackTraceHandle", "accepts_byte_string", "version",
        "pluginDownloadURL", "pluginChecksums",
    }
)  # fmt: skip

_OPTION_NAMES = {
    "provider": "provider (explicit providers)",
    "providers": "providers (explicit providers)",
    "remote": "remote components",
    "replace_with": "replace_with",
    "transforms": "transforms",
    "hooks": "hooks",
    "hideDiffs": "hide_diffs",
    "packageRef": "parameterized packages",
    "envVarMappings": "env_var_mappings",
    "state_migrations": "state_migrations",
}


@dataclass(frozen=True)
class Alias:
    """Another name of a resource: a whole URN, or what differs from the present name."""

    urn: str = ""
    name: str = ""
    type: str = ""
    stack: str = ""
    project: str = ""
    parent: str = ""
    no_parent: bool = False


@dataclass(frozen=True)
class Goal:
    """One resource as the program wants it."""

    type: str
    name: str
    custom: bool
    parent: str
    inputs: Properties
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    protect: bool | None = None
    retain_on_delete: bool | None = None
    deleted_with: str = ""
    delete_before_replace: bool | None = None
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    replacement_trigger: Value = None
    additional_secret_outputs: tuple[str, ...] = ()
    aliases: tuple[Alias, ...] = ()
    import_id: str = ""
    timeouts: Mapping[str, float] = field(default_factory=dict[str, float])


def refuse_unknown(request: Message, known: frozenset[str], what: str) -> None:
    """Raises EngineError for each field that is set and not known: no option is ever ignored silently."""
    unknown = [
        _OPTION_NAMES.get(descriptor.name, descriptor.name)
        for descriptor, value in request.ListFields()
        if descriptor.name not in known and not (isinstance(value, Message) and not value.ListFields())
    ]
    if unknown:
        raise EngineError(
            f"{what}: the small engine does not support {', '.join(unknown)}; remove it or use the pulumi CLI"
        )


def read_goal(request: Any) -> Goal:
    """The goal of a RegisterResourceRequest; raises EngineError for what this engine does not do."""
    refuse_unknown(request, _KNOWN, f"{request.type} {request.name}")
    inputs = from_struct(request.object)
    dependencies = tuple(request.dependencies)
    by_property = {key: tuple(entry.urns) for key, entry in request.propertyDependencies.items()}
    if not by_property:
        by_property = dict.fromkeys(inputs, dependencies)
    fixed_order = request.deleteBeforeReplaceDefined or request.deleteBeforeReplace
    return Goal(
        type=request.type,
        name=request.name,
        custom=request.custom,
        parent=request.parent,
        inputs=inputs,
        dependencies=dependencies,
        property_dependencies={key: urns for key, urns in by_property.items() if urns},
        protect=request.protect if request.HasField("protect") else None,
        retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
        deleted_with=request.deletedWith,
        delete_before_replace=request.deleteBeforeReplace if fixed_order else None,
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        replacement_trigger=from_wire(request.replacement_trigger) if request.HasField("replacement_trigger") else None,
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        aliases=(*(Alias(urn=urn) for urn in request.aliasURNs), *map(_alias, request.aliases)),
        import_id=request.importId,
        timeouts=_timeouts(request),
    )


def read_get(request: Any) -> Goal:
    """The goal of a ReadResourceRequest: a resource that exists and stays its owner's; its id is `import_id`."""
    refuse_unknown(request, _KNOWN_READ, f"{request.type} {request.name}")
    return Goal(
        type=request.type,
        name=request.name,
        custom=True,
        parent=request.parent,
        inputs=from_struct(request.properties),
        dependencies=tuple(request.dependencies),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        import_id=request.id,
    )


def _alias(alias: Any) -> Alias:
    if alias.WhichOneof("alias") == "urn":
        return Alias(urn=alias.urn)
    spec = alias.spec
    return Alias(
        name=spec.name,
        type=spec.type,
        stack=spec.stack,
        project=spec.project,
        parent=spec.parentUrn if spec.WhichOneof("parent") == "parentUrn" else "",
        no_parent=spec.WhichOneof("parent") == "noParent" and spec.noParent,
    )


def _timeouts(request: Any) -> dict[str, float]:
    """Seconds a step may take, as the program gave them; the provider is told."""
    timeouts: dict[str, float] = {}
    for step in ("create", "update", "delete", "read"):
        text = getattr(request.customTimeouts, step, "")
        if text:
            timeouts[step] = duration(text)
    return timeouts


def duration(text: str) -> float:
    """Seconds of a Go duration (`1h30m`, `90s`); raises EngineError when it is none."""
    if not re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+", text):
        raise EngineError(f"custom timeout {text!r} is not a duration such as 90s, 5m or 1h30m")
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text))
