"""Policy packs while they run: a process each, asked over Pulumi's `Analyzer` protocol as the CLI asks it.

The CLI's language plug-in for Python starts a pack with `python -u -m pulumi.policy ENGINE DIRECTORY`, in the pack's
directory, with the stack and its configuration in the environment; the first line that it prints is its port.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from localcloud.engine import lifeline, packs
from localcloud.engine.context import Context
from localcloud.engine.errors import EngineError
from localcloud.engine.packs import LEVELS, Pack, Policy, Setting
from localcloud.engine.providers import CHANNEL_OPTIONS
from localcloud.engine.session import StoppedError
from localcloud.engine.steps import Reporter, Violation

ENDING_SECONDS = 5
"""How long a pack that has broken off a call is given to end."""


class Analyzer:
    """One policy pack, configured. Threads may use it at the same time."""

    def __init__(
        self, pack: Pack, context: Context, *, engine: str, environment: Mapping[str, str], reporter: Reporter
    ) -> None:
        """Starts the pack; raises EngineError when it does not come up or its configuration is wrong.

        Args:
            pack: which.
            context: the stack and its configuration; a pack gets secrets in plain text, as from the CLI.
            engine: address of the engine's service.
            environment: of this process.
            reporter: told what the pack prints.
        """
        self._pack = pack
        self._reporter = reporter
        self._process = subprocess.Popen(
            [str(pack.python), "-u", lifeline.__file__, "-m", "pulumi.policy", engine, str(pack.directory)],
            cwd=pack.directory,
            env={
                **environment,
                "PULUMI_CONFIG": json.dumps(dict(context.config)),
                "PULUMI_ORGANIZATION": context.organization,
                "PULUMI_PROJECT": context.project,
                "PULUMI_STACK": context.stack,
                "PULUMI_DRY_RUN": "true" if context.preview else "false",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that what it starts ends with it
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [threading.Thread(target=self._hand_on, args=(self._process.stderr, "info#err"))]
        self._readers[0].start()
        self._channel: Any = None
        self._closed = threading.Event()
        self.name = str(pack.directory)
        """What the pack calls itself."""
        self.title = ""
        """Its name and version."""
        try:
            self._connect(self._port(self._process.stdout), context)
        except BaseException:
            self.close()
            raise

    def _port(self, stdout: IO[str]) -> int:
        line = stdout.readline()
        if not line:
            status = self._process.wait()
            self._readers[0].join()  # so that its own words stand above
            raise EngineError(
                f"policy pack {self.name} did not start: its process ended with exit status {status} before it served. "
                "What it said is above: mend the pack, or install what it imports into the environment of "
                f"{self._pack.python}"
            )
        if not line.strip().isdigit():
            raise EngineError(
                f"policy pack {self.name} did not start: it printed {line.strip()!r} where its port was expected; a "
                "pack prints nothing to standard output before it serves: let it print to standard error"
            )
        self._readers.append(threading.Thread(target=self._hand_on, args=(stdout, "info")))
        self._readers[1].start()
        return int(line)

    def _connect(self, port: int, context: Context) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
        self._stub: Any = analyzer_pb2_grpc.AnalyzerStub(self._channel)
        stack = analyzer_pb2.AnalyzerStackConfigureRequest(
            stack=context.stack, project=context.project, organization=context.organization, dry_run=context.preview,
            config=context.config, config_secret_keys=sorted(context.secret_keys),
        )  # fmt: skip
        self._call("", self._stub.ConfigureStack, stack, optional=True)
        info = self._call("", self._stub.GetAnalyzerInfo, empty_pb2.Empty())
        self.name = info.name
        self.title = f"{info.name}@v{self._pack.version or info.version}"
        policies = [
            Policy(one.name, _level(one), _plain(one.configSchema.properties), tuple(one.configSchema.required))
            for one in info.policies
        ]
        initial = {name: Setting(_level(one), _plain(one.properties)) for name, one in info.initialConfig.items()}
        settings = packs.reconcile(self._pack, self.name, policies, initial)
        request = analyzer_pb2.ConfigureAnalyzerRequest()
        for name, setting in settings.items():
            request.policyConfig[name].enforcementLevel = _number(setting.level)
            json_format.ParseDict(dict(setting.properties), request.policyConfig[name].properties)
        self._call("", self._stub.Configure, request)
        self.remediates = any(setting.level == "remediate" for setting in settings.values())
        """Whether any of its policies may change a resource."""
        self.active = sum(setting.level != "disabled" for setting in settings.values())
        """Number of policies that are not disabled."""

    def analyze(self, request: Any) -> list[Violation]:
        """What violates a policy in one resource; takes an AnalyzeRequest."""
        answer = self._call(request.urn, self._stub.Analyze, request)
        return self._violations(answer.diagnostics, lambda _: request.urn)

    def analyze_stack(self, resources: Sequence[Any], root: str) -> list[Violation]:
        """What violates a policy in the whole; takes AnalyzerResources, and the URN of the stack's own resource."""
        request = analyzer_pb2.AnalyzeStackRequest(resources=resources)
        known = {one.urn for one in resources}
        answer = self._call("the stack", self._stub.AnalyzeStack, request, optional=True)
        return [] if answer is None else self._violations(answer.diagnostics, lambda urn: urn if urn in known else root)

    def remediate(self, request: Any) -> list[Any]:
        """What the pack makes of a resource: Remediation messages, one upon the other; takes an AnalyzeRequest."""
        answer = self._call(request.urn, self._stub.Remediate, request, optional=True)
        return [] if answer is None else list(answer.remediations)

    def close(self) -> None:
        """Hangs up, which breaks off the calls under way, and ends the process and those that it has started."""
        self._closed.set()
        if self._channel is not None:
            self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        for reader in self._readers:
            reader.join()
        self._process.stdout.close()

    def _violations(self, diagnostics: Any, urn_of: Callable[[str], str]) -> list[Violation]:
        """Where `remediate` is left of a level, the policy could not: that is as good as mandatory."""
        return [
            Violation(
                policy=one.policyName,
                pack=self.title,
                level="advisory" if _level(one) == "advisory" else "mandatory",
                urn=urn_of(one.urn),
                message=one.message,
            )
            for one in diagnostics
        ]

    def _call(self, about: str, method: Callable[[Any], Any], request: object, *, optional: bool = False) -> Any:
        """The pack's answer; None when it may be without that call, and is.

        Raises EngineError when it breaks, StoppedError when this analyzer is closed meanwhile.
        """
        try:
            return method(request)
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel is closed already
            if self._closed.is_set():
                raise StoppedError(f"policy pack {self.name} is not asked any more") from error
            if isinstance(error, ValueError):
                raise
            call: Any = error
            if optional and call.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            while_ = f" while it looked at {about}" if about else ""
            if call.code() == grpc.StatusCode.UNAVAILABLE:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(ENDING_SECONDS)
                status = self._process.poll()
                how = "does not answer any more" if status is None else f"died with exit status {status}"
                raise EngineError(
                    f"policy pack {self.name} {how}{while_}; nothing is checked without it, so nothing more is done: "
                    f"mend {self._pack.directory}, or leave it out"
                ) from error
            raise EngineError(
                f"policy pack {self.name} failed{while_}: {call.details()}; mend {self._pack.directory}, "
                "or disable the policy with --policy-pack-config"
            ) from error

    def _hand_on(self, stream: IO[str], severity: str) -> None:
        with stream:
            for line in stream:
                self._reporter.says("", severity, line.rstrip("\n"))


def _level(message: Any) -> str:
    number: int = message.enforcementLevel
    return LEVELS[number]


def _number(level: str) -> Any:
    return LEVELS.index(level)


def _plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    return json_format.MessageToDict(struct)
