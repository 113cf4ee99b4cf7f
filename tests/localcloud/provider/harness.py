"""The provider servers over a fabric that only records, asked as the engine asks them: over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from localcloud.cloud import Cloud
from localcloud.provider.ledger import Ledger
from localcloud.provider.server import Providers
from localcloud.spec import MachineSpec
from localcloud.wire import Value, from_struct, plain_properties, to_struct

CONFIG = {"aws:config:region": "eu-central-1", "gcp:config:project": "my-project"}
Failures = list[tuple[str, str]]


class Recorder:
    """A fabric that keeps the specs it was told to apply."""

    def __init__(self) -> None:
        self.history: list[dict[str, MachineSpec]] = []
        self.fails: str | None = None
        """Name of a node whose presence makes `apply` fail."""

    def apply(self, specs: Mapping[str, MachineSpec], /) -> None:
        self.history.append(dict(specs))
        if any(spec.node == self.fails for spec in specs.values()):
            raise RuntimeError(f"{self.fails} does not boot")

    def machine(self, node: str) -> MachineSpec:
        """The machine of that name in the newest specs."""
        return next(spec for spec in self.history[-1].values() if spec.node == node)

    @property
    def nodes(self) -> list[str]:
        """The machines in the newest specs."""
        return sorted(spec.node for spec in self.history[-1].values()) if self.history else []


class RefusedError(Exception):
    """The provider refused; `failures` are path and reason, with no path for what a create or the like says."""

    def __init__(self, failures: Failures) -> None:
        super().__init__(str(failures))
        self.failures = failures


@dataclass
class Resource:
    """A resource that was made."""

    token: str
    name: str
    id: str
    inputs: dict[str, Value]
    outputs: dict[str, Value]

    @property
    def number(self) -> int:
        """The id as a number."""
        return int(self.id)

    def text(self, output: str) -> str:
        """An output that is a string."""
        value = self.outputs[output]
        assert isinstance(value, str)
        return value


@dataclass(frozen=True)
class Change:
    """What `Diff` says."""

    kinds: dict[str, str]
    """Path -> ADD, UPDATE_REPLACE …"""
    replaces: list[str]
    delete_first: bool


class Harness:
    """All providers of one local cloud."""

    def __init__(self, directory: Path, config: Mapping[str, str] = CONFIG) -> None:
        self.cloud = Cloud(directory)
        self.fabric = Recorder()
        self._providers = Providers(self.cloud, self.fabric)
        self._channels = {
            name: grpc.insecure_channel(f"127.0.0.1:{port}") for name, port in self._providers.ports.items()
        }
        self.stubs: dict[str, Any] = {
            name: provider_pb2_grpc.ResourceProviderStub(channel) for name, channel in self._channels.items()
        }
        for stub in self.stubs.values():
            stub.Configure(provider_pb2.ConfigureRequest(acceptSecrets=True, variables=config))

    @property
    def ledger(self) -> Ledger:
        """The keeper of the world."""
        return self._providers.ledger

    @property
    def ports(self) -> dict[str, int]:
        """Package -> port."""
        return self._providers.ports

    def close(self) -> None:
        """End the servers."""
        for channel in self._channels.values():
            channel.close()
        self._providers.stop()

    def check(
        self, token: str, inputs: Mapping[str, Value], name: str = "it", olds: Mapping[str, Value] | None = None
    ) -> dict[str, Value]:
        """The checked inputs. Raises RefusedError with the properties' failures."""
        request = provider_pb2.CheckRequest(urn=_urn(token, name), news=to_struct(inputs), randomSeed=b"seed")
        if olds is not None:
            request.olds.CopyFrom(to_struct(olds))
        response = self._stub(token).Check(request)
        if response.failures:
            raise RefusedError([(failure.property, failure.reason) for failure in response.failures])
        return from_struct(response.inputs)

    def make(self, token: str, logical: str = "it", /, **inputs: Value) -> Resource:
        """Check and create. Raises RefusedError."""
        checked = self.check(token, inputs, logical)
        response = self._call(
            self._stub(token).Create,
            provider_pb2.CreateRequest(urn=_urn(token, logical), properties=to_struct(checked)),
        )
        return Resource(token, logical, response.id, checked, from_struct(response.properties))

    def preview(self, token: str, logical: str = "it", /, **inputs: Value) -> dict[str, Value]:
        """The outputs that a preview tells."""
        checked = to_struct(self.check(token, inputs, logical))
        response = self._call(
            self._stub(token).Create,
            provider_pb2.CreateRequest(urn=_urn(token, logical), properties=checked, preview=True),
        )
        return from_struct(response.properties)

    def preview_update(self, resource: Resource, **inputs: Value) -> dict[str, Value]:
        """The outputs that a preview tells of a change in place."""
        _, request = self._change(resource, inputs, preview=True)
        return from_struct(self._call(self._stub(resource.token).Update, request).properties)

    def _change(
        self, resource: Resource, inputs: Mapping[str, Value], *, preview: bool
    ) -> tuple[dict[str, Value], provider_pb2.UpdateRequest]:
        """The inputs that a change leads to, checked, and the request for it."""
        news = self.check(resource.token, _merged(resource.inputs, inputs), resource.name, resource.inputs)
        return news, provider_pb2.UpdateRequest(
            id=resource.id,
            urn=_urn(resource.token, resource.name),
            olds=to_struct(resource.outputs),
            old_inputs=to_struct(resource.inputs),
            news=to_struct(news),
            preview=preview,
        )

    def diff(self, resource: Resource, inputs: Mapping[str, Value], ignored: tuple[str, ...] = ()) -> Change:
        """What would become of the resource with those inputs (None takes one away)."""
        news = self.check(resource.token, _merged(resource.inputs, inputs), resource.name, resource.inputs)
        response = self._stub(resource.token).Diff(
            provider_pb2.DiffRequest(
                id=resource.id,
                urn=_urn(resource.token, resource.name),
                olds=to_struct(resource.outputs),
                old_inputs=to_struct(resource.inputs),
                news=to_struct(news),
                ignoreChanges=ignored,
            )
        )
        kinds = {path: provider_pb2.PropertyDiff.Kind.Name(diff.kind) for path, diff in response.detailedDiff.items()}
        assert (response.changes == provider_pb2.DiffResponse.DIFF_SOME) == bool(kinds)
        return Change(kinds, list(response.replaces), response.deleteBeforeReplace)

    def update(self, resource: Resource, **inputs: Value) -> Resource:
        """Change the resource in place. Raises RefusedError."""
        news, request = self._change(resource, inputs, preview=False)
        response = self._call(self._stub(resource.token).Update, request)
        return Resource(resource.token, resource.name, resource.id, news, from_struct(response.properties))

    def read(self, resource: Resource) -> tuple[str, dict[str, Value], dict[str, Value]]:
        """Id, outputs and inputs as they are now; an empty id when it is gone."""
        response = self._stub(resource.token).Read(
            provider_pb2.ReadRequest(
                id=resource.id,
                urn=_urn(resource.token, resource.name),
                properties=to_struct(resource.outputs),
                inputs=to_struct(resource.inputs),
            )
        )
        return response.id, from_struct(response.properties), from_struct(response.inputs)

    def delete(self, resource: Resource) -> None:
        """Take it away. Raises RefusedError."""
        request = provider_pb2.DeleteRequest(
            id=resource.id, urn=_urn(resource.token, resource.name), properties=to_struct(resource.outputs)
        )
        self._call(self._stub(resource.token).Delete, request)

    def invoke(self, token: str, **arguments: Value) -> dict[str, Value]:
        """A function's answer. Raises RefusedError."""
        response = self._call(
            self._stub(token).Invoke, provider_pb2.InvokeRequest(tok=token, args=to_struct(arguments))
        )
        if response.failures:
            raise RefusedError([(failure.property, failure.reason) for failure in response.failures])
        return plain_properties(from_struct(getattr(response, "return")))

    def _stub(self, token: str) -> Any:
        return self.stubs[token.partition(":")[0]]

    @staticmethod
    def _call(method: Any, request: object) -> Any:
        try:
            return method(request)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call) or error.code() != grpc.StatusCode.UNKNOWN:
                raise
            raise RefusedError([("", error.details() or "")]) from error


def _merged(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def _urn(token: str, name: str) -> str:
    return f"urn:pulumi:dev::test::{token}::{name}"
