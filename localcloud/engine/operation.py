"""The operations on a stack: preview, up, destroy, refresh."""

from __future__ import annotations

import contextlib
import json

from localcloud.engine import deletion, program
from localcloud.engine import urn as urns
from localcloud.engine.changes import between
from localcloud.engine.config import Config, resolve
from localcloud.engine.context import Context
from localcloud.engine.errors import EngineError
from localcloud.engine.naming import Names
from localcloud.engine.policies import Policies
from localcloud.engine.providers import Providers
from localcloud.engine.reading import Reader, refresh_all
from localcloud.engine.registration import Registrar
from localcloud.engine.services import Engine, Monitor, Server
from localcloud.engine.session import Session, StoppedError
from localcloud.engine.state import Snapshot
from localcloud.engine.steps import Reporter, Result, Step
from localcloud.engine.store import Store
from localcloud.engine.target import Opened, Target, open_target
from localcloud.wire import Properties, Value, secret

ORGANIZATION = "organization"
"""What the CLI calls the organization of a backend without any."""
PARALLEL = 16
"""Threads of the program that wait for the engine, divided by four."""


def run(operation: str, target: Target, reporter: Reporter) -> Result:
    """Does one of `target.OPERATIONS`; raises EngineError for what prevents it from beginning.

    A failure on the way is told to the reporter and to be seen in the result.
    """
    opened = open_target(target)
    config = resolve(opened.project, target.stack, opened.raw, opened.config_sealer)
    preview = operation == "preview"
    with opened.store.locked():
        before = opened.store.load()
        _tell_pending(opened.store, before, reporter, preview=preview)
        server = Server()
        providers = Providers(
            opened.project.directory,
            _as_values(config),
            {**target.environment, "PULUMI_CONFIG": json.dumps(dict(config.values))},
            project=opened.project.name,
            engine=server.address,
        )
        names = Names(opened.project.name, target.stack)
        session = Session(opened.store, providers, reporter, names, preview=preview)
        policies = Policies(session)
        try:
            with server, contextlib.closing(policies):  # a step under way may wait for a pack's answer
                succeeded, outputs = _Run(
                    target, opened, operation=operation, config=config, session=session, server=server,
                    policies=policies,
                ).perform()  # fmt: skip
        except BaseException:
            session.failed.set()
            raise
        finally:
            providers.close()
            if not preview:
                _save(opened.store)
    shown = outputs if outputs is not None else before.outputs()
    changes = tuple(between(before.outputs(), shown))
    told = {key: "[secret]" if key in config.secret_keys else value for key, value in config.values.items()}
    return Result(
        succeeded and not session.refused,
        tuple(session.steps),
        shown,
        changes,
        told,
        refused=succeeded and session.refused,
    )


def _save(store: Store) -> None:
    if store.slots():
        store.save()
    else:
        store.remove()


class _Run:
    def __init__(
        self, target: Target, opened: Opened, *, operation: str, config: Config, session: Session, server: Server,
        policies: Policies,
    ) -> None:  # fmt: skip
        self._operation = operation
        self._target = target
        self._opened = opened
        self._config = config
        self._session = session
        self._server = server
        self._policies = policies

    def perform(self) -> tuple[bool, Properties | None]:
        """Whether it succeeded, and the outputs that the stack has from now on (None: those of before)."""
        session = self._session
        try:
            if self._operation in ("preview", "up"):
                return self._program()
            self._server.start(None, Engine(session))
            if self._operation == "refresh":
                refresh_all(session)
                return True, None
            slots = session.store.slots()
            deletion.refuse_protected(session, list(slots))
            deletion.delete_all(session, slots)
            return True, {}
        except StoppedError:
            return False, None
        except EngineError as error:
            session.fail(Step(self._operation, "", "", ""), error)
            return False, None

    def _program(self) -> tuple[bool, Properties | None]:
        session, opened, config = self._session, self._opened, self._config
        context = Context(
            opened.project.name, self._target.stack, ORGANIZATION, config.values, config.secret_keys,
            session.preview, PARALLEL,
        )  # fmt: skip
        target, policies = self._target, self._policies
        policies.start(target.policy_packs, context, engine=self._server.address, environment=target.environment)
        monitor = Monitor(session, Registrar(session, policies), Reader(session, self._outputs_of), context)
        engine = Engine(session)
        self._server.start(monitor, engine)
        status = program.run(
            opened.project,
            config,
            context,
            self._server.address,
            environment=self._target.environment,
            reporter=session.reporter,
        )
        if status != 0 and not session.failed.is_set() and not engine.errors.is_set():
            session.reporter.says("", "error", f"the program ended with exit status {status}")
        if status != 0 or session.failed.is_set() or engine.errors.is_set():
            return False, None
        if monitor.stack_outputs is not None:
            name = f"{opened.project.name}-{self._target.stack}"
            stack = urns.make(self._target.stack, opened.project.name, "", urns.STACK_TYPE, name)
            session.set_outputs(stack, monitor.stack_outputs)
        self._delete_the_rest()
        policies.examine_stack()
        return True, monitor.stack_outputs

    def _delete_the_rest(self) -> None:
        """Deletes what the program no longer declares, and what was replaced."""
        session = self._session
        slots = session.old if session.preview else session.store.slots()
        rest = {slot: resource for slot, resource in slots.items() if slot not in session.kept}
        if session.preview:
            rest = {slot: one for slot, one in rest.items() if slot not in session.replaced}
        deletion.refuse_protected(session, [slot for slot in rest if slot not in session.replaced])
        deletion.delete_all(session, rest)

    def _outputs_of(self, name: str) -> Properties:
        """The outputs of another stack of the same backend."""
        fields = name.split("/")
        if len(fields) not in (1, 3) or (len(fields) == 3 and fields[0] != ORGANIZATION):
            raise EngineError(f"stack reference {name!r}: expected <stack> or {ORGANIZATION}/<project>/<stack>")
        project = fields[1] if len(fields) == 3 else self._opened.project.name
        store = Store(self._target.state, project, fields[-1], self._opened.sealer)
        if not store.path.exists():
            raise EngineError(f"stack reference {name!r}: there is no such stack in {self._target.state}")
        return store.load().outputs()


def _tell_pending(store: Store, before: Snapshot, reporter: Reporter, *, preview: bool) -> None:
    for pending in before.pending:
        told = f"the last operation broke off while {pending.operation} it"
        if pending.operation == "creating":
            told += (
                "; if the provider did make it, nobody knows its id: delete or import it by hand if it is in the way"
            )
        reporter.says(pending.urn, "warning", told)
    if before.pending and not preview:
        store.forget_pending()


def _as_values(config: Config) -> dict[str, Value]:
    return {key: secret(value) if key in config.secret_keys else value for key, value in config.values.items()}
