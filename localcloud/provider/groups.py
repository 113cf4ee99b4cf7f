"""Groups of machines at work, in every cloud: a step at a time, and what a cloud does to members on demand.

Pure, but for `advance`: a step changes the world that it is given, by what the machines and the clock say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localcloud.provider import members
from localcloud.provider.clouds.aws import fleet as aws
from localcloud.provider.clouds.aws.common import SCALING_GROUP
from localcloud.provider.clouds.aws.scaling import pool_of as aws_pool
from localcloud.provider.clouds.gcp import fleet as gcp
from localcloud.provider.clouds.gcp.common import GROUP_MANAGER
from localcloud.provider.kind import CloudError
from localcloud.provider.ledger import Ledger
from localcloud.provider.members import MEMBER, PressPower, States, Status
from localcloud.provider.rules.gcp import GROUP_SIZE
from localcloud.provider.world import Record, World

__all__ = ["Member", "Pool", "PressPower", "States", "Status"]


@dataclass(frozen=True)
class Member:
    """A member of a pool's group."""

    node: str
    id: str
    """The cloud's id of the instance."""
    phase: str
    machine_id: str
    """The fabric's id of its machine."""


@dataclass(frozen=True)
class Pool:
    """A pool with the group that keeps its members."""

    name: str
    cloud: str
    group: str
    """The id of the group's record."""
    desired: int
    minimum: int
    maximum: int
    members: tuple[Member, ...]


def step(world: World, states: States, now: float) -> tuple[PressPower, ...]:
    """Bring every group a step nearer to what it shall be; `now` in unix seconds. Answers what is to be done at once.

    Ends what had its time or ended by itself, lets go whom there is no more need of, launches what is missing.
    """
    aws.step(world, states, now)
    return tuple(gcp.step(world, states, now))


def advance(ledger: Ledger, states: Callable[[], States], now: float) -> tuple[PressPower, ...]:
    """Take a step in the ledger's world, if there is anything to do in it: else nothing is applied nor written.

    Machines are looked at only where there are groups. Raises what `Ledger.change` does.
    """
    draft = ledger.world
    if not any(True for token in (SCALING_GROUP, GROUP_MANAGER, MEMBER) for _ in draft.all(token)):
        return ()
    found = states()
    before = draft.copy()
    step(draft, found, now)
    return () if draft.same(before) else ledger.change(lambda world: step(world, found, now))


def pools(world: World) -> list[Pool]:
    """Every pool that a group keeps."""
    found: list[Pool] = []
    for group in world.all(SCALING_GROUP):
        least, most = (group.inputs.number(name) or 0 for name in ("minSize", "maxSize"))
        found.append(_pool(group, aws_pool(group, world), "aws", least, most, world))
    for group in world.all(GROUP_MANAGER):
        found.append(_pool(group, gcp.pool_of(group, world), "gcp", 0, GROUP_SIZE, world))
    return found


def scale(world: World, pool: str, size: int) -> None:
    """Let the pool have `size` members. Raises CloudError when it cannot, or when no group keeps such a pool."""
    known = pools(world)
    for found in known:
        if found.name == pool:
            token, act = (SCALING_GROUP, aws.scale) if found.cloud == "aws" else (GROUP_MANAGER, gcp.scale)
            group = world.get(token, found.group)
            assert group is not None
            act(group, size, world)
            return
    names = ", ".join(each.name for each in known) or "none"
    raise CloudError(f"no group keeps a pool {pool!r}; pools with groups: {names}")


def interrupt(world: World, node: str, now: float, after: float | None = None) -> float:
    """Take the member back, after the cloud's notice; answers in how many seconds. Raises CloudError.

    `after` takes the place of the cloud's time: 120 s at AWS, 30 s at GCP.
    """
    member = _member(world, node)
    act = aws.interrupt if member.facts.text("cloud") == "aws" else gcp.interrupt
    return act(member, after, world, now)


def rebalance(world: World, node: str, now: float) -> None:
    """Tell that the member is at elevated risk of interruption. Raises CloudError where a cloud does not."""
    member = _member(world, node)
    if member.facts.text("cloud") != "aws":
        raise CloudError(f"{node} is at GCP, which recommends no rebalancing: AWS alone does")
    aws.rebalance(member, world, now)


def _pool(group: Record, name: str, cloud: str, least: int, most: int, world: World) -> Pool:
    found = tuple(
        Member(members.node(member), member.id, members.phase(member), members.machine_id(member))
        for member in members.of_group(world, group)
    )
    return Pool(name, cloud, group.id, group.facts.number("desired") or 0, least, most, found)


def _member(world: World, node: str) -> Record:
    known = {members.node(member): member for member in world.all(MEMBER)}
    if node not in known:
        raise CloudError(f"no group has a member {node!r}; members: {', '.join(sorted(known)) or 'none'}")
    return known[node]
