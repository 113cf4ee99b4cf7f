"""What a kind of resource is: its rules, and its life in the world."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from localcloud.provider.catalogue import FunctionShape, ResourceShape, function, resource
from localcloud.provider.inputs import Inputs
from localcloud.provider.typecheck import Failure
from localcloud.provider.world import Record, World
from localcloud.wire import Value

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class CloudError(Exception):
    """A refusal, in the words of the cloud that it stands for."""


@dataclass(frozen=True)
class Naming:
    """How the real provider names a resource whose name is left out: the logical name, a hyphen, 7 random digits."""

    property: str = "name"
    longest: int = 255
    lower: bool = False
    unless: str | None = None
    """A property that, when set, takes the name's place."""

    def choose(self, logical: str, previous: str | None, seed: bytes) -> str:
        """The name: the previous one when it was chosen so too, else a new one drawn from the engine's seed."""
        if previous is not None and self.chosen(logical, previous):
            return previous
        return f"{self._stem(logical)}-{hashlib.sha256(seed + logical.encode()).hexdigest()[:7]}"

    def chosen(self, logical: str, name: str) -> bool:
        """Whether `name` could come from `choose`."""
        stem, _, digits = name.rpartition("-")
        return stem == self._stem(logical) and re.fullmatch(r"[0-9a-f]{7}", digits) is not None

    def _stem(self, logical: str) -> str:
        stem = logical[: self.longest - 8]
        return re.sub(r"[^a-z0-9-]", "-", stem.lower()) if self.lower else stem


@dataclass
class Check:
    """One check of a resource: what it may look at, and what is wrong."""

    inputs: Inputs
    world: World
    config: Mapping[str, str]
    """The provider's configuration (`region`, `project` …)."""
    old: Inputs | None = None
    """What the same resource asked for before; also when it is going to be made anew and the old one is still there."""
    anew: bool = False
    """Whether it is going to be made, be there an old one or not."""
    planned: Collection[tuple[str, str]] = ()
    """Token and identity of what the program declared but the clouds do not have yet, so that its name may be used."""
    failures: list[Failure] = field(default_factory=list[Failure])

    def within(self, inputs: Inputs) -> Check:
        """A check of an object within the resource; `adopt` takes its failures over."""
        return Check(inputs, self.world, self.config, planned=self.planned)

    def adopt(self, inner: Check, path: str) -> None:
        """Refuse what the inner check refused, under `path`."""
        for failure in inner.failures:
            self.refuse(f"{path}.{failure.path}".strip("."), failure.reason)

    def refuse(self, path: str, reason: str) -> None:
        """Refuse the property at `path`."""
        self.failures.append(Failure(path, reason))

    def was(self, name: str) -> Value:
        """The property's value before."""
        return None if self.old is None else self.old.values.get(name)

    def same(self, name: str) -> bool:
        """Whether the resource existed before with the same value of this property."""
        return self.old is not None and self.old.values.get(name) == self.inputs.values.get(name)

    def one_of(self, name: str, allowed: Mapping[str, object] | tuple[str, ...] | frozenset[str], reason: str) -> None:
        """Refuse a known value that is not allowed; `{}` in the reason stands for it."""
        value = self.inputs.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, reason.format(value))

    def network(self, name: str, strict: bool = True, path: str | None = None) -> Network | None:
        """The range that the property holds; refused when it is none, or (strict) has host bits set."""
        text = self.inputs.text(name)
        return None if text is None else self.cidr(path or name, text, strict)

    def cidr(self, path: str, text: str, strict: bool = True) -> Network | None:
        """The range that `text` writes, or None after refusing it."""
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            self.refuse(path, f'"{text}" is not a valid CIDR block: invalid CIDR address: {text}')
            return None
        if "/" not in text:
            self.refuse(path, f'"{text}" is not a valid CIDR block: invalid CIDR address: {text}')
            return None
        if strict and str(ipaddress.ip_interface(text).ip) != str(network.network_address):
            self.refuse(path, f'"{text}" is not the start of the CIDR block; did you mean "{network}"?')
            return None
        return network


class Kind(ABC):
    """A kind of resource. Rows that say when it is replaced carry their source in the class's docstring."""

    token: ClassVar[str]
    replace: ClassVar[frozenset[str]] = frozenset()
    """Properties, or paths within them with `[]` for any item, whose change replaces the resource."""
    naming: ClassVar[Naming | None] = None
    defaults: ClassVar[Mapping[str, Value]] = {}
    """What is told of properties that were left out."""
    secrets: ClassVar[frozenset[str]] = frozenset()
    """Outputs that are always secret."""
    replace_first: ClassVar[bool] = False
    """Whether the old one must be gone before the new one is made."""
    stateless: ClassVar[bool] = False
    """Whether it lives in the engine's state alone, as a key does that no cloud knows of."""

    @property
    def shape(self) -> ResourceShape:
        """The SDK's view of it."""
        return resource(self.token)

    def check(self, check: Check) -> None:
        """Refuse what the cloud refuses, as far as it is known."""
        _ = check

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        """By what others may refer to it before it exists, when names of the user's choice can stand for it."""
        _ = inputs, config
        return None

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        """Whether a change at `path` (as `rules[0].port`) replaces the resource."""
        _ = old, new
        general = re.sub(r"\[\d+\]", "[]", path)
        return any(general == row or general.startswith((f"{row}.", f"{row}[")) for row in self.replace)

    @abstractmethod
    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        """Make it: put its record into the world. Raises CloudError."""

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        """Change it in place. Raises CloudError."""
        _ = config
        return world.put(Record(record.token, record.id, inputs.values, record.state))

    def expired(self, told: Inputs, inputs: Inputs) -> bool:
        """Whether time alone, by what was told of it, makes it due for replacement."""
        _ = told, inputs
        return False

    def renewed(self, old: Inputs, new: Inputs) -> frozenset[str]:
        """Outputs that a change in place gives another value, which a preview cannot tell yet."""
        _ = old, new
        return frozenset()

    def restarts(self, record: Record, inputs: Inputs) -> bool:
        """Whether that change stops and starts the machine."""
        _ = record, inputs
        return False

    def shuts_down(self, record: Record) -> bool:
        """Whether its machine is shut down, and that waited for, before it is taken away."""
        _ = record
        return False

    def delete(self, record: Record, world: World) -> None:
        """Take it away. Raises CloudError when it is protected or still in use."""
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        """What the cloud tells beyond the inputs."""
        _ = record, world
        return {}

    def outputs(self, record: Record, world: World) -> dict[str, Value]:
        """Everything that is told of the resource, by the names of the SDK."""
        return {**self.defaults, **record.properties, **self.computed(record, world)}


class Lookup(ABC):
    """A function that looks something up."""

    token: ClassVar[str]

    @property
    def shape(self) -> FunctionShape:
        """The SDK's view of it."""
        return function(self.token)

    @abstractmethod
    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        """The answer. Raises CloudError when there is none."""
