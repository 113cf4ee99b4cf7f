"""What managed instance groups do: launch, repair and delete instances until there are as many as they shall have.

https://cloud.google.com/compute/docs/instance-groups/about-repair: an instance that stops is made anew under its name;
https://cloud.google.com/compute/docs/instances/spot#preemption-process: a preempted one is told by its power button.
"""

from __future__ import annotations

import hashlib
import math

from localcloud.provider import members
from localcloud.provider.clouds.gcp.common import GROUP_MANAGER, every_instance
from localcloud.provider.clouds.gcp.instances import subnet_of
from localcloud.provider.clouds.gcp.managers import repairs_with_update, size_refused, zones_of
from localcloud.provider.clouds.gcp.networks import draw, pick
from localcloud.provider.clouds.gcp.templates import templates_of
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import CloudError
from localcloud.provider.members import MEMBER, PressPower
from localcloud.provider.rules.gcp import GROUP_SIZE, PREEMPTION_SECONDS, STOP_SECONDS
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_COPIED = (
    "canIpForward",
    "labels",
    "machineType",
    "metadata",
    "networkInterfaces",
    "scheduling",
    "serviceAccount",
    "tags",
)
_SUFFIX = "0123456789bcdfghjklmnpqrstvwxz"


def step(world: World, states: members.States, now: float) -> list[PressPower]:
    """Bring every group a step nearer to what it shall be; answers whose power button is pressed."""
    pressed: list[PressPower] = []
    for group in [*world.all(GROUP_MANAGER)]:
        vacant = _end(group, world, states, now)
        _shrink(group, world, now)
        _grow(group, vacant, world, now)
        pressed += _press(group, world)
    return pressed


def scale(group: Record, size: int, world: World) -> None:
    """Resize the group. Raises CloudError for a size that none can have."""
    if not 0 <= size <= GROUP_SIZE:
        raise CloudError(size_refused(size))
    world.note(group, desired=size)


def interrupt(member: Record, after: float | None, world: World, now: float) -> float:
    """Preempt a spot instance; answers in how many seconds it is taken. Raises CloudError for others."""
    if not is_spot(member):
        raise CloudError(
            f"googleapi: Error 400: Invalid value for field 'instance': '{members.node(member)}' ({member.id}) is not "
            "preemptible: it is no spot instance., invalid"
        )
    seconds = PREEMPTION_SECONDS if after is None else after
    world.note(member, notice={"kind": "preempted", "time": math.ceil(now + seconds)})
    return seconds


def is_spot(member: Record) -> bool:
    """Whether it may be preempted."""
    scheduling = member.inputs.object("scheduling") or Inputs({})
    return scheduling.flag("preemptible") or scheduling.text("provisioningModel") == "SPOT"


def pool_of(group: Record, world: World) -> str:
    """The pool that the group's instances are of, by their label `pool`; without one the group's own name."""
    found = templates_of(group, world)
    return (found[0].inputs.mapping("labels").get("pool") if found else None) or group.inputs.text("name") or ""


def _end(group: Record, world: World, states: members.States, now: float) -> list[Record]:
    """Take away what ended or had its time; answers those that nobody told to go, whose places are vacant."""
    vacant: list[Record] = []
    for member in members.of_group(world, group):
        settled = members.settle(member, states, world)
        if settled is None or members.is_due(settled, now):
            world.remove(member)
            if members.is_working(member):
                vacant.append(member)
    return vacant


def _shrink(group: Record, world: World, now: float) -> None:
    staying = _staying(group, world)
    for _ in range(len(staying) - (group.facts.number("desired") or 0)):
        gone = members.first_to_go(staying)
        staying.remove(gone)
        world.note(gone, phase="terminating", deadline=math.ceil(now + STOP_SECONDS))


def _grow(group: Record, vacant: list[Record], world: World, now: float) -> None:
    """Launch what is missing, first into the places of those that were lost."""
    found = templates_of(group, world)
    missing = (group.facts.number("desired") or 0) - len(_staying(group, world))
    for index in range(missing if found else 0):
        if not _launch(group, found[0], vacant[index] if index < len(vacant) else None, world, now):
            return


def _press(group: Record, world: World) -> list[PressPower]:
    """Press the power button of those that go, once."""
    pressed: list[PressPower] = []
    for member in members.of_group(world, group):
        told = not members.is_working(member) or member.facts.given("notice")
        if told and not member.facts.flag("pressed"):
            world.note(member, pressed=True)
            pressed.append(PressPower(members.node(member)))
    return pressed


def _staying(group: Record, world: World) -> list[Record]:
    return [member for member in members.of_group(world, group) if members.is_working(member)]


def _launch(group: Record, template: Record, lost: Record | None, world: World, now: float) -> bool:
    """Whether an instance could be launched: there has to be an address for it."""
    project, region = group.facts.text("project"), group.facts.text("place")
    properties = {**lost.properties} if lost and not repairs_with_update(group) else _described(template)
    card = Inputs(properties).objects("networkInterfaces")[0]
    subnet = subnet_of(card, world, project, region)
    private = pick(subnet, world) if subnet is not None else ""
    if subnet is None or not private:
        return False
    try:
        public = draw(world) if card.given("accessConfigs") else None
    except CloudError:
        return False
    zone = lost.facts.text("place") if lost else None
    if zone is None:
        zone = members.fewest(zones_of(group), _staying(group, world), lambda member: member.facts.text("place"))
    properties["name"] = (lost.inputs.text("name") if lost else None) or _name(group, world)
    properties["zone"] = zone
    facts: dict[str, Value] = {
        "cloud": "gcp",
        "group": group.id,
        "launched": int(now),
        "phase": "pending",
        "place": zone,
        "pool": pool_of(group, world),
        "private": private,
        "project": project,
        "public": public,
        "subnetwork": subnet.id,
        "zone": zone,
    }
    number = _number(world)
    world.put(Record(MEMBER, number, properties, {**facts, "number": number}))
    return True


def _described(template: Record) -> dict[str, Value]:
    """What the template says, in the properties of an instance."""
    disk = template.inputs.objects("disks")[0]
    told: dict[str, Value] = {name: template.inputs.values.get(name) for name in _COPIED}
    told["bootDisk"] = {"initializeParams": {"image": disk.text("sourceImage")}}
    return {name: value for name, value in told.items() if value is not None}


def _name(group: Record, world: World) -> str:
    """The base name, a hyphen and 4 characters that no instance has."""
    taken = {instance.inputs.text("name") for instance in every_instance(world)}
    while True:
        digest = hashlib.sha256(f"{group.id}{world.next('gcp member name')}".encode()).digest()
        name = f"{group.inputs.text('baseInstanceName')}-" + "".join(
            _SUFFIX[byte % len(_SUFFIX)] for byte in digest[:4]
        )
        if name not in taken:
            return name


def _number(world: World) -> str:
    """An instance id of 19 digits; the last 8 alone, which name a member, differ for the first hundred million."""
    count = world.next("gcp instance")
    high = int.from_bytes(hashlib.sha256(str(count).encode()).digest()[:8], "big") % 90_000_000_000
    return str(10**18 + high * 10**8 + count * 48_271_639 % 10**8)
