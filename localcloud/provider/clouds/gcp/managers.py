"""Regional managed instance groups, as they are declared; what groups do is in `fleet`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from localcloud.provider.clouds.gcp.common import (
    API,
    GROUP_MANAGER,
    INSTANCE_TEMPLATE,
    GcpKind,
    not_found,
    place_of,
    project_of,
    refer,
)
from localcloud.provider.clouds.gcp.instances import subnet_of
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, Kind
from localcloud.provider.members import of_group
from localcloud.provider.rules.gcp import BASE_NAME, GROUP_SIZE, NAME, PERCENT_FROM, REGIONS, ZONES, ZONES_PER_GROUP
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_ACTIONS = ("NONE", "REFRESH", "RESTART", "REPLACE")
_SHAPES = ("EVEN", "BALANCED", "ANY", "ANY_SINGLE_ZONE")
_SURGE, _UNAVAILABLE = "maxSurge", "maxUnavailable"


class RegionInstanceGroupManager(GcpKind):
    """terraform-provider-google, resource_compute_region_instance_group_manager.go (ForceNew)."""

    token = GROUP_MANAGER
    collection = "instanceGroupManagers"
    scope = "region"
    title = "RegionInstanceGroupManager"
    replace = frozenset({"baseInstanceName", "description", "distributionPolicyZones", "params", "targetSizePolicies"})
    unsupported = (
        "allInstancesConfig",
        "autoHealingPolicies",
        "instanceFlexibilityPolicy",
        "params",
        "resourcePolicies",
        "standbyPolicy",
        "statefulDisks",
        "statefulExternalIps",
        "statefulInternalIps",
        "targetPools",
        "targetSizePolicies",
        "targetStoppedSize",
        "targetSuspendedSize",
    )
    defaults: ClassVar[Mapping[str, Value]] = {
        "distributionPolicyTargetShape": "EVEN",
        "listManagedInstancesResults": "PAGELESS",
        "targetStoppedSize": 0,
        "targetSuspendedSize": 0,
        "waitForInstances": False,
        "waitForInstancesStatus": "STABLE",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        base, size = inputs.text("baseInstanceName"), inputs.number("targetSize")
        if base is not None and not re.fullmatch(BASE_NAME, base):
            check.refuse("baseInstanceName", f'"base_instance_name" ("{base}") must be a match of regex {BASE_NAME}')
        if size is not None and not 0 <= size <= GROUP_SIZE:
            check.refuse("targetSize", size_refused(size))
        _check_zones(check)
        _check_versions(check)
        _check_policy(check)
        _check_lifecycle(check)
        check.one_of(
            "distributionPolicyTargetShape",
            _SHAPES,
            "googleapi: Error 400: Invalid value for field 'resource.distributionPolicy.targetShape': '{}', invalid",
        )
        check.one_of(
            "waitForInstancesStatus",
            ("STABLE", "UPDATED"),
            'expected wait_for_instances_status to be one of ["STABLE" "UPDATED"], got {}',
        )
        ports = inputs.objects("namedPorts")
        for index, port in enumerate(ports):
            name, number = port.text("name"), port.number("port")
            if name is not None and not re.fullmatch(NAME, name):
                check.refuse(f"namedPorts[{index}].name", f'"name" ("{name}") must be a match of regex {NAME}')
            if number is not None and not 1 <= number <= 65535:
                check.refuse(f"namedPorts[{index}].port", f"expected port to be in the range (1 - 65535), got {number}")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config, desired=inputs.number("targetSize") or 0)

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        wanted, desired = inputs.number("targetSize"), record.facts.number("desired")
        if wanted is not None and wanted != record.inputs.number("targetSize"):
            desired = wanted
        return world.put(replace(record, properties=inputs.values, state={**record.state, "desired": desired}))

    def delete(self, record: Record, world: World) -> None:
        super().delete(record, world)
        if world.get(self.token, record.id) is None:
            for member in of_group(world, record):
                world.remove(member)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {
            "distributionPolicyZones": [*zones_of(record)],
            "fingerprint": "42WmSpB8rSM=",
            "instanceGroup": f"{API}{record.id.replace('/instanceGroupManagers/', '/instanceGroups/')}",
            "instanceGroupManagerId": int(record.facts.text("number") or 0),
            "targetSize": record.facts.number("desired"),
        }


def zones_of(group: Record) -> list[str]:
    """The zones that the group launches in."""
    named = [zone.rpartition("/")[2] for zone in group.inputs.texts("distributionPolicyZones")]
    region = group.facts.text("place") or ""
    return named or [f"{region}-{letter}" for letter in REGIONS[region][0]][:ZONES_PER_GROUP]


def size_refused(size: int) -> str:
    """Why a group cannot have that size."""
    return (
        f"googleapi: Error 400: Invalid value for field 'size': '{size}'. Must be greater than or equal to 0 and at "
        f"most {GROUP_SIZE}., invalid"
    )


def repairs_with_update(group: Record) -> bool:
    """Whether an instance that is made anew gets the newest template; without it gets the one that it had.

    https://cloud.google.com/compute/docs/instance-groups/update-on-repair
    """
    policy = group.inputs.object("instanceLifecyclePolicy") or Inputs({})
    return policy.text("forceUpdateOnRepair") == "YES"


def _check_zones(check: Check) -> None:
    region = place_of("region", check.inputs, check.config)
    for index, text in enumerate(check.inputs.texts("distributionPolicyZones")):
        if region is not None and ZONES.get(text.rpartition("/")[2]) != region:
            check.refuse(
                f"distributionPolicyZones[{index}]",
                f"googleapi: Error 400: Invalid value for field 'resource.distributionPolicy.zones[{index}].zone': "
                f"'{text}'. Zone is not in the region {region}., invalid",
            )


def _check_versions(check: Check) -> None:
    versions = check.inputs.objects("versions")
    if check.inputs.known("versions") and len(versions) != 1:
        check.refuse("versions", f"the local cloud launches from one version, not {len(versions)}")
    region, project = place_of("region", check.inputs, check.config), project_of(check.inputs, check.config)
    for entry in versions[:1]:
        path = "versions[0].instanceTemplate"
        if entry.given("targetSize"):
            check.refuse(
                "versions[0].targetSize",
                "googleapi: Error 400: Invalid value for field 'resource.versions': one version has to be without a "
                "target size., invalid",
            )
        template = refer(check, INSTANCE_TEMPLATE, path, "versions[0].instanceTemplate", entry.text("instanceTemplate"))
        card = template.inputs.objects("networkInterfaces")[0] if template else None
        subnet = subnet_of(card, check.world, project, region) if card is not None else None
        if card is not None and (subnet is None or subnet.facts.text("place") != region):
            check.refuse(path, not_found("networkInterfaces[0].subnetwork", card.text("subnetwork")))


def _check_policy(check: Check) -> None:
    """https://cloud.google.com/compute/docs/instance-groups/rolling-out-updates-to-managed-instance-groups#parameters"""
    policy = check.inputs.object("updatePolicy")
    if policy is None:
        return
    inner = check.within(policy)
    if policy.text("type") == "PROACTIVE":
        inner.refuse("type", "the local cloud updates the instances of groups when they are replaced: OPPORTUNISTIC")
    else:
        inner.one_of("type", ("OPPORTUNISTIC",), 'expected type to be one of ["OPPORTUNISTIC" "PROACTIVE"], got {}')
    for name in ("minimalAction", "mostDisruptiveAllowedAction"):
        inner.one_of(name, _ACTIONS, f"expected {name} to be one of {list(_ACTIONS)}, got {{}}")
    inner.one_of(
        "instanceRedistributionType",
        ("PROACTIVE", "NONE"),
        'expected instance_redistribution_type to be one of ["PROACTIVE" "NONE" ""], got {}',
    )
    inner.one_of(
        "replacementMethod",
        ("RECREATE", "SUBSTITUTE"),
        'expected replacement_method to be one of ["RECREATE" "SUBSTITUTE" ""], got {}',
    )
    zones = len(check.inputs.texts("distributionPolicyZones")) or _zones_in(check)
    for name in (_SURGE, _UNAVAILABLE):
        fixed, percent = policy.number(f"{name}Fixed"), policy.number(f"{name}Percent")
        if policy.given(f"{name}Fixed") and policy.given(f"{name}Percent"):
            inner.refuse(f"{name}Percent", f'"update_policy.0.{name}Percent": conflicts with {name}Fixed')
        if fixed is not None and zones and fixed != 0 and fixed < zones:
            inner.refuse(
                f"{name}Fixed",
                f"googleapi: Error 400: Invalid value for field 'resource.updatePolicy.{name}.fixed': '{fixed}'. Fixed "
                f"updatePolicy.{name} for regional managed instance group has to be either 0 or at least equal to the "
                f"number of zones ({zones})., invalid",
            )
        if percent is not None and not 0 <= percent <= 100:
            inner.refuse(f"{name}Percent", f"expected {name}Percent to be in the range (0 - 100), got {percent}")
        if percent and (check.inputs.number("targetSize") or 0) < PERCENT_FROM:
            inner.refuse(
                f"{name}Percent",
                f"googleapi: Error 400: Invalid value for field 'resource.updatePolicy.{name}.percent': '{percent}'. "
                f"Percent may be used for groups of {PERCENT_FROM} or more instances., invalid",
            )
    _check_room(inner, policy)
    check.adopt(inner, "updatePolicy")


