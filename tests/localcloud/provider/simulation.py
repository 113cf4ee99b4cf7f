"""Groups in simulated time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from localcloud.provider import groups, members
from localcloud.provider.groups import Pool
from localcloud.provider.members import MEMBER, Status
from localcloud.provider.world import Record, World
from tests.localcloud.provider.harness import Harness
from tests.localcloud.provider.scenery import Made

AWS, GCP = "aws-burst", "gcp-burst"


@dataclass
class Simulation:
    """The clouds with a clock of their own, and machines that run as soon as they are there."""

    clouds: Harness
    made: Made
    now: float = 1_800_000_000.0
    ended: dict[str, Status] = field(default_factory=dict[str, Status])
    """Machines that run no more."""
    pressed: list[str] = field(default_factory=list[str])
    """Nodes whose power button was pressed."""

    @property
    def world(self) -> World:
        return self.clouds.ledger.world

    def states(self) -> dict[str, Status]:
        there: list[str] = [*self.clouds.fabric.history[-1]] if self.clouds.fabric.history else []
        return {machine: self.ended.get(machine, "running") for machine in there}

    def step(self, seconds: float = 0.5) -> None:
        """Let time pass, and the groups look once."""
        self.now += seconds
        effects = groups.advance(self.clouds.ledger, self.states, self.now)
        self.pressed += [effect.node for effect in effects]

    def settle(self) -> None:
        """Step until the groups have nothing to do at this moment."""
        while True:
            before = self.world
            self.step(0)
            if self.world.same(before):
                return

    def pool(self, name: str) -> Pool:
        return next(pool for pool in groups.pools(self.world) if pool.name == name)

    def nodes(self, name: str) -> list[str]:
        return [member.node for member in self.pool(name).members]

    def phases(self, name: str) -> Counter[str]:
        return Counter(member.phase for member in self.pool(name).members)

    def record(self, node: str) -> Record:
        return next(member for member in self.world.all(MEMBER) if members.node(member) == node)

    def end(self, node: str, status: Status = "stopped") -> None:
        """The machine of that node ends."""
        self.ended[members.machine_id(self.record(node))] = status

    def scale(self, pool: str, size: int) -> None:
        self.clouds.ledger.change(lambda world: groups.scale(world, pool, size))

    def interrupt(self, node: str, after: float | None = None) -> float:
        return self.clouds.ledger.change(lambda world: groups.interrupt(world, node, self.now, after))

    def rebalance(self, node: str) -> None:
        self.clouds.ledger.change(lambda world: groups.rebalance(world, node, self.now))
