"""Auto Scaling groups and their lifecycle hooks, as they are declared; what groups do is in `fleet`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from localcloud.provider.clouds.aws import launch_templates, scaling_checks
from localcloud.provider.clouds.aws.common import (
    ACCOUNT,
    LIFECYCLE_HOOK,
    SCALING_GROUP,
    SUBNET,
    AwsKind,
    region_of,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Naming
from localcloud.provider.members import of_group
from localcloud.provider.rules.aws import HOOK_SECONDS, TERMINATING
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class Group(AwsKind):
    """Name and initial hooks replace it: terraform-provider-aws, internal/service/autoscaling/group.go (ForceNew)."""

    token = SCALING_GROUP
    tagged = False
    naming = Naming(unless="namePrefix")
    replace = frozenset({"name", "namePrefix", "initialLifecycleHooks"})
    unsupported = (
        "availabilityZoneDistribution",
        "availabilityZones",
        "capacityReservationSpecification",
        "context",
        "desiredCapacityType",
        "instanceLifecyclePolicy",
        "instanceMaintenancePolicy",
        "instanceRefresh",
        "launchConfiguration",
        "loadBalancers",
        "maxInstanceLifetime",
        "minElbCapacity",
        "placementGroup",
        "protectFromScaleIn",
        "serviceLinkedRoleArn",
        "suspendedProcesses",
        "targetGroupArns",
        "terminationPolicies",
        "trafficSources",
        "waitForElbCapacity",
        "warmPool",
    )
    defaults: ClassVar[Mapping[str, Value]] = {
        "defaultCooldown": 300,
        "forceDelete": False,
        "forceDeleteWarmPool": False,
        "healthCheckGracePeriod": 300,
        "healthCheckType": "EC2",
        "ignoreFailedScalingActivities": False,
        "metricsGranularity": "1Minute",
        "namePrefix": "",
        "predictedCapacity": 0,
        "protectFromScaleIn": False,
        "waitForCapacityTimeout": "10m",
        "warmPoolSize": 0,
    }

    def check(self, check: Check) -> None:
        super().check(check)
        name = check.inputs.text("name")
        if name is not None and not re.fullmatch(r"[^\x00-\x1f:]{1,255}", name):
            check.refuse("name", "ValidationError: the name has 1 to 255 printable characters and no colon")
        if name is not None and not check.same("name") and check.world.get(self.token, name):
            check.refuse(
                "name",
                "AlreadyExists: AutoScalingGroup by this name already exists - A group with the name "
                f"{name} already exists",
            )
        scaling_checks.check_sizes(check)
        scaling_checks.check_launch(check)
        scaling_checks.check_options(check)
        for index, hook in enumerate(check.inputs.objects("initialLifecycleHooks")):
            inner = check.within(hook)
            scaling_checks.check_hook(inner)
            check.adopt(inner, f"initialLifecycleHooks[{index}]")

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        return inputs.text("name")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        name = inputs.text("name") or f"{inputs.text('namePrefix')}{world.next('group name'):026d}"
        desired = inputs.number("desiredCapacity")
        facts: dict[str, Value] = {
            "region": region_of(inputs, config),
            "desired": inputs.number("minSize") if desired is None else desired,
            "number": world.hex_id("")[1:],
        }
        return world.put(Record(self.token, name, inputs.values, facts))

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        wanted, desired = inputs.number("desiredCapacity"), record.facts.number("desired") or 0
        if wanted is not None and wanted != record.inputs.number("desiredCapacity"):
            desired = wanted
        least, most = inputs.number("minSize") or 0, inputs.number("maxSize") or 0
        facts: dict[str, Value] = {**record.state, "desired": min(max(desired, least), most)}
        return world.put(replace(record, properties=inputs.values, state=facts))

    def delete(self, record: Record, world: World) -> None:
        left = of_group(world, record)
        if left and not record.inputs.flag("forceDelete"):
            raise CloudError(
                "ResourceInUse: You cannot delete an AutoScalingGroup while there are instances or pending Spot "
                f"instance request(s) still in the group ({left[0].id}): scale it to 0, or set forceDelete"
            )
        for gone in [*left, *(hook for hook in world.all(LIFECYCLE_HOOK) if _group_of(hook) == record.id)]:
            world.remove(gone)
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        inputs, region = record.inputs, record.facts.text("region")
        subnets = [world.get(SUBNET, id_) for id_ in inputs.texts("vpcZoneIdentifiers")]
        zones = sorted({subnet.facts.text("zone") or "" for subnet in subnets if subnet is not None})
        number = record.facts.text("number")
        return {
            "arn": f"arn:aws:autoscaling:{region}:{ACCOUNT}:autoScalingGroup:{number}:autoScalingGroupName/{record.id}",
            "availabilityZones": [*zones],
            "desiredCapacity": record.facts.number("desired"),
            "name": record.id,
            "serviceLinkedRoleArn": f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/autoscaling.amazonaws.com/"
            "AWSServiceRoleForAutoScaling",
        }


class LifecycleHook(AwsKind):
    """Group and name replace it: terraform-provider-aws, internal/service/autoscaling/lifecycle_hook.go."""

    token = LIFECYCLE_HOOK
    tagged = False
    naming = Naming()
    replace = frozenset({"autoscalingGroupName", "name"})

    def check(self, check: Check) -> None:
        super().check(check)
        inputs, world = check.inputs, check.world
        group, name = inputs.text("autoscalingGroupName"), inputs.text("name")
        if group is not None and (SCALING_GROUP, group) not in check.planned and not world.get(SCALING_GROUP, group):
            check.refuse("autoscalingGroupName", f"ValidationError: AutoScalingGroup name not found - {group}")
        unchanged = check.same("name") and check.same("autoscalingGroupName")
        if group is not None and name is not None and not unchanged and world.get(self.token, f"{group}/{name}"):
            check.refuse("name", f"AlreadyExists: the group {group} has a lifecycle hook {name} already")
        scaling_checks.check_hook(check)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        id_ = f"{inputs.text('autoscalingGroupName')}/{inputs.text('name')}"
        return world.put(Record(self.token, id_, inputs.values, {"region": region_of(inputs, config)}))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        given = record.inputs
        return {
            "defaultResult": given.text("defaultResult") or "ABANDON",
            "heartbeatTimeout": given.number("heartbeatTimeout") or HOOK_SECONDS[2],
        }


def leave_seconds(group: Record, world: World) -> int | None:
    """How long an instance that is to go may take over it; None where no hook makes the group wait."""
    declared = [hook.inputs for hook in world.all(LIFECYCLE_HOOK) if _group_of(hook) == group.id]
    hooks = (*group.inputs.objects("initialLifecycleHooks"), *declared)
    times = [hook.number("heartbeatTimeout") or HOOK_SECONDS[2] for hook in hooks if _ends(hook)]
    return max(times, default=None)


def pool_of(group: Record, world: World) -> str:
    """The pool that the group's instances are of, by their tag `pool`; without one the group's own name."""
    return tags_of(group, world).get("pool") or group.id


def tags_of(group: Record, world: World) -> dict[str, str]:
    """The tags of the group's new instances: those of the template, and those that the group hands on."""
    template = template_of(group, world)
    own = {
        tag.text("key") or "": tag.text("value") or ""
        for tag in group.inputs.objects("tags")
        if tag.flag("propagateAtLaunch")
    }
    return {**(launch_templates.instance_tags(template) if template else {}), **own}


def template_of(group: Record, world: World) -> Inputs | None:
    """What the template says that the group launches from now; None when it or the version is gone."""
    reference, prefix, _ = scaling_checks.reference(group.inputs)
    found = launch_templates.find(world, reference, group.facts.text("region"), prefix)
    return launch_templates.version(found, reference.text("version")) if found else None


def _group_of(hook: Record) -> str | None:
    return hook.inputs.text("autoscalingGroupName")


def _ends(hook: Inputs) -> bool:
    return hook.text("lifecycleTransition") == TERMINATING


KINDS: tuple[Kind, ...] = (Group(), LifecycleHook())
