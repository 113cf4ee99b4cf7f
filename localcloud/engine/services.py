"""The two gRPC services that a Pulumi program talks to: ResourceMonitor and Engine."""

# ruff: noqa: ARG002 - the protocol hands over a request and a context each time

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    provider_pb2,
    resource_pb2,
    resource_pb2_grpc,
)

from localcloud.engine import urn as urns
from localcloud.engine.context import Context
from localcloud.engine.errors import EngineError
from localcloud.engine.goals import read_get, read_goal, refuse_unknown
from localcloud.engine.providers import CHANNEL_OPTIONS
from localcloud.engine.reading import Reader
from localcloud.engine.registration import Registrar
from localcloud.engine.session import Session, StoppedError
from localcloud.engine.steps import Step
from localcloud.wire import Properties, WireError, from_struct, to_struct

T = TypeVar("T")

THREADS = 96
"""Registrations that are answered at the same time; most wait for a provider."""

_FEATURES = {
    "secrets": resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    "resourceReferences": resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    "aliasSpecs": resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    "replacementTrigger": resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    "deletedWith": resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    "replaceWith": resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
    "transforms": resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    "invokeTransforms": resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_TRANSFORMS,
    "parameterization": resource_pb2.RESOURCE_MONITOR_FEATURE_PARAMETERIZATION,
    "resourceHooks": resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
    "errorHooks": resource_pb2.RESOURCE_MONITOR_FEATURE_ERROR_HOOKS,
    "stateMigrations": resource_pb2.RESOURCE_MONITOR_FEATURE_STATE_MIGRATIONS,
}
"""What the SDK may send. From `replaceWith` on, all but `deletedWith` is refused when it comes, in this engine's words:
were it not announced, the SDK would tell the user to update the Pulumi CLI."""

_STOPPED = "the operation has stopped"


