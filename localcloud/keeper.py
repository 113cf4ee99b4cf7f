"""The clouds' groups at work: a thread that launches, ends and replaces their members as machines and clock say."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from localcloud.fabric.fabric import MachineState, Status
from localcloud.provider import groups
from localcloud.provider.ledger import Ledger
from localcloud.provider.members import MEMBER, machine_id
from localcloud.provider.world import World

log = logging.getLogger("localcloud")
SECONDS = 0.5
"""Between two looks."""

Advance = Callable[[Ledger, Callable[[], Mapping[str, Status]], float], Sequence[groups.PressPower]]


class Machines(Protocol):
    """What the keeper sees of the fabric."""

    def machines(self) -> Sequence[MachineState]:
        """Every machine."""
        ...

    def press_power(self, node: str, /) -> None:
        """Tell a machine to shut down."""
        ...


class Keeper:
    """Takes one step of the groups after the other until it is ended."""

    def __init__(self, ledger: Ledger, fabric: Machines, advance: Advance = groups.advance) -> None:
        self._ledger = ledger
        self._fabric = fabric
        self._advance = advance
        self._due, self._ending = threading.Event(), threading.Event()
        self._matched = False
        self._phases: Mapping[str, str] = _phases(ledger)
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="groups")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._due.set()

    def end(self) -> None:
        """Return when the step under way has ended."""
        self._ending.set()
        self._due.set()
        self._thread.join()

    def turn(self) -> None:
        """Take one step. What goes wrong is told when it first does, and tried again."""
        try:
            self._match()
            for effect in self._advance(self._ledger, self._statuses, time.time()):
                log.info("%s: its power button is pressed", effect.node)
                self._fabric.press_power(effect.node)
        except Exception as error:
            if self._told != str(error):
                self._told = str(error)
                log.exception("the groups could not be kept")
        else:
            self._told = ""
        self._tell()

    def _run(self) -> None:
        while not self._ending.is_set():
            self.turn()
            self._due.wait(SECONDS)
            self._due.clear()

    def _match(self) -> None:
        """Once: a daemon that was killed may have made members that the world does not know of, and ended others.

        One that was ended stays so: made again it would be the same instance with an empty disk.
        """
        if self._matched:
            return
        there = {machine.spec.id: machine.spec for machine in self._fabric.machines()}

        def remove_ended(world: World) -> None:
            for member in [*world.all(MEMBER)]:
                if machine_id(member) not in there:
                    world.remove(member)

        if any(spec.pool for spec in there.values()) or any(True for _ in self._ledger.world.all(MEMBER)):
            self._ledger.change(remove_ended)
        self._matched = True

    def _tell(self) -> None:
        """Log which members came, went and changed."""
        now = _phases(self._ledger)
        for node in sorted(now.keys() | self._phases.keys()):
            if now.get(node) != self._phases.get(node):
                log.info("%s: %s", node, now.get(node, "gone"))
        self._phases = now

    def _statuses(self) -> dict[str, Status]:
        return {machine.spec.id: machine.status for machine in self._fabric.machines()}


def _phases(ledger: Ledger) -> dict[str, str]:
    """Node -> where each member of a group is in its life."""
    return {member.node: member.phase for pool in groups.pools(ledger.world) for member in pool.members}
