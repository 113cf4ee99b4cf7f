"""What Amazon refuses of Auto Scaling groups and lifecycle hooks.

Sources: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateAutoScalingGroup.html, and
terraform-provider-aws, internal/service/autoscaling/group.go and lifecycle_hook.go.
"""

from __future__ import annotations

import re

from localcloud.provider.clouds.aws import images, launch_templates, launching
from localcloud.provider.clouds.aws.common import SUBNET, check_tags, region_of
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check
from localcloud.provider.rules.aws import (
    HOOK_NAME,
    HOOK_SECONDS,
    INSTANCE_TYPES,
    LAUNCHING,
    ON_DEMAND_STRATEGIES,
    OVERRIDES_PER_GROUP,
    SPOT_STRATEGIES,
    TERMINATING,
)
from localcloud.provider.world import Record
from localcloud.wire import Value

_DURATION = r"0|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+"


def check_sizes(check: Check) -> None:
    """Least, most and wanted number of instances."""
    inputs = check.inputs
    least, most, desired = (inputs.number(name) for name in ("minSize", "maxSize", "desiredCapacity"))
    for name in ("minSize", "maxSize", "desiredCapacity"):
        if (inputs.number(name) or 0) < 0:
            check.refuse(name, f"ValidationError: {name} {inputs.number(name)} must be greater than or equal to 0")
    if least is not None and most is not None and least > most:
        check.refuse(
            "maxSize", f"ValidationError: Max bound, {most}, must be greater than or equal to min bound, {least}"
        )
    elif desired is not None and least is not None and most is not None and not least <= desired <= most:
        check.refuse(
            "desiredCapacity",
            f"ValidationError: Desired capacity:{desired} must be between the specified min size:{least} and max "
            f"size:{most}",
        )


def check_launch(check: Check) -> None:
    """Template, instance types, subnets, and whether they fit together."""
    inputs = check.inputs
    sources = ("launchConfiguration", "launchTemplate", "mixedInstancesPolicy")
    if len([name for name in sources if inputs.given(name)]) != 1:
        check.refuse(
            "launchTemplate",
            '"launch_template": one of `launch_configuration,launch_template,mixed_instances_policy` must be specified',
        )
    subnets = _subnets(check)
    data = _template(check)
    overrides = _check_policy(check, data)
    types = [text for entry in overrides if (text := entry.text("instanceType")) is not None]
    if data is None:
        return
    path = reference(inputs)[2]
    if not data.given("imageId"):
        check.refuse(path, _malformed("The request must contain the parameter ImageId"))
    if not data.given("instanceType") and not overrides and inputs.known("mixedInstancesPolicy"):
        check.refuse(path, _malformed("The request must contain the parameter InstanceType"))
    image = images.by_id(data.text("imageId"), region_of(inputs, check.config))
    for type_ in types:
        if image is not None and INSTANCE_TYPES.get(type_, image.architecture) != image.architecture:
            check.refuse(
                path,
                _malformed(
                    f"The architecture '{INSTANCE_TYPES[type_]}' of the specified instance type {type_} does not match "
                    f"the architecture '{image.architecture}' of the specified AMI"
                ),
            )
    for group in launch_templates.group_ids(data):
        home = launching.vpc_of_group(group, check.world)
        for subnet in subnets:
            if home != subnet.inputs.text("vpcId"):
                check.refuse(
                    path,
                    _malformed(f"The security group '{group}' does not exist in VPC '{subnet.inputs.text('vpcId')}'"),
                )


