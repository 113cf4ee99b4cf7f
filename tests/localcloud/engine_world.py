"""A provider server with a small world of its own, and programs run against it, for the tests of the engine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from localcloud.engine import urn as urns
from localcloud.engine.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
PASSPHRASE = "x"
SALT = "v1:7eTrkdN5pPM=:v1:uABu+G2YfNAJrHSY:0i2OIZGqHqxN8jSIy99T4SAWvjf0mA=="
"""Made by a pulumi CLI 3.260 with the passphrase `x`."""

PRELUDE = """
import pulumi
from pulumi import Output, ResourceOptions as O

class Box(pulumi.CustomResource):
    def __init__(self, name, opts=None, **props):
        super().__init__("toy:index:Box", name, {"serial": None, "token": None, **props}, opts)

class Room(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("house:index:Room", name, {}, opts)
"""


@dataclass
class Toy(provider_pb2_grpc.ResourceProviderServicer):
    """The package `toy`. Its `Box` takes any property and behaves as some of them say.

    `shape` and `parent` replace on change; a `shape` that begins with `fixed` is deleted before it is replaced.
    `refuse` fails check, `breaks` create and update, `sticky` delete. Outputs: the inputs, `serial`, `token`.
    """

    boxes: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    calls: list[str] = field(default_factory=list[str])
    requests: list[Any] = field(default_factory=list[Any])
    made: int = 0
    named: bool = False
    """Whether ids carry the resource's name instead of a running number, so that they do not depend on the order."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    traps: dict[str, Callable[[], object]] = field(default_factory=dict[str, Callable[[], object]])
    """`create a` (asked) or `created a` (done) -> what then happens."""

    def _note(self, what: str, request: Any) -> None:
        with self.lock:
            self.calls.append(f"{what} {request.urn.rsplit('::', 1)[-1]}")
            self.requests.append(request)
        self._spring(f"{what} {request.urn.rsplit('::', 1)[-1]}")

    def _spring(self, moment: str) -> None:
        if moment in self.traps:
            self.traps[moment]()

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="1.0.0")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse()

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        self._note("check", request)
        failures = [
            provider_pb2.CheckFailure(property="refuse", reason=f"{value.string_value} is not liked")
            for key, value in request.news.fields.items()
            if key == "refuse"
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        self._note("diff", request)
        old, new = plain(request.old_inputs), plain(request.news)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        replaces = [key for key in changed if key in ("shape", "parent")]
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=replaces,
            deleteBeforeReplace=str(old.get("shape", "")).startswith("fixed"),
        )

    def Create(self, request: Any, context: Any) -> Any:
        self._note("preview" if request.preview else "create", request)
        wanted = plain(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=request.properties)
        if wanted.get("breaks"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no space left for it")
        with self.lock:
            self.made += 1
            number = f"{urns.name_of(request.urn)}-{self.calls.count(f'create {urns.name_of(request.urn)}')}"
            id = f"box-{number if self.named else self.made}"
            self.boxes[id] = {**wanted, "serial": id.replace("box", "serial"), "token": "hush-token"}
        return provider_pb2.CreateResponse(id=id, properties=struct(self.boxes[id]))

    def Update(self, request: Any, context: Any) -> Any:
        self._note("preview" if request.preview else "update", request)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=request.news)
        wanted = plain(request.news)
        if wanted.get("breaks"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no space left for it")
        with self.lock:
            box = self.boxes[request.id]
            self.boxes[request.id] = {**wanted, "serial": box["serial"], "token": box["token"]}
        self._spring(f"updated {request.urn.rsplit('::', 1)[-1]}")
        return provider_pb2.UpdateResponse(properties=struct(self.boxes[request.id]))

    def Read(self, request: Any, context: Any) -> Any:
        box = self.boxes.get(request.id)
        if box is None:
            return provider_pb2.ReadResponse()
        inputs = {key: value for key, value in box.items() if key not in ("serial", "token")}
        return provider_pb2.ReadResponse(id=request.id, properties=struct(box), inputs=struct(inputs))

    def Delete(self, request: Any, context: Any) -> Any:
        self._note("delete", request)
        if self.boxes.get(request.id, {}).get("sticky"):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is stuck to the floor")
        self.boxes.pop(request.id, None)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        if request.tok != "toy:index:double":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unknown function {request.tok}")
        number = plain(request.args)["number"]
        answer: dict[str, Any] = {"return": struct({"result": number * 2})}
        return provider_pb2.InvokeResponse(**answer)

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


def plain(message: struct_pb2.Struct) -> dict[str, Any]:
    return json_format.MessageToDict(message)


def struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(dict(values), struct_pb2.Struct())


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    text: str
    """Standard output and error."""


@dataclass
class World:
    """A project in a directory, and the provider it talks to."""

    directory: Path
    toy: Toy
    port: int

    @property
    def project(self) -> Path:
        return self.directory / "project"

    @property
    def state_file(self) -> Path:
        return self.directory / "state" / "toys" / "dev.json"

    @property
    def environment(self) -> dict[str, str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI")}
        return {
            **keep,
            "PULUMI_DEBUG_PROVIDERS": f"toy:{self.port}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PYTHONPATH": str(ROOT),
        }

    def program(self, text: str) -> None:
        """Writes the program; `Box` and `Room` are there."""
        (self.project / "__main__.py").write_text(PRELUDE + textwrap.dedent(text))

    def config(self, text: str, stack: str = "dev") -> None:
        (self.project / f"Pulumi.{stack}.yaml").write_text(textwrap.dedent(text))

    def settings(self, text: str) -> None:
        """Adds to Pulumi.yaml."""
        (self.project / "Pulumi.yaml").write_text("name: toys\nruntime: python\n" + textwrap.dedent(text))

    def _arguments(self, operation: str, *options: str, stack: str = "dev") -> list[str]:
        state = str(self.directory / "state")
        return [operation, "--stack", stack, "--cwd", str(self.project), "--state", state, *options]

    def start(self, operation: str, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Starts the engine in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "localcloud.engine", *self._arguments(operation, *options)],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def engine(
        self,
        operation: str,
        *options: str,
        stack: str = "dev",
        whole: Mapping[str, str] | None = None,
        **environment: str,
    ) -> Ran:
        """Runs the engine to its end, in this process; with `whole` as its environment, or some variables more."""
        text = io.StringIO()
        with (
            mock.patch.dict(os.environ, {**(whole or self.environment), **environment}, clear=True),
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
        ):
            status = main(self._arguments(operation, *options, stack=stack))
        return Ran(status, text.getvalue())

    def up(self, program: str | None = None) -> Ran:
        """Runs `up`, which must succeed."""
        if program is not None:
            self.program(program)
        ran = self.engine("up")
        assert ran.status == 0, ran.text
        return ran

    def json(self, operation: str, program: str | None = None, options: Sequence[str] = ()) -> dict[str, Any]:
        """The document of an operation, which may fail."""
        if program is not None:
            self.program(program)
        text = io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            main([*self._arguments(operation, *options), "--json"])
        return json.loads(text.getvalue())

    def outputs(self, *, show_secrets: bool = False, stack: str = "dev") -> dict[str, Any]:
        options = ["--show-secrets"] if show_secrets else []
        ran = self.engine("outputs", *options, stack=stack)
        assert ran.status == 0, ran.text
        return json.loads(ran.text)

    def state(self) -> dict[str, dict[str, Any]]:
        """Name -> resource, as the state file has them."""
        document = json.loads(self.state_file.read_text())
        return {one["urn"].rsplit("::", 1)[-1]: one for one in document["deployment"]["resources"]}

    def urns(self) -> set[str]:
        document = json.loads(self.state_file.read_text())
        return {one["urn"] for one in document["deployment"]["resources"]}


@contextlib.contextmanager
def serving(directory: Path) -> Generator[World]:
    """A world in a fresh directory, its provider serving on a free port of 127.0.0.1."""
    toy = Toy()
    pool = ThreadPoolExecutor(32)
    server = grpc.server(pool)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(toy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    world = World(directory, toy, port)
    world.project.mkdir(parents=True)
    world.settings("")
    world.config(f"encryptionsalt: {SALT}\n")
    try:
        yield world
    finally:
        server.stop(grace=None).wait()
        pool.shutdown(wait=True)


def changes(document: dict[str, Any]) -> dict[str, str]:
    """Name -> operation of a JSON result; what stays the same or is only read is left out."""
    listed = {step["urn"].rsplit("::", 1)[-1]: step["op"] for step in document["steps"]}
    return {name: operation for name, operation in listed.items() if operation not in ("same", "read")}
