"""What Auto Scaling groups do: launch and end instances until there are as many as they shall have.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html and, for capacity rebalancing,
https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-capacity-rebalancing.html: the group launches
the replacement of an instance at risk first, and lets the instance go through the lifecycle hooks once it is there.
"""

from __future__ import annotations

import math

from localcloud.provider import members
from localcloud.provider.clouds.aws import launch_templates, scaling
from localcloud.provider.clouds.aws.common import SCALING_GROUP, SUBNET
from localcloud.provider.clouds.aws.instances import draw, private_address
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import CloudError
from localcloud.provider.members import MEMBER
from localcloud.provider.rules.aws import INTERRUPTION_SECONDS
from localcloud.provider.world import Record, World
from localcloud.wire import Value

CHECK_SECONDS = 15
"""From the launch of an instance until the group takes it for healthy. At Amazon's it is minutes; here machines boot in
seconds, and one at risk is to see the recommendation before it has to go."""


def step(world: World, states: members.States, now: float) -> None:
    """Bring every group a step nearer to what it shall be."""
    for group in [*world.all(SCALING_GROUP)]:
        _end(group, world, states, now)
        _shrink(group, world, now)
        _grow(group, world, now)


def scale(group: Record, size: int, world: World) -> None:
    """Set the desired capacity. Raises CloudError outside the group's bounds."""
    least, most = group.inputs.number("minSize") or 0, group.inputs.number("maxSize") or 0
    if not least <= size <= most:
        word, bound = ("below min", least) if size < least else ("above max", most)
        raise CloudError(
            f"ValidationError: New SetDesiredCapacity value {size} is {word} value {bound} for the AutoScalingGroup "
            f"{group.id}: the pool's min and max are {least} and {most}"
        )
    world.note(group, desired=size)


def interrupt(member: Record, after: float | None, world: World, now: float) -> float:
    """Give a spot instance its notice; answers in how many seconds it is taken. Raises CloudError for others."""
    _need_spot(member)
    seconds = INTERRUPTION_SECONDS if after is None else after
    world.note(member, notice={"kind": "terminate", "time": math.ceil(now + seconds)})
    return seconds


def rebalance(member: Record, world: World, now: float) -> None:
    """Tell that a spot instance is at elevated risk. Raises CloudError for others."""
    _need_spot(member)
    world.note(member, rebalance=int(now))


def is_spot(member: Record) -> bool:
    """Whether it is a spot instance."""
    return member.facts.text("lifecycle") == "spot"


def _need_spot(member: Record) -> None:
    if not is_spot(member):
        raise CloudError(f"InvalidParameterValue: {members.node(member)} ({member.id}) is not a spot instance")


def _end(group: Record, world: World, states: members.States, now: float) -> None:
    """Instances that ended are gone, and those that had their time."""
    for member in members.of_group(world, group):
        settled = members.settle(member, states, world)
        if settled is None or members.is_due(settled, now):
            world.remove(member)


def _shrink(group: Record, world: World, now: float) -> None:
    """Let those go that are too many, and those at risk for which there is a replacement."""
    desired = group.facts.number("desired") or 0
    staying = _staying(group, world)
    for _ in range(len(staying) - desired):
        gone = members.first_to_go(_surplus(group, staying, desired))
        staying.remove(gone)
        _let_go(gone, group, world, now)
    if len([member for member in staying if _is_healthy(member, now)]) >= desired:
        for member in members.of_group(world, group):
            at_risk = members.is_working(member) and _is_replaced(member, group)
            if at_risk and not member.facts.given("notice"):
                _let_go(member, group, world, now)


def _is_healthy(member: Record, now: float) -> bool:
    """Whether it has passed its checks, so that it can take the place of one at risk."""
    launched = member.facts.number("launched") or 0
    return members.phase(member) == "in-service" and now - launched >= CHECK_SECONDS


def _grow(group: Record, world: World, now: float) -> None:
    desired = group.facts.number("desired") or 0
    data = scaling.template_of(group, world)
    missing = desired - len(_staying(group, world))
    for _ in range(missing if data is not None else 0):
        if data is None or not _launch(group, data, world, now):
            return


def _staying(group: Record, world: World) -> list[Record]:
    """The instances that count as capacity: not those on their way out, nor those that are being replaced."""
    found = members.of_group(world, group)
    return [member for member in found if members.is_working(member) and not _is_replaced(member, group)]