def check_options(check: Check) -> None:
    """The rest of a group's options, and its tags."""
    inputs = check.inputs
    check.one_of("healthCheckType", ("EC2",), "the local cloud has no load balancers: the health check type is EC2")
    check.one_of("metricsGranularity", ("1Minute",), 'expected metrics_granularity to be "1Minute", got {}')
    for name in ("healthCheckGracePeriod", "defaultCooldown", "defaultInstanceWarmup"):
        if (inputs.number(name) or 0) < 0:
            check.refuse(name, f"ValidationError: {name} must be greater than or equal to 0")
    timeout = inputs.text("waitForCapacityTimeout")
    if timeout is not None and not re.fullmatch(_DURATION, timeout):
        check.refuse(
            "waitForCapacityTimeout",
            f'"wait_for_capacity_timeout" cannot be parsed as a duration: time: invalid duration "{timeout}"',
        )
    names = [hook.text("name") for hook in inputs.objects("initialLifecycleHooks")]
    if len(set(names)) < len(names):
        check.refuse("initialLifecycleHooks", "ValidationError: Lifecycle hook names must be unique within a group")
    keys: set[str] = set()
    for index, tag in enumerate(inputs.objects("tags")):
        key = tag.text("key")
        if key is None:
            continue
        value: Value = tag.text("value")
        inner = check.within(Inputs({"tags": {key: value}}))
        check_tags(inner)
        for failure in inner.failures:
            check.refuse(f"tags[{index}]", failure.reason)
        if key in keys:
            check.refuse(f"tags[{index}]", f"ValidationError: Duplicate keys found in tags list: {key}")
        keys.add(key)


def check_hook(check: Check) -> None:
    """A lifecycle hook, initial or declared by itself."""
    inputs = check.inputs
    name, seconds = inputs.text("name"), inputs.number("heartbeatTimeout")
    least, most, _ = HOOK_SECONDS
    if name is not None and not re.fullmatch(HOOK_NAME, name):
        check.refuse("name", 'no spaces or special characters except "-", "_", and "/", 1 to 255 characters')
    if seconds is not None and not least <= seconds <= most:
        check.refuse(
            "heartbeatTimeout", f"expected heartbeat_timeout to be in the range ({least} - {most}), got {seconds}"
        )
    check.one_of(
        "defaultResult", ("CONTINUE", "ABANDON"), 'expected default_result to be one of ["CONTINUE" "ABANDON"], got {}'
    )
    transition = inputs.text("lifecycleTransition")
    if transition == LAUNCHING:
        check.refuse("lifecycleTransition", f"the local cloud cannot honour hooks on {LAUNCHING}")
    else:
        check.one_of(
            "lifecycleTransition",
            (TERMINATING,),
            f'expected lifecycle_transition to be one of ["{LAUNCHING}" "{TERMINATING}"], got {{}}',
        )
    for name in ("notificationTargetArn", "roleArn"):
        if inputs.given(name):
            check.refuse(name, f"the local cloud cannot honour {name}")


def reference(inputs: Inputs) -> tuple[Inputs, str, str]:
    """Where a group names its template, what the names of the properties begin with there, and its path."""
    policy = inputs.object("mixedInstancesPolicy")
    if policy is None:
        return inputs.object("launchTemplate") or Inputs({}), "", "launchTemplate"
    outer = policy.object("launchTemplate") or Inputs({})
    path = "mixedInstancesPolicy.launchTemplate.launchTemplateSpecification"
    return outer.object("launchTemplateSpecification") or Inputs({}), "launchTemplate", path


def _template(check: Check) -> Inputs | None:
    """What the named version of the template says; refused when there is none, None too when it is not known yet."""
    named, prefix, path = reference(check.inputs)
    id_key, name_key = (f"{prefix}Id", f"{prefix}Name") if prefix else ("id", "name")
    if not any(check.inputs.given(name) for name in ("launchTemplate", "mixedInstancesPolicy")):
        return None
    if named.values and named.given(id_key) == named.given(name_key):
        check.refuse(path, f"ValidationError: Valid requests must contain either {id_key} or {name_key}, and not both")
        return None
    id_, name = named.text(id_key), named.text(name_key)
    if id_ is None and name is None:
        return None
    found = launch_templates.find(check.world, named, region_of(check.inputs, check.config), prefix)
    if found is None:
        what, told = ("Id", f"ID {id_}") if id_ else ("Name", f"name {name}")
        check.refuse(
            path,
            f"InvalidLaunchTemplate{what}.NotFound: The specified launch template, with template {told}, does not "
            "exist.",
        )
        return None
    wanted = named.text("version")
    if not named.known("version"):
        return None
    data = launch_templates.version(found, wanted)
    if data is None:
        check.refuse(
            f"{path}.version",
            f"InvalidLaunchTemplateId.VersionNotFound: Could not find the specified version {wanted} for the launch "
            f"template with ID {found.id}.",
        )
    return data