class Monitor(resource_pb2_grpc.ResourceMonitorServicer):
    """Takes the program's registrations, reads and function calls."""

    def __init__(self, session: Session, registrar: Registrar, reader: Reader, context: Context) -> None:
        self._session = session
        self._registrar = registrar
        self._reader = reader
        self._context = context
        self.stack_outputs: Properties | None = None
        """What the program exports, once it has said so."""

    def GetDeploymentInfo(self, request: Any, context: Any) -> Any:
        run = self._context
        return resource_pb2.DeploymentInfo(
            project=run.project,
            stack=run.stack,
            organization=run.organization,
            config=run.config,
            configSecretKeys=sorted(run.secret_keys),
            dryRun=run.preview,
            parallel=run.parallel,
            supportedFeatures=list(_FEATURES.values()),
        )

    def SupportsFeature(self, request: Any, context: Any) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in _FEATURES)

    def RegisterResource(self, request: Any, context: Any) -> Any:
        resource = self._guarded(
            context, request.type, request.name, lambda: self._registrar.register(read_goal(request))
        )
        # A component's outputs are what it registers itself later: what the state has may name resources not made yet.
        outputs = resource.outputs if resource.custom else {}
        return resource_pb2.RegisterResourceResponse(
            urn=resource.urn,
            id=resource.id,
            object=to_struct(outputs, secrets=request.acceptSecrets, resources=request.acceptResources),
        )

    def ReadResource(self, request: Any, context: Any) -> Any:
        resource = self._guarded(context, request.type, request.name, lambda: self._reader.read(read_get(request)))
        return resource_pb2.ReadResourceResponse(
            urn=resource.urn,
            id=resource.id,
            properties=to_struct(resource.outputs, secrets=request.acceptSecrets, resources=request.acceptResources),
        )

    def RegisterResourceOutputs(self, request: Any, context: Any) -> Any:
        def act() -> None:
            outputs = from_struct(request.outputs)
            if urns.type_of(request.urn) == urns.STACK_TYPE:
                self.stack_outputs = outputs
            else:
                self._session.set_outputs(request.urn, outputs)

        self._guarded(context, "outputs of", request.urn, act)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        return self._guarded(context, "function", request.tok, lambda: self._invoke(request))

    def _invoke(self, request: Any) -> Any:
        known = frozenset({"tok", "args", "version", "acceptResources", "pluginDownloadURL", "pluginChecksums",
                           "sourcePosition", "stackTrace", "parentStackTraceHandle", "accepts_byte_string",
                           "accept_output_values"})  # fmt: skip
        refuse_unknown(request, known, f"function {request.tok}")
        package = urns.package_of(request.tok)
        if package == "pulumi":
            raise EngineError(f"the small engine has no function {request.tok}; use the pulumi CLI")
        provider = self._session.providers.of(package)
        result, failures = provider.invoke(request.tok, from_struct(request.args), preview=self._context.preview)
        answer = resource_pb2.ResourceInvokeResponse(
            failures=[provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in failures]
        )
        getattr(answer, "return").CopyFrom(to_struct(result, resources=request.acceptResources))
        return answer

    def Call(self, request: Any, context: Any) -> Any:
        self._refuse(context, f"{request.tok}: methods of remote components")

    def RegisterPackage(self, request: Any, context: Any) -> Any:
        self._refuse(context, f"{request.name}: parameterized packages")

    def RegisterStackTransform(self, request: Any, context: Any) -> Any:
        self._refuse(context, "transforms")

    def RegisterStackInvokeTransform(self, request: Any, context: Any) -> Any:
        self._refuse(context, "invoke transforms")

    def RegisterResourceHook(self, request: Any, context: Any) -> Any:
        self._refuse(context, f"{request.name}: resource hooks")

    def RegisterErrorHook(self, request: Any, context: Any) -> Any:
        self._refuse(context, f"{request.name}: error hooks")

    def SignalAndWaitForShutdown(self, request: Any, context: Any) -> Any:
        """Nothing calls back into the program, so it need not wait."""
        return empty_pb2.Empty()

    def _refuse(self, context: Any, what: str) -> NoReturn:
        error = EngineError(f"{what} are not supported by the small engine; remove them or use the pulumi CLI")
        self._session.fail(Step("register", "", "", ""), error)
        context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPED)
        raise error

    def _guarded(self, context: Any, type_: str, name: str, act: Callable[[], T]) -> T:
        """Does it; on failure the reporter has been told, and the program is told that the operation has stopped."""
        try:
            return act()
        except StoppedError:
            context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPED)
        except (EngineError, WireError) as error:
            self._session.fail(Step("register", "", type_, name), error)
            context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPED)
        raise AssertionError("abort raises")


class Engine(engine_pb2_grpc.EngineServicer):
    """Takes log messages of the program and of providers, and keeps the root resource's URN."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._root = ""
        self.errors = threading.Event()
        """Set when the program has logged an error."""

    def Log(self, request: Any, context: Any) -> Any:
        severity = engine_pb2.LogSeverity.Name(request.severity).lower()
        if severity == "error":
            self.errors.set()
        self._session.reporter.says(request.urn, severity, request.message)
        return empty_pb2.Empty()

    def GetRootResource(self, request: Any, context: Any) -> Any:
        return engine_pb2.GetRootResourceResponse(urn=self._root)

    def SetRootResource(self, request: Any, context: Any) -> Any:
        self._root = request.urn
        return engine_pb2.SetRootResourceResponse()

    def StartDebugging(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def RequirePulumiVersion(self, request: Any, context: Any) -> Any:
        context.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"the program requires the Pulumi version {request.pulumi_version_range}; the small engine is none",
        )


class Server:
    """A gRPC server on 127.0.0.1 for both services."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS)
        self._server = grpc.server(self._pool, options=CHANNEL_OPTIONS)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        return self

    def start(self, monitor: Monitor | None, engine: Engine) -> None:
        """Begins to serve."""
        if monitor is not None:
            resource_pb2_grpc.add_ResourceMonitorServicer_to_server(monitor, self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(engine, self._server)
        self._server.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends when the steps under way are done and recorded."""
        self._server.stop(grace=None)
        self._pool.shutdown(wait=True)
