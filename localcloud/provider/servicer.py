"""The provider protocol: what the engine asks, answered from the kinds and the world."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from localcloud.cloud import LocalCloudError
from localcloud.provider.catalogue import UnknownTokenError, configuration
from localcloud.provider.diff import differences, top, within
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Lookup
from localcloud.provider.ledger import Ledger
from localcloud.provider.typecheck import INTERNAL, Checker, Failure, suggestion
from localcloud.provider.values import redacted, sealed_like, secrets_in
from localcloud.provider.world import Record, World
from localcloud.wire import UNKNOWN, Properties, Secret, Value, from_struct, plain_properties, to_struct

T = TypeVar("T")
Context = grpc.ServicerContext
_UNSUPPORTED = ("defaultTags", "ignoreTags", "defaultLabels")
"""Settings of the real providers that would change what resources look like."""
_KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


def _sent(struct: Struct) -> Properties:
    """The properties that the engine sent; a reference to a resource is its id, as clouds take it."""
    return from_struct(struct, references=False)


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One package: hcloud, aws, gcp, tls or cloudflare."""

    def __init__(self, package: str, kinds: Mapping[str, Kind], lookups: Mapping[str, Lookup], ledger: Ledger) -> None:
        self.package = package
        self._kinds = kinds
        self._lookups = lookups
        self._ledger = ledger
        self._config: dict[str, str] = {}
        self._planned: set[tuple[str, str]] = set()
        self._olds: dict[str, Inputs] = {}
        self._secrets = True

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: Context
    ) -> provider_pb2.ProviderHandshakeResponse:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: plugin_pb2.PluginAttach, context: Context) -> Empty:
        return Empty()

    def GetPluginInfo(self, request: Empty, context: Context) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=version(f"pulumi-{self.package}"))

    def GetSchema(self, request: provider_pb2.GetSchemaRequest, context: Context) -> provider_pb2.GetSchemaResponse:
        names = {"name": self.package, "version": version(f"pulumi-{self.package}")}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(names))

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        known = [*configuration(self.package), "version", "pluginDownloadURL"]
        failures = [
            provider_pb2.CheckFailure(property=name, reason=f'Invalid or unknown key "{name}"{suggestion(name, known)}')
            for name in request.news.fields
            if name not in known and not name.startswith(INTERNAL)
        ]
        failures += [
            provider_pb2.CheckFailure(property=name, reason=f"the local cloud cannot honour {name}")
            for name in _UNSUPPORTED
            if name in request.news.fields
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: provider_pb2.ConfigureRequest, context: Context) -> provider_pb2.ConfigureResponse:
        own = f"{self.package}:config:"
        config = {name[len(own) :]: value for name, value in request.variables.items() if name.startswith(own)}
        arguments = plain_properties(_sent(request.args))
        self._config = config | {name: value for name, value in arguments.items() if isinstance(value, str)}
        self._secrets = request.acceptSecrets
        self._planned, self._olds = set(), {}
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Cancel(self, request: Empty, context: Context) -> Empty:
        return Empty()

    def Check(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        kind = self._kind(request.urn, context)
        checker = Checker()
        inputs = checker.properties(_sent(request.news), kind.shape.inputs)
        old = plain_properties(_sent(request.olds)) if request.olds.fields else None
        if kind.naming is not None and not Inputs(inputs).given(kind.naming.unless or kind.naming.property):
            self._name(kind, inputs, old, request)
        failures = checker.failures
        if not failures:
            known = Inputs(plain_properties(inputs))
            check = Check(known, self._ledger.world, self._config, planned=frozenset(self._planned))
            check.old, check.anew = self._before(request.urn, old), old is None
            kind.check(check)
            failures = check.failures
            identity = kind.identity(known, self._config)
            if identity is not None:
                self._planned.add((kind.token, identity))
        return provider_pb2.CheckResponse(inputs=self._encode(inputs), failures=_wire(failures, inputs))

    def Diff(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        kind = self._kind(request.urn, context)
        new = plain_properties(_sent(request.news))
        old = self._asked(kind, request)
        response = provider_pb2.DiffResponse(hasDetailedDiff=True, changes=provider_pb2.DiffResponse.DIFF_NONE)
        for path, change in differences(old, new).items():
            if within(path, list(request.ignoreChanges)):
                continue
            replaces = kind.replaces(path, Inputs(old), Inputs(new))
            response.changes = provider_pb2.DiffResponse.DIFF_SOME
            response.detailedDiff[path].kind = _KINDS[change, replaces]
            response.detailedDiff[path].inputDiff = True
            if top(path) not in response.diffs:
                response.diffs.append(top(path))
            if replaces and top(path) not in response.replaces:
                response.replaces.append(top(path))
        if kind.expired(Inputs(plain_properties(_sent(request.olds))), Inputs(new)):
            response.changes = provider_pb2.DiffResponse.DIFF_SOME
            response.detailedDiff["readyForRenewal"].kind = provider_pb2.PropertyDiff.UPDATE_REPLACE
            response.replaces.append("readyForRenewal")
        response.deleteBeforeReplace = bool(response.replaces) and self._first(kind, request.urn, old, new)
        return response

    def Create(self, request: provider_pb2.CreateRequest, context: Context) -> provider_pb2.CreateResponse:
        kind = self._kind(request.urn, context)
        sealed = _sent(request.properties)
        inputs = plain_properties(sealed)
        if request.preview:
            unknown: dict[str, Value] = dict.fromkeys(kind.shape.outputs, UNKNOWN)
            outputs = {**unknown, **kind.defaults, **inputs}
            return provider_pb2.CreateResponse(properties=self._outputs(kind, outputs, sealed))

        def make(world: World) -> tuple[str, dict[str, Value]]:
            self._admit(kind, inputs, world, None)
            record = kind.create(Inputs(inputs), world, self._config)
            world.made_for(record, request.urn)
            return record.id, kind.outputs(record, world)

        id_, outputs = self._attempt(context, sealed, lambda: self._ledger.change(make))
        return provider_pb2.CreateResponse(id=id_, properties=self._outputs(kind, outputs, sealed))

    def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:
        kind = self._kind(request.urn, context)
        if kind.stateless:
            return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)
        world = self._ledger.world
        record = world.get(kind.token, request.id)
        if record is None:
            return provider_pb2.ReadResponse()
        sealed = _sent(request.inputs)
        inputs = {name: sealed_like(value, sealed.get(name)) for name, value in record.properties.items()}
        outputs = self._outputs(kind, kind.outputs(record, world), inputs)
        return provider_pb2.ReadResponse(id=record.id, properties=outputs, inputs=self._encode(inputs))

    def Update(self, request: provider_pb2.UpdateRequest, context: Context) -> provider_pb2.UpdateResponse:
        kind = self._kind(request.urn, context)
        sealed = _sent(request.news)
        inputs = plain_properties(sealed)
        told = plain_properties(_sent(request.olds))
        if request.preview:
            renewed: dict[str, Value] = dict.fromkeys(
                kind.renewed(Inputs(self._asked(kind, request)), Inputs(inputs)), UNKNOWN
            )
            return provider_pb2.UpdateResponse(properties=self._outputs(kind, {**told, **inputs, **renewed}, sealed))

        def current(world: World) -> Record:
            if kind.stateless:
                return Record(kind.token, request.id, plain_properties(_sent(request.old_inputs)), told)
            record = world.get(kind.token, request.id)
            if record is None:
                raise CloudError(f"{kind.token} {request.id} not found")
            return record

        def stop(world: World) -> bool:
            record = current(world)
            self._admit(kind, inputs, world, record)
            kind.update(
                record, Inputs(inputs), world.copy(), self._config
            )  # what it would refuse, before anything stops
            if not kind.restarts(record, Inputs(inputs)):
                return False
            world.note(record, stopped=True)
            return True

        def resume(world: World) -> Record:
            record = current(world)
            return world.note(record, stopped=False) if record.facts.flag("stopped") else record

        def alter(world: World) -> dict[str, Value]:
            record = resume(world)
            self._admit(kind, inputs, world, record)
            return kind.outputs(kind.update(record, Inputs(inputs), world, self._config), world)

        def both() -> dict[str, Value]:
            stopped = self._ledger.change(stop)
            try:
                return self._ledger.change(alter)
            except Exception:
                if stopped:
                    self._ledger.change(resume)
                raise

        outputs = self._attempt(context, sealed, both)
        return provider_pb2.UpdateResponse(properties=self._outputs(kind, outputs, sealed))

    def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> Empty:
        kind = self._kind(request.urn, context)

        def shut_down(world: World) -> None:
            record = world.get(kind.token, request.id)
            if record is not None and kind.shuts_down(record):
                kind.delete(record, world.copy())  # what it would refuse, before anything stops
                world.note(record, stopped=True)

        def remove(world: World) -> None:
            record = world.get(kind.token, request.id)
            if record is not None:
                kind.delete(record, world)

        def both() -> None:
            self._ledger.change(shut_down)
            self._ledger.change(remove)

        self._attempt(context, {}, both)
        return Empty()

    def Invoke(self, request: provider_pb2.InvokeRequest, context: Context) -> provider_pb2.InvokeResponse:
        lookup = self._lookups.get(request.tok)
        if lookup is None:
            self._abort(context, f"the local cloud does not know the function {request.tok}")
        checker = Checker()
        sealed = checker.properties(_sent(request.args), lookup.shape.inputs)
        if checker.failures:
            return provider_pb2.InvokeResponse(failures=_wire(checker.failures, sealed))
        inputs = Inputs(plain_properties(sealed))
        answer = self._attempt(context, sealed, lambda: lookup.find(inputs, self._ledger.world, self._config))
        answer = {name: sealed_like(value, sealed.get(name)) for name, value in {**inputs.values, **answer}.items()}
        return provider_pb2.InvokeResponse(**{"return": self._encode(answer)})

    def _kind(self, urn: str, context: Context) -> Kind:
        token = urn.split("::")[2].rpartition("$")[2]
        kind = self._kinds.get(token)
        if kind is None:
            self._abort(context, f"the local cloud does not know the resource type {token}")
        try:
            _ = kind.shape
        except UnknownTokenError as error:
            self._abort(context, str(error))
        return kind

    def _name(
        self, kind: Kind, inputs: dict[str, Value], old: dict[str, Value] | None, request: provider_pb2.CheckRequest
    ) -> None:
        assert kind.naming is not None
        if Inputs(inputs).given(kind.naming.property):
            return
        previous = old.get(kind.naming.property) if old else None
        logical = request.urn.split("::", 3)[3]
        seed = request.randomSeed or request.urn.encode()
        inputs[kind.naming.property] = kind.naming.choose(
            logical, previous if isinstance(previous, str) else None, seed
        )

    @staticmethod
    def _asked(kind: Kind, request: provider_pb2.DiffRequest | provider_pb2.UpdateRequest) -> dict[str, Value]:
        """What the resource asked for until now."""
        old = plain_properties(_sent(request.old_inputs if request.HasField("old_inputs") else request.olds))
        return {name: value for name, value in old.items() if name in kind.shape.inputs}

    def _before(self, urn: str, old: dict[str, Value] | None) -> Inputs | None:
        """What the resource asked for before: when it is to be replaced the engine checks once more without telling.

        It never tells of one that goes because of another's replacement; in a preview that is there still.
        """
        if old is not None:
            self._olds[urn] = Inputs(old)
        there = self._ledger.world.of(urn)
        return self._olds.get(urn) or (there[-1].inputs if there else None)

    def _admit(self, kind: Kind, inputs: dict[str, Value], world: World, record: Record | None) -> None:
        """Check once more, now that every value is known. Raises CloudError with everything that is wrong."""
        check = Check(Inputs(inputs), world, self._config, record and record.inputs, anew=record is None)
        kind.check(check)
        if check.failures:
            raise CloudError("; ".join(failure.reason for failure in check.failures))

    @staticmethod
    def _first(kind: Kind, urn: str, old: dict[str, Value], new: dict[str, Value]) -> bool:
        """Whether the old one has to go first: the kind says so, or both would carry the same given name."""
        if kind.replace_first or kind.naming is None:
            return kind.replace_first
        name = new.get(kind.naming.property)
        chosen = isinstance(name, str) and kind.naming.chosen(urn.split("::", 3)[3], name)
        return name is not None and name == old.get(kind.naming.property) and not chosen

    def _outputs(self, kind: Kind, outputs: Mapping[str, Value], sealed: Mapping[str, Value]) -> Struct:
        marked: dict[str, Value] = {}
        for name, value in outputs.items():
            marked[name] = Secret(value) if name in kind.secrets else sealed_like(value, sealed.get(name))
        return self._encode(marked)

    def _encode(self, properties: Mapping[str, Value]) -> Struct:
        return to_struct(properties, secrets=self._secrets)

    def _attempt(self, context: Context, sealed: dict[str, Value], act: Callable[[], T]) -> T:
        """What `act` answers; what it refuses is told without the secrets among the inputs."""
        try:
            return act()
        except (CloudError, LocalCloudError) as error:
            self._abort(context, redacted(str(error), secrets_in(sealed)))

    @staticmethod
    def _abort(context: Context, reason: str) -> NoReturn:
        context.abort(grpc.StatusCode.UNKNOWN, reason)
        raise AssertionError("abort raises")


def _wire(failures: list[Failure], inputs: dict[str, Value]) -> list[provider_pb2.CheckFailure]:
    secrets = secrets_in(inputs)
    return [
        provider_pb2.CheckFailure(property=failure.path, reason=redacted(failure.reason, secrets))
        for failure in failures
    ]
