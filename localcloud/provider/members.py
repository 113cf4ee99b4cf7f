"""Members of groups: machines that a cloud's group launches by itself, records of their own in the world.

A member's properties are those of an instance, as the template said them at its launch: a template that changes later
changes nothing about it. What the cloud knows of it are facts: `cloud`, `group` (id of the group's record), `pool`,
`zone`, `phase`, `launched` and `deadline` (unix seconds), `notice` ({kind, time}), `rebalance` (unix seconds), and the
addresses under the names that the cloud's instances have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from localcloud.provider.inputs import Inputs
from localcloud.provider.world import Record, World
from overlay.pools import member_name

MEMBER = "localcloud:member"
Phase = Literal["pending", "in-service", "terminating-wait", "terminating"]
Status = Literal["running", "booting", "stopped", "crashed"]
States = Mapping[str, Status]
"""Machine id -> how the machine is now; one that is not there has not been made yet."""


@dataclass(frozen=True)
class PressPower:
    """The cloud presses the machine's power button: it shuts down cleanly, and nobody waits for it."""

    node: str


def members(world: World, cloud: str) -> Iterator[Record]:
    """Every member of a cloud's groups, oldest first."""
    return (member for member in world.all(MEMBER) if member.facts.text("cloud") == cloud)


def of_group(world: World, group: Record) -> list[Record]:
    """The group's members, oldest first."""
    return [member for member in world.all(MEMBER) if member.facts.text("group") == group.id]


def node(member: Record) -> str:
    """The name that commands know the member by: its pool's, and the end of its instance id."""
    return member_name(member.facts.text("pool") or "", member.id)


def machine_id(member: Record) -> str:
    """The id under which the fabric has its machine."""
    return f"gcp-{member.id}" if member.facts.text("cloud") == "gcp" else member.id


def phase(member: Record) -> str:
    """Where it is in its life."""
    return member.facts.text("phase") or ""


def is_working(member: Record) -> bool:
    """Whether it is not on its way out."""
    return phase(member) in ("pending", "in-service")


def settle(member: Record, states: States, world: World) -> Record | None:
    """The member with its phase brought up to what its machine does now; None when the machine has ended."""
    match states.get(machine_id(member)):
        case "stopped" | "crashed":
            return None
        case "running" if phase(member) == "pending":
            return world.note(member, phase="in-service")
        case _:
            return member


def is_due(member: Record, now: float) -> bool:
    """Whether the cloud has given it all the time that it gets."""
    notice = member.facts.object("notice") or Inputs({})
    times = (member.facts.number("deadline"), notice.number("time"))
    return any(time is not None and now >= time for time in times)


def fewest(places: Iterable[str], taken: Iterable[Record], place: Callable[[Record], str | None]) -> str:
    """The place with the fewest members; the first of several."""
    counts = dict.fromkeys(places, 0)
    for member in taken:
        if (found := place(member)) in counts:
            counts[found] += 1
    return min(counts, key=lambda name: counts[name])


def first_to_go(candidates: list[Record]) -> Record:
    """Whom a group that shrinks lets go: the oldest of the zone that has the most."""
    zones = [member.facts.text("zone") for member in candidates]
    return max(candidates, key=lambda member: zones.count(member.facts.text("zone")))


def clock(seconds: float) -> str:
    """A time as the clouds write it: ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
