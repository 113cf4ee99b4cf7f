"""The provider servers: those of PULUMI_DEBUG_PROVIDERS, and `python -m pulumi.dynamic`, which is started here."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from localcloud.engine import lifeline
from localcloud.engine import urn as urns
from localcloud.engine.changes import Difference
from localcloud.engine.errors import EngineError, InitError, ProviderError
from localcloud.engine.values import keep_secrets
from localcloud.wire import Properties, Secret, Value, from_struct, to_struct

DYNAMIC = "pulumi-python"
VARIABLE = "PULUMI_DEBUG_PROVIDERS"
CHANNEL_OPTIONS = [("grpc.max_send_message_length", 400 << 20), ("grpc.max_receive_message_length", 400 << 20)]


@dataclass(frozen=True)
class Answer:
    """The state of a resource: its id, outputs, and (reads only) inputs."""

    id: str
    outputs: Properties
    inputs: Properties | None = None


class Provider:
    """One provider, configured. Threads may use it at the same time."""

    def __init__(self, package: str, port: int, config: Mapping[str, Value], engine: str) -> None:
        """Connects and configures; raises EngineError when the provider refuses the configuration.

        Args:
            package: what it serves.
            port: where it listens on 127.0.0.1.
            config: its own part of the stack's configuration.
            engine: address of the engine's service, for its log messages.
        """
        self.package = package
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
        self._stub: Any = provider_pb2_grpc.ResourceProviderStub(channel)
        self._channel = channel
        hands = self._shake_hands(engine)
        checked = dict(config)
        try:
            answer = self._call(
                self._stub.CheckConfig, provider_pb2.CheckRequest(news=to_struct(config, secrets=False))
            )
            if answer.failures:
                raise ProviderError(_failures(f"config of {package}", answer.failures))
            checked = keep_secrets(from_struct(answer.inputs), config)
        except _UnimplementedError:
            pass
        answer = self._call(
            self._stub.Configure,
            provider_pb2.ConfigureRequest(
                variables={key: _text(value) for key, value in checked.items()},
                args=to_struct(checked),
                acceptSecrets=True,
                acceptResources=True,
                sends_old_inputs=True,
                sends_old_inputs_to_delete=True,
            ),
        )
        self._secrets: bool = hands.accept_secrets if hands else answer.acceptSecrets
        self._resources: bool = hands.accept_resources if hands else answer.acceptResources
        self._previews: bool = hands is not None or answer.supportsPreview

    def _shake_hands(self, engine: str) -> Any:
        """What the provider says in a handshake; None when it knows none, and says it when it is configured."""
        try:
            return self._call(
                self._stub.Handshake,
                provider_pb2.ProviderHandshakeRequest(engine_address=engine, invoke_with_preview=True),
            )
        except _UnimplementedError:
            return None

    def check(self, urn: str, old: Properties | None, new: Properties, seed: bytes) -> Properties:
        """The inputs as the provider takes them; raises ProviderError naming each property that is wrong."""
        answer = self._call(
            self._stub.Check,
            provider_pb2.CheckRequest(
                urn=urn, name=urns.name_of(urn), type=urns.type_of(urn), olds=self._struct(old or {}),
                news=self._struct(new), randomSeed=seed,
            ),
        )  # fmt: skip
        if answer.failures:
            raise ProviderError(_failures(f"{urns.type_of(urn)} {urns.name_of(urn)}", answer.failures))
        return self._marked(from_struct(answer.inputs), new)

    def diff(
        self, urn: str, id: str, old: tuple[Properties, Properties], new: Properties, ignored: tuple[str, ...]
    ) -> Difference:
        """What a change from the old (inputs, outputs) to new inputs means."""
        answer = self._call(
            self._stub.Diff,
            provider_pb2.DiffRequest(
                id=id, urn=urn, name=urns.name_of(urn), type=urns.type_of(urn), old_inputs=self._struct(old[0]),
                olds=self._struct(old[1]), news=self._struct(new), ignoreChanges=ignored,
            ),
        )  # fmt: skip
        changes = {provider_pb2.DiffResponse.DIFF_NONE: False, provider_pb2.DiffResponse.DIFF_SOME: True}
        return Difference(
            changes.get(answer.changes),
            tuple(answer.replaces),
            tuple(answer.diffs),
            {
                path: (provider_pb2.PropertyDiff.Kind.Name(entry.kind).lower().replace("_", "-"), entry.inputDiff)
                for path, entry in answer.detailedDiff.items()
            },
            answer.deleteBeforeReplace,
        )

    def create(self, urn: str, inputs: Properties, *, timeout: float, preview: bool) -> Answer:
        """Makes a resource; in a preview says what it would be (id empty)."""
        if preview and not self._previews:
            return Answer("", inputs)
        answer = self._call(
            self._stub.Create,
            provider_pb2.CreateRequest(
                urn=urn, name=urns.name_of(urn), type=urns.type_of(urn), properties=self._struct(inputs),
                timeout=timeout, preview=preview,
            ),
        )  # fmt: skip
        if not answer.id and not preview:
            raise ProviderError(f"the provider returned no id for {urn}")
        return Answer(answer.id, self._marked(from_struct(answer.properties), inputs))

    def update(
        self,
        urn: str,
        id: str,
        old: tuple[Properties, Properties],
        new: Properties,
        *,
        ignored: tuple[str, ...],
        timeout: float,
        preview: bool,
    ) -> Properties:
        """Changes a resource from its old (inputs, outputs); in a preview says what it would become."""
        if preview and not self._previews:
            return new
        answer = self._call(
            self._stub.Update,
            provider_pb2.UpdateRequest(
                id=id, urn=urn, name=urns.name_of(urn), type=urns.type_of(urn), old_inputs=self._struct(old[0]),
                olds=self._struct(old[1]), news=self._struct(new), ignoreChanges=ignored, timeout=timeout,
                preview=preview,
            ),
        )  # fmt: skip
        return self._marked(from_struct(answer.properties), new)

    def read(
        self, urn: str, id: str, inputs: Properties | None, outputs: Properties, *, timeout: float = 0
    ) -> Answer | None:
        """The resource as it is now; None when it is gone."""
        answer = self._call(
            self._stub.Read,
            provider_pb2.ReadRequest(
                id=id, urn=urn, name=urns.name_of(urn), type=urns.type_of(urn), properties=self._struct(outputs),
                inputs=None if inputs is None else self._struct(inputs), timeout=timeout,
            ),
        )  # fmt: skip
        if not answer.id:
            return None
        got = from_struct(answer.inputs) if answer.HasField("inputs") else None
        return Answer(
            answer.id,
            self._marked(from_struct(answer.properties), outputs),
            None if got is None else self._marked(got, inputs or {}),
        )

    def delete(self, urn: str, id: str, inputs: Properties, outputs: Properties, *, timeout: float) -> None:
        """Deletes a resource."""
        self._call(
            self._stub.Delete,
            provider_pb2.DeleteRequest(
                id=id, urn=urn, name=urns.name_of(urn), type=urns.type_of(urn), properties=self._struct(outputs),
                old_inputs=self._struct(inputs), timeout=timeout,
            ),
        )  # fmt: skip

    def invoke(self, token: str, arguments: Properties, *, preview: bool) -> tuple[Properties, list[tuple[str, str]]]:
        """Calls a function: its result, and failures as (property, reason)."""
        answer = self._call(
            self._stub.Invoke,
            provider_pb2.InvokeRequest(tok=token, args=self._struct(arguments), preview=preview),
        )
        return from_struct(getattr(answer, "return")), [(one.property, one.reason) for one in answer.failures]

    def close(self) -> None:
        """Tells the provider that nothing more comes, and hangs up."""
        with contextlib.suppress(grpc.RpcError):  # it may not know Cancel, or be gone already: nothing is lost
            self._stub.Cancel(empty_pb2.Empty(), timeout=2)
        self._channel.close()

    def _struct(self, properties: Properties) -> Any:
        return to_struct(properties, secrets=self._secrets, resources=self._resources)

    def _marked(self, got: Properties, given: Mapping[str, Value]) -> Properties:
        return got if self._secrets else keep_secrets(got, given)

    def _call(self, method: Callable[[Any], Any], request: object) -> Any:
        try:
            return method(request)
        except grpc.RpcError as error:
            raise _translated(self.package, error) from error


class _UnimplementedError(ProviderError):
    pass


def _translated(package: str, error: Any) -> ProviderError:
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return _UnimplementedError(error.details())
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return ProviderError(f"the provider of {package} does not answer: {error.details()}")
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                failed = provider_pb2.ErrorResourceInitFailed()
                if detail.Unpack(failed):
                    return InitError(failed.id, dict(from_struct(failed.properties)), list(failed.reasons))
    return ProviderError(_without_traceback(error.details() or str(error.code())))


def _without_traceback(details: str) -> str:
    """Dynamic providers answer a whole traceback; its last paragraph is the error."""
    if not details.startswith("Traceback (most recent call last)"):
        return details
    lines = details.rstrip().splitlines()
    last = max((index for index, line in enumerate(lines) if line.startswith("  ")), default=-1)
    return "\n".join(lines[last + 1 :]) or details


def _failures(what: str, failures: Any) -> str:
    lines = [f"{one.property}: {one.reason}" if one.property else one.reason for one in failures]
    return "\n".join(f"{what}: {line}" for line in lines)


def _text(value: Value) -> str:
    return str(value.value if isinstance(value, Secret) else value)


class Providers:
    """All providers of a deployment, each connected when it is first needed."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Value],
        environment: Mapping[str, str],
        *,
        project: str,
        engine: str,
    ) -> None:
        """Takes the program's directory and the stack's whole configuration, by full key."""
        self._directory = directory
        self._engine = engine
        self._config = config
        self._environment = {**environment, "PULUMI_PROJECT": project}
        self._ports = _attached(environment.get(VARIABLE, ""))
        self._locks: dict[str, threading.Lock] = {}
        self._mutex = threading.Lock()
        self._known: dict[str, Provider] = {}
        self._dynamic: subprocess.Popen[bytes] | None = None

    def of(self, package: str) -> Provider:
        """The provider of a package; raises EngineError when none is attached."""
        with self._mutex:
            lock = self._locks.setdefault(package, threading.Lock())
        with lock:
            if package not in self._known:
                self._known[package] = self._connect(package)
            return self._known[package]

    def config_of(self, package: str) -> dict[str, Value]:
        """A package's own part of the stack's configuration."""
        return {key.partition(":")[2]: value for key, value in self._config.items() if key.startswith(f"{package}:")}

    def _connect(self, package: str) -> Provider:
        if package == DYNAMIC:
            return Provider(package, self._start_dynamic(), self._config, self._engine)
        if package not in self._ports:
            attached = ", ".join(sorted(self._ports)) or "none"
            raise EngineError(f"no provider for package {package!r} is attached ({VARIABLE} has: {attached})")
        return Provider(package, self._ports[package], self.config_of(package), self._engine)

    def _start_dynamic(self) -> int:
        self._dynamic = subprocess.Popen(
            [sys.executable, "-u", lifeline.__file__, "-m", "pulumi.dynamic"],
            cwd=self._directory,
            env=dict(self._environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._dynamic.stdout is not None
        line = self._dynamic.stdout.readline().strip()
        if not line.isdigit():
            raise EngineError("python -m pulumi.dynamic did not start: it said no port")
        return int(line)

    def close(self) -> None:
        """Hangs up, and ends the provider process that was started here."""
        for provider in self._known.values():
            provider.close()
        if self._dynamic is not None:
            self._dynamic.terminate()
            self._dynamic.wait()
            for pipe in (self._dynamic.stdin, self._dynamic.stdout):
                if pipe is not None:
                    pipe.close()


def _attached(text: str) -> dict[str, int]:
    """Package -> port from `package:port,…`."""
    ports: dict[str, int] = {}
    for entry in filter(None, text.split(",")):
        package, _, port = entry.partition(":")
        if not port.isdigit():
            raise EngineError(f"{VARIABLE}: {entry!r} is not <package>:<port>")
        ports[package] = int(port)
    return ports