def _check_lifecycle(check: Check) -> None:
    policy = check.inputs.object("instanceLifecyclePolicy")
    if policy is None:
        return
    inner = check.within(policy)
    for name in ("onFailedHealthCheck", "onRepair"):
        if policy.given(name):
            inner.refuse(name, f"the local cloud cannot honour {name}")
    inner.one_of(
        "forceUpdateOnRepair", ("YES", "NO"), 'expected force_update_on_repair to be one of ["YES" "NO"], got {}'
    )
    inner.one_of("defaultActionOnFailure", ("REPAIR",), "the local cloud repairs what fails: REPAIR, not {}")
    check.adopt(inner, "instanceLifecyclePolicy")


def _check_room(check: Check, policy: Inputs) -> None:
    """An update has to be able to go on: by more instances, or by fewer."""

    def none_of(name: str) -> bool:
        return policy.number(f"{name}Fixed") == 0 and not policy.number(f"{name}Percent")

    if none_of(_SURGE) and none_of(_UNAVAILABLE):
        check.refuse(
            "maxUnavailableFixed",
            "googleapi: Error 400: Invalid value for field 'resource.updatePolicy.maxUnavailable': maxSurge and "
            "maxUnavailable cannot both be 0., invalid",
        )
    if policy.text("replacementMethod") == "RECREATE" and not none_of(_SURGE):
        check.refuse(
            "maxSurgeFixed",
            "googleapi: Error 400: Invalid value for field 'resource.updatePolicy.maxSurge': maxSurge must be equal to "
            "0 when replacement method is set to RECREATE., invalid",
        )


def _zones_in(check: Check) -> int:
    region = place_of("region", check.inputs, check.config)
    return min(len(REGIONS[region][0]), ZONES_PER_GROUP) if region in REGIONS else 0


KINDS: tuple[Kind, ...] = (RegionInstanceGroupManager(),)