def _is_replaced(member: Record, group: Record) -> bool:
    """Whether the group launches another one in its place before it goes."""
    at_risk = member.facts.given("notice") or member.facts.given("rebalance")
    return at_risk and group.inputs.flag("capacityRebalance")


def _surplus(group: Record, staying: list[Record], desired: int) -> list[Record]:
    """Of whom one has to go, so that the share of on-demand instances comes out right."""
    on_demand = [member for member in staying if not is_spot(member)]
    spot = [member for member in staying if is_spot(member)]
    return on_demand if len(on_demand) > _on_demand(group, desired) or not spot else spot


def _let_go(member: Record, group: Record, world: World, now: float) -> None:
    seconds = scaling.leave_seconds(group, world)
    if seconds is None:
        world.remove(member)
    else:
        world.note(member, phase="terminating-wait", deadline=math.ceil(now + seconds))


def _on_demand(group: Record, size: int) -> int:
    """How many of `size` instances are on demand: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_InstancesDistribution.html"""
    policy = group.inputs.object("mixedInstancesPolicy") or Inputs({})
    distribution = policy.object("instancesDistribution") or Inputs({})
    base = distribution.number("onDemandBaseCapacity") or 0
    percent = distribution.number("onDemandPercentageAboveBaseCapacity")
    above = max(size - base, 0)
    return min(size, base) + math.ceil(above * (100 if percent is None else percent) / 100)


def _launch(group: Record, data: Inputs, world: World, now: float) -> bool:
    """Whether an instance could be launched: there has to be an address for it."""
    staying = _staying(group, world)
    zones = group.inputs.texts("vpcZoneIdentifiers")
    subnet = world.get(SUBNET, members.fewest(zones, staying, lambda member: member.inputs.text("subnetId")))
    if subnet is None:
        return False
    card = launch_templates.card(data)
    wanted = card.text("associatePublicIpAddress")
    try:
        private = private_address(subnet, world)
        public = (
            draw(world)
            if wanted == "true" or (wanted in (None, "") and subnet.inputs.flag("mapPublicIpOnLaunch"))
            else None
        )
    except CloudError:
        return False
    spot, type_ = _purchase(group, data, staying)
    tags = {**scaling.tags_of(group, world), "aws:autoscaling:groupName": group.id}
    properties: dict[str, Value] = {
        "ami": data.text("imageId"),
        "iamInstanceProfile": _profile(data),
        "instanceType": type_,
        "keyName": data.text("keyName"),
        "metadataOptions": data.values.get("metadataOptions"),
        "subnetId": subnet.id,
        "tags": {**tags},
        "userDataBase64": data.text("userData"),
        "vpcSecurityGroupIds": [*launch_templates.group_ids(data)],
    }
    facts: dict[str, Value] = {
        "cloud": "aws",
        "group": group.id,
        "interface": world.hex_id("eni-"),
        "launched": int(now),
        "lifecycle": "spot" if spot else "on-demand",
        "phase": "pending",
        "pool": scaling.pool_of(group, world),
        "privateIp": private,
        "publicIp": public,
        "region": group.facts.text("region"),
        "zone": subnet.facts.text("zone"),
    }
    known: dict[str, Value] = {name: value for name, value in properties.items() if value is not None}
    world.put(Record(MEMBER, world.hex_id("i-"), known, facts))
    return True


def _purchase(group: Record, data: Inputs, staying: list[Record]) -> tuple[bool, str | None]:
    """Whether the next instance is a spot one, and its type: on demand the first, spot those that are fewest so far."""
    policy = group.inputs.object("mixedInstancesPolicy")
    if policy is None:
        return launch_templates.is_spot(data), data.text("instanceType")
    overrides = (policy.object("launchTemplate") or Inputs({})).objects("overrides")
    types = [text for entry in overrides if (text := entry.text("instanceType"))] or [data.text("instanceType") or ""]
    on_demand = [member for member in staying if not is_spot(member)]
    if len(on_demand) < _on_demand(group, group.facts.number("desired") or 0):
        return False, types[0]
    return True, members.fewest(types, staying, lambda member: member.inputs.text("instanceType"))


def _profile(data: Inputs) -> str | None:
    profile = data.object("iamInstanceProfile") or Inputs({})
    return profile.text("name") or (profile.text("arn") or "").rpartition("/")[2] or None
