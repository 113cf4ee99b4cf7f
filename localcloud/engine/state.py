"""The resources of a stack, and their form in a file: Pulumi's own deployment format, version 3, secrets sealed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from localcloud.engine.errors import EngineError
from localcloud.engine.passphrase import Sealer
from localcloud.engine.urn import STACK_TYPE
from localcloud.engine.values import from_plain, masked
from localcloud.wire import SECRET_SIGNATURE, SIGNATURE, UNKNOWN_TEXT, Properties, Secret, Unknown, Value


@dataclass(frozen=True)
class Resource:
    """One resource as the last operation left it."""

    urn: str
    type: str
    custom: bool
    id: str = ""
    inputs: Properties = field(default_factory=dict[str, Value])
    outputs: Properties = field(default_factory=dict[str, Value])
    parent: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    protect: bool = False
    external: bool = False
    """Read, not made: its life belongs to someone else."""
    delete: bool = False
    """Replaced already; to be deleted at the end of the operation or by the next one."""
    pending_replacement: bool = False
    """Deleted already; its replacement is still to be made."""
    retain_on_delete: bool = False
    deleted_with: str = ""
    init_errors: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    replacement_trigger: Value = None
    import_id: str = ""
    timeouts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds for `create`, `update`, `delete` and `read`, where the program gave any."""

    @property
    def needs(self) -> frozenset[str]:
        """URNs that must exist before this one and outlive it."""
        from_properties = (urn for urns in self.property_dependencies.values() for urn in urns)
        return frozenset({self.parent, self.deleted_with, *self.dependencies, *from_properties} - {"", self.urn})


@dataclass(frozen=True)
class Pending:
    """A step that began and whose end nobody recorded."""

    operation: str
    """`creating`, `updating`, `deleting`, `reading` or `importing`."""
    urn: str


@dataclass(frozen=True)
class Snapshot:
    """A stack's resources in the order of their making, and what was under way when the last operation broke off."""

    resources: tuple[Resource, ...] = ()
    pending: tuple[Pending, ...] = ()

    def outputs(self) -> Properties:
        """What the stack exports."""
        nothing: Properties = {}
        return next((one.outputs for one in self.resources if one.type == STACK_TYPE and not one.delete), nothing)


_NAMES = {
    "property_dependencies": "propertyDependencies",
    "pending_replacement": "pendingReplacement",
    "retain_on_delete": "retainOnDelete",
    "deleted_with": "deletedWith",
    "init_errors": "initErrors",
    "additional_secret_outputs": "additionalSecretOutputs",
    "ignore_changes": "ignoreChanges",
    "replace_on_changes": "replaceOnChanges",
    "replacement_trigger": "replacementTrigger",
    "import_id": "importID",
    "timeouts": "customTimeouts",
}


def encode(resource: Resource, sealer: Sealer) -> dict[str, Any]:
    """A resource as JSON, secrets sealed. What is empty is left out."""
    return _record(resource, lambda value: seal(value, sealer))


def shown(resource: Resource) -> dict[str, Any]:
    """A resource as JSON that anybody may see: secrets masked, what is unknown in the CLI's words for it."""
    return _record(resource, lambda value: masked(value, unknown=UNKNOWN_TEXT))


def _record(resource: Resource, written: Callable[[Value], Value]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for entry in fields(resource):
        value = getattr(resource, entry.name)
        if entry.name in ("inputs", "outputs", "replacement_trigger"):
            value = written(value)
        elif isinstance(value, tuple):
            value = list(cast("tuple[object, ...]", value))
        elif entry.name == "property_dependencies":
            value = {key: list(urns) for key, urns in resource.property_dependencies.items()}
        if entry.name == "custom" or value not in (None, "", [], {}, False):
            document[_NAMES.get(entry.name, entry.name)] = value
    return document


def decode(document: Mapping[str, Any], sealer: Sealer) -> Resource:
    """A resource from its JSON; raises EngineError when a field is unknown or malformed."""
    known = {_NAMES.get(entry.name, entry.name): entry.name for entry in fields(Resource)}
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in known:
            raise EngineError(f"the state has the unknown field {key!r}: another version wrote it")
        name = known[key]
        if name in ("inputs", "outputs", "replacement_trigger"):
            values[name] = unseal(from_plain(value), sealer)
        elif name == "property_dependencies":
            values[name] = {entry: tuple(urns) for entry, urns in value.items()}
        elif isinstance(value, list):
            values[name] = tuple(cast("list[str]", value))
        else:
            values[name] = value
    return Resource(**values)


def seal(value: Value, sealer: Sealer) -> Value:
    """The value with each secret as Pulumi's sealed object. Unknown values must not be stored."""
    match value:
        case Secret():
            text = json.dumps(seal(value.value, sealer), separators=(",", ":"), sort_keys=True)
            return {SIGNATURE: SECRET_SIGNATURE, "ciphertext": sealer.seal(text)}
        case Unknown():
            raise EngineError("a provider answered an unknown value outside a preview")
        case list():
            return [seal(item, sealer) for item in value]
        case dict():
            return {key: seal(item, sealer) for key, item in value.items()}
        case _:
            return value


def unseal(value: Value, sealer: Sealer) -> Value:
    """The value with each sealed object opened to a secret."""
    match value:
        case list():
            return [unseal(item, sealer) for item in value]
        case dict():
            sealed = value.get("ciphertext")
            if value.get(SIGNATURE) == SECRET_SIGNATURE and isinstance(sealed, str):
                return Secret(unseal(from_plain(json.loads(sealer.open(sealed))), sealer))
            return {key: unseal(item, sealer) for key, item in value.items()}
        case _:
            return value


def order(resources: Sequence[Resource]) -> list[int]:
    """Indices of resources, each after all it needs, otherwise as given. Tolerates needs that are not there."""
    positions: dict[str, list[int]] = {}
    for index, resource in enumerate(resources):
        positions.setdefault(resource.urn, []).append(index)

    def needed(index: int) -> Iterator[int]:
        return (below for urn in sorted(resources[index].needs) for below in positions.get(urn, ()))

    done: dict[int, None] = {}
    for start in range(len(resources)):
        path = [(start, needed(start))]
        entered = {start}
        while path:
            index, needs = path[-1]
            below = next((need for need in needs if need not in done and need not in entered), None)
            if below is None:
                path.pop()
                done.setdefault(index)
            else:
                entered.add(below)
                path.append((below, needed(below)))
    return list(done)


def to_document(snapshot: Snapshot, sealer: Sealer) -> dict[str, Any]:
    """A snapshot in the shape of `pulumi stack export`."""
    return {
        "version": 3,
        "deployment": {
            "manifest": {"time": "0001-01-01T00:00:00Z", "magic": "", "version": ""},
            "secrets_providers": {"type": "passphrase", "state": {"salt": sealer.salt}},
            "resources": [encode(resource, sealer) for resource in snapshot.resources],
            "pending_operations": [
                {"type": pending.operation, "resource": {"urn": pending.urn}} for pending in snapshot.pending
            ],
        },
    }


def from_document(document: Mapping[str, Any], sealer: Sealer) -> Snapshot:
    """A snapshot from its document; raises EngineError for another version."""
    if document.get("version") != 3:
        raise EngineError(f"the state has version {document.get('version')}, the small engine knows 3")
    deployment = document["deployment"]
    return Snapshot(
        tuple(decode(resource, sealer) for resource in deployment.get("resources", ())),
        tuple(Pending(entry["type"], entry["resource"]["urn"]) for entry in deployment.get("pending_operations", ())),
    )