def _subnets(check: Check) -> list[Record]:
    inputs = check.inputs
    if not inputs.given("vpcZoneIdentifiers") and inputs.known("vpcZoneIdentifiers"):
        check.refuse("vpcZoneIdentifiers", "ValidationError: At least one Availability Zone or VPC Subnet is required.")
    found: list[Record] = []
    for index, id_ in enumerate(inputs.texts("vpcZoneIdentifiers")):
        record = check.world.get(SUBNET, id_)
        if record is None or record.facts.text("region") != region_of(inputs, check.config):
            check.refuse(f"vpcZoneIdentifiers[{index}]", f"ValidationError: The subnet ID '{id_}' does not exist")
        else:
            found.append(record)
    if len({subnet.inputs.text("vpcId") for subnet in found}) > 1:
        check.refuse("vpcZoneIdentifiers", "ValidationError: The subnets of a group have to be in one VPC")
    return found


def _check_policy(check: Check, data: Inputs | None) -> list[Inputs]:
    """The mixed instances policy; answers its overrides."""
    policy = check.inputs.object("mixedInstancesPolicy")
    if policy is None:
        return []
    path = "mixedInstancesPolicy"
    if data is not None and data.given("instanceMarketOptions"):
        check.refuse(
            path,
            _malformed("Incompatible launch template: instance market options cannot be used with a mixed policy"),
        )
    distribution = policy.object("instancesDistribution")
    if distribution is not None:
        inner = check.within(distribution)
        _check_distribution(inner)
        check.adopt(inner, f"{path}.instancesDistribution")
    overrides = (policy.object("launchTemplate") or Inputs({})).objects("overrides")
    if len(overrides) > OVERRIDES_PER_GROUP:
        check.refuse(
            f"{path}.launchTemplate.overrides",
            f"ValidationError: {len(overrides)} overrides, the limit is {OVERRIDES_PER_GROUP}",
        )
    for index, entry in enumerate(overrides):
        inner = check.within(entry)
        for name in ("instanceRequirements", "launchTemplateSpecification", "weightedCapacity"):
            if entry.given(name):
                inner.refuse(name, f"the local cloud cannot honour {name}")
        inner.one_of("instanceType", INSTANCE_TYPES, "ValidationError: The instance type '{}' does not exist")
        if not entry.given("instanceType"):
            inner.refuse("instanceType", "ValidationError: an override has to name an instance type")
        check.adopt(inner, f"{path}.launchTemplate.overrides[{index}]")
    types = [entry.text("instanceType") for entry in overrides if entry.text("instanceType")]
    if len(set(types)) < len(types):
        check.refuse(
            f"{path}.launchTemplate.overrides", "ValidationError: The overrides name an instance type more than once"
        )
    return overrides


def _check_distribution(check: Check) -> None:
    inputs = check.inputs
    check.one_of(
        "onDemandAllocationStrategy",
        ON_DEMAND_STRATEGIES,
        "ValidationError: '{}' is not a valid on-demand allocation strategy: " + ", ".join(ON_DEMAND_STRATEGIES),
    )
    check.one_of(
        "spotAllocationStrategy",
        SPOT_STRATEGIES,
        "ValidationError: '{}' is not a valid spot allocation strategy: " + ", ".join(SPOT_STRATEGIES),
    )
    base, percent = inputs.number("onDemandBaseCapacity"), inputs.number("onDemandPercentageAboveBaseCapacity")
    if base is not None and base < 0:
        check.refuse("onDemandBaseCapacity", f"expected on_demand_base_capacity to be at least (0), got {base}")
    if percent is not None and not 0 <= percent <= 100:
        check.refuse(
            "onDemandPercentageAboveBaseCapacity",
            f"expected on_demand_percentage_above_base_capacity to be in the range (0 - 100), got {percent}",
        )
    strategy = inputs.text("spotAllocationStrategy")
    if inputs.given("spotInstancePools") and strategy not in (None, "lowest-price"):
        check.refuse(
            "spotInstancePools",
            f"ValidationError: SpotInstancePools is only available with the lowest-price strategy, not {strategy}",
        )
    price = inputs.text("spotMaxPrice")
    if price and not re.fullmatch(r"\d+(\.\d+)?", price):
        check.refuse("spotMaxPrice", f"ValidationError: Invalid spot price {price}")


def _malformed(reason: str) -> str:
    return f"ValidationError: You must use a valid fully-formed launch template. {reason}"
