"""What policy packs say of resources, and what follows from it.

As with the CLI (`step_generator.go` of pulumi/pulumi): a resource goes to each pack when its provider has checked it
and before anything is done with it, first to be remediated, then to be judged; the whole stack goes to them at the end,
with outputs. A mandatory violation fails the operation: a preview goes on and lists them all, an update stops at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pulumi.runtime.proto import analyzer_pb2

from localcloud.engine import urn as urns
from localcloud.engine.analyzers import Analyzer
from localcloud.engine.changes import between
from localcloud.engine.context import Context
from localcloud.engine.decision import as_resource
from localcloud.engine.errors import EngineError
from localcloud.engine.goals import Goal
from localcloud.engine.packs import load
from localcloud.engine.paths import render
from localcloud.engine.session import Session, StoppedError
from localcloud.engine.state import Resource
from localcloud.engine.steps import Violation
from localcloud.wire import Properties, Secret, Value, from_struct, parts, plain, to_struct

_Answer = TypeVar("_Answer")
_SHORTEST = 4
"""Characters of the shortest secret that is taken out of what a pack says: less would blacken every text."""


class Policies:
    """The packs of one operation. Threads may use them at the same time."""

    def __init__(self, session: Session) -> None:
        """None are there until they are started, and then nothing is objected to."""
        self._session = session
        self._analyzers: list[Analyzer] = []
        self._goals: dict[str, Goal] = {}

    def start(
        self,
        packs: Sequence[tuple[Path, Path | None]],
        context: Context,
        *,
        engine: str,
        environment: Mapping[str, str],
    ) -> None:
        """Starts packs, given as directory and configuration file; raises EngineError with what is wrong with one."""
        reporter = self._session.reporter
        for pack in [load(directory, config) for directory, config in packs]:
            analyzer = Analyzer(pack, context, engine=engine, environment=environment, reporter=reporter)
            self._analyzers.append(analyzer)
            count = "1 policy" if analyzer.active == 1 else f"{analyzer.active} policies"
            reporter.says("", "info", f"policy pack {analyzer.title}: {count}")

    def examine(self, urn: str, goal: Goal, inputs: Properties) -> Properties:
        """The inputs of a resource as they are to be, which only a remediation changes.

        Raises StoppedError when it may not be made; the reporter has been told.
        """
        if not self._analyzers:
            return inputs
        with self._session.lock:
            self._goals[urn] = goal
        found: list[Violation] = []
        for analyzer in self._analyzers:
            if analyzer.remediates:
                inputs = self._remediated(analyzer, urn, goal, inputs, found)
        request = self._request(as_resource(urn, goal, inputs), goal, visible(inputs))
        for analyzer in self._analyzers:
            found += _asked(lambda analyzer=analyzer: analyzer.analyze(request), [inputs])
        self._tell(found, [inputs])
        if any(one.level == "mandatory" for one in found) and not self._session.preview:
            self._session.failed.set()
            raise StoppedError(f"{urn} violates a policy")
        return inputs

    def examine_stack(self) -> None:
        """Judges the resources of this run together, by their outputs."""
        if not self._analyzers:
            return
        current = self._session.current
        resources = [self._member(one) for one in current.values()]
        root = next((urn for urn in current if urns.type_of(urn) == urns.STACK_TYPE), "")
        properties = [known for one in current.values() for known in (one.inputs, one.outputs)]
        found: list[Violation] = []
        for analyzer in self._analyzers:
            found += _asked(lambda analyzer=analyzer: analyzer.analyze_stack(resources, root), properties)
        self._tell(found, properties)
        if not self._session.violations:
            self._session.reporter.says("", "info", "no policy is violated")

    def close(self) -> None:
        """Ends the packs."""
        for analyzer in self._analyzers:
            analyzer.close()

    def _remediated(
        self, analyzer: Analyzer, urn: str, goal: Goal, inputs: Properties, found: list[Violation]
    ) -> Properties:
        request = self._request(as_resource(urn, goal, inputs), goal, inputs)
        for one in _asked(lambda: analyzer.remediate(request), [inputs]):
            if one.diagnostic:
                found.append(Violation(one.policyName, analyzer.title, "advisory", urn, one.diagnostic))
                continue
            better = from_struct(one.properties)
            changed = ", ".join(render(change.path) for change in between(inputs, better))
            if changed:
                self._session.reporter.says(urn, "info", f"policy {one.policyName} remediated {changed}")
            inputs = better
        return inputs

    def _tell(self, found: Iterable[Violation], properties: Iterable[Properties]) -> None:
        secrets = list(properties)
        for one in found:
            self._session.violates(replace(one, message=_without_secrets(one.message, secrets)))

    def _request(self, resource: Resource, goal: Goal | None, properties: Properties) -> Any:
        return analyzer_pb2.AnalyzeRequest(**self._described(resource, goal, properties))

    def _member(self, resource: Resource) -> Any:
        by_property = {
            key: analyzer_pb2.AnalyzerPropertyDependencies(urns=listed)
            for key, listed in resource.property_dependencies.items()
        }
        return analyzer_pb2.AnalyzerResource(
            **self._described(resource, self._goals.get(resource.urn), visible(resource.outputs)),
            parent=resource.parent,
            dependencies=resource.dependencies,
            propertyDependencies=by_property,
        )

    def _described(self, resource: Resource, goal: Goal | None, properties: Properties) -> dict[str, Any]:
        fixed_order = None if goal is None else goal.delete_before_replace
        return {
            "urn": resource.urn,
            "type": resource.type,
            "name": urns.name_of(resource.urn),
            "properties": to_struct(properties, resources=False),
            "provider": self._provider(resource),
            "options": analyzer_pb2.AnalyzerResourceOptions(
                protect=resource.protect,
                ignoreChanges=resource.ignore_changes,
                deleteBeforeReplace=bool(fixed_order),
                deleteBeforeReplaceDefined=fixed_order is not None,
                additionalSecretOutputs=resource.additional_secret_outputs,
                customTimeouts=analyzer_pb2.AnalyzerResourceOptions.CustomTimeouts(**resource.timeouts),
                parent=resource.parent,
            ),
        }

    def _provider(self, resource: Resource) -> Any:
        """The provider of a resource as the CLI has it among its resources, where this engine has none."""
        if not resource.custom:
            return None
        package = urns.package_of(resource.type)
        type_ = f"pulumi:providers:{package}"
        names = self._session.names
        return analyzer_pb2.AnalyzerProviderResource(
            type=type_,
            name="default",
            urn=urns.make(names.stack, names.project, "", type_, "default"),
            properties=to_struct(self._session.providers.config_of(package)),
        )


def visible(properties: Properties) -> Properties:
    """Properties without what Pulumi keeps to itself: the keys that begin with `__`."""
    return {key: _visible(value) for key, value in properties.items() if not key.startswith("__")}


def _visible(value: Value) -> Value:
    match value:
        case Secret():
            return Secret(_visible(value.value))
        case list():
            return [_visible(item) for item in value]
        case dict():
            return visible(value)
        case _:
            return value


def _asked(ask: Callable[[], _Answer], properties: Sequence[Properties]) -> _Answer:
    """A pack's answer; what it says when it fails instead may quote what it was shown."""
    try:
        return ask()
    except StoppedError:
        raise
    except EngineError as error:
        raise EngineError(_without_secrets(str(error), properties)) from error


def _without_secrets(text: str, properties: Iterable[Properties]) -> str:
    secrets = {secret for one in properties for secret in _secrets(one)}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text


def _secrets(value: Value) -> Iterable[str]:
    """The texts that are secret in a value."""
    if isinstance(value, Secret):
        yield from _texts(plain(value))
        return
    for part in parts(value):
        yield from _secrets(part)


def _texts(value: Value) -> Iterable[str]:
    if isinstance(value, str) and len(value) >= _SHORTEST:
        yield value
    for part in parts(value):
        yield from _texts(part)
