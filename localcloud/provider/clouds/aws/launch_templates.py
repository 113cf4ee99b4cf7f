"""Launch templates and their versions."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from localcloud.provider.clouds.aws import launching
from localcloud.provider.clouds.aws.common import INSTANCE_PROFILE, LAUNCH_TEMPLATE, AwsKind, check_tags, region_of
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Naming
from localcloud.provider.rules.aws import (
    INSTANCE_TYPES,
    LAUNCH_TEMPLATE_NAME,
    TAGGED_AT_LAUNCH,
    USER_DATA_BYTES,
    VOLUME_THROUGHPUT,
    VOLUME_TYPES,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_OF_THE_TEMPLATE = ("defaultVersion", "name", "namePrefix", "region", "tags", "updateDefaultVersion")
"""What is said of the template itself, in no version: ec2_launch_template.go (resourceLaunchTemplateUpdate)."""
_NO_CARD = (
    "associateCarrierIpAddress",
    "connectionTrackingSpecification",
    "enaSrdSpecification",
    "interfaceType",
    "ipv4AddressCount",
    "ipv4Addresses",
    "ipv4PrefixCount",
    "ipv4Prefixes",
    "ipv6AddressCount",
    "ipv6Addresses",
    "ipv6PrefixCount",
    "ipv6Prefixes",
    "networkInterfaceId",
    "primaryIpv6",
    "privateIpAddress",
    "subnetId",
)


class LaunchTemplate(AwsKind):
    """Its name alone replaces it: terraform-provider-aws, internal/service/ec2/ec2_launch_template.go (ForceNew)."""

    token = LAUNCH_TEMPLATE
    prefix = "lt"
    arn = "launch-template"
    naming = Naming(longest=128, unless="namePrefix")
    replace = frozenset({"name", "namePrefix"})
    unsupported = (
        "capacityReservationSpecification",
        "cpuOptions",
        "enclaveOptions",
        "hibernationOptions",
        "instanceRequirements",
        "kernelId",
        "licenseSpecifications",
        "networkPerformanceOptions",
        "placement",
        "privateDnsNameOptions",
        "ramDiskId",
        "secondaryInterfaces",
        "securityGroupNames",
    )
    defaults: ClassVar[Mapping[str, Value]] = {"namePrefix": ""}

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        _check_name(check)
        type_ = inputs.text("instanceType")
        check.one_of("instanceType", INSTANCE_TYPES, "InvalidInstanceType: Invalid value '{}' for InstanceType")
        launching.check_image(check, "imageId", inputs.text("imageId"), type_)
        launching.check_key(check)
        _check_user_data(check)
        launching.check_groups(check, "vpcSecurityGroupIds", inputs.texts("vpcSecurityGroupIds"), None, None)
        _check_card(check)
        _check_volumes(check)
        _check_choices(check)
        _check_profile(check)
        _check_tags(check)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        name = inputs.text("name") or f"{inputs.text('namePrefix')}{world.next('template name'):026d}"
        return self.make(inputs, world, config, name=name, versions=[_version(inputs)], default=1)

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        versions = list(record.facts.objects("versions"))
        if _version(inputs) != _version(record.inputs):
            versions.append(Inputs(_version(inputs)))
        wanted = inputs.number("defaultVersion")
        default = len(versions) if inputs.flag("updateDefaultVersion") else wanted or record.facts.number("default")
        if default is None or default > len(versions):
            raise CloudError(
                f"InvalidLaunchTemplateId.VersionNotFound: Could not find the specified version {default} for the "
                f"launch template with ID {record.id}."
            )
        facts: dict[str, Value] = {**record.state, "versions": [{**v.values} for v in versions], "default": default}
        return world.put(replace(record, properties=inputs.values, state=facts))

    def renewed(self, old: Inputs, new: Inputs) -> frozenset[str]:
        if _version(old) == _version(new):
            return frozenset()
        return frozenset({"latestVersion", "defaultVersion"} if new.flag("updateDefaultVersion") else {"latestVersion"})

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {
            "defaultVersion": record.facts.number("default"),
            "latestVersion": len(record.facts.objects("versions")),
            "name": record.facts.text("name"),
        }


def find(world: World, reference: Inputs, region: str | None, prefix: str = "") -> Record | None:
    """The template that `id` or `name`, or (prefix) `launchTemplateId` or `launchTemplateName`, stands for."""
    id_, name = (
        reference.text(f"{prefix}Id" if prefix else "id"),
        reference.text(f"{prefix}Name" if prefix else "name"),
    )
    for template in world.all(LAUNCH_TEMPLATE):
        if template.facts.text("region") == region and (template.id == id_ or template.facts.text("name") == name):
            return template
    return None


def version(template: Record, wanted: str | None) -> Inputs | None:
    """What a version says: `$Latest`, `$Default` (also when none is named) or a number; None where there is none."""
    versions = template.facts.objects("versions")
    default = template.facts.number("default") or 1
    match wanted:
        case None | "" | "$Default":
            return versions[default - 1]
        case "$Latest":
            return versions[-1]
        case _:
            number = int(wanted) if wanted.isdecimal() else 0
            return versions[number - 1] if 1 <= number <= len(versions) else None


def card(data: Inputs) -> Inputs:
    """The one network interface of a version; nothing is said of it where there is none."""
    return next(iter(data.objects("networkInterfaces")), Inputs({}))


def group_ids(data: Inputs) -> list[str]:
    """The security groups that a version names."""
    return data.texts("vpcSecurityGroupIds") or card(data).texts("securityGroups")


def instance_tags(data: Inputs) -> dict[str, str]:
    """The tags that a version gives the instances."""
    found = [entry for entry in data.objects("tagSpecifications") if entry.text("resourceType") == "instance"]
    return found[0].mapping("tags") if found else {}


def is_spot(data: Inputs) -> bool:
    """Whether a version asks for spot instances by itself."""
    return (data.object("instanceMarketOptions") or Inputs({})).text("marketType") == "spot"


def _version(inputs: Inputs) -> dict[str, Value]:
    return {name: value for name, value in inputs.values.items() if name not in _OF_THE_TEMPLATE}


def _check_name(check: Check) -> None:
    name, region = check.inputs.text("name"), region_of(check.inputs, check.config)
    if name is not None and not re.fullmatch(LAUNCH_TEMPLATE_NAME, name):
        check.refuse(
            "name",
            f"InvalidLaunchTemplateName.MalformedException: '{name}' is not valid: 3 to 128 letters, digits and ().-/_",
        )
    if check.inputs.given("defaultVersion") and check.inputs.given("updateDefaultVersion"):
        check.refuse("defaultVersion", '"default_version": conflicts with update_default_version')
    if name is not None and not check.same("name") and find(check.world, Inputs({"name": name}), region):
        check.refuse("name", "InvalidLaunchTemplateName.AlreadyExistsException: Launch template name already in use.")


def _check_user_data(check: Check) -> None:
    text = check.inputs.text("userData")
    if text is None:
        return
    try:
        raw = base64.b64decode(text, validate=True)
        raw.decode()
    except (binascii.Error, UnicodeDecodeError):
        check.refuse(
            "userData",
            "InvalidUserData.Malformed: Invalid BASE64 encoding of user data: a launch template takes it in base64 "
            "(the local cloud does not unpack gzip)",
        )
        return
    if len(raw) > USER_DATA_BYTES:
        check.refuse(
            "userData", f"InvalidUserData.Malformed: User data is limited to {USER_DATA_BYTES} bytes, has {len(raw)}"
        )


def _check_card(check: Check) -> None:
    inputs = check.inputs
    cards = inputs.objects("networkInterfaces")
    if len(cards) > 1:
        check.refuse("networkInterfaces", "the local cloud gives an instance one network interface")
    if cards and inputs.given("vpcSecurityGroupIds"):
        check.refuse(
            "vpcSecurityGroupIds",
            "InvalidParameterCombination: Network interfaces and an instance-level security groups may not be "
            "specified on the same request",
        )
    for index, entry in enumerate(cards):
        path = f"networkInterfaces[{index}]"
        if entry.number("deviceIndex") not in (None, 0) or entry.number("networkCardIndex") not in (None, 0):
            check.refuse(
                f"{path}.deviceIndex", "InvalidParameterCombination: the primary network interface has device index 0"
            )
        for name in ("associatePublicIpAddress", "deleteOnTermination"):
            _check_flag(check, entry, name, path)
        for name in _NO_CARD:
            if entry.given(name):
                check.refuse(f"{path}.{name}", f"the local cloud cannot honour {name}")
        launching.check_groups(check, f"{path}.securityGroups", entry.texts("securityGroups"), None, None)


def _check_volumes(check: Check) -> None:
    for index, mapping in enumerate(check.inputs.objects("blockDeviceMappings")):
        path, volume = f"blockDeviceMappings[{index}]", mapping.object("ebs")
        if not mapping.given("deviceName"):
            check.refuse(f"{path}.deviceName", "MissingParameter: The request must contain the parameter deviceName")
        if volume is None:
            continue
        for name in ("deleteOnTermination", "encrypted"):
            _check_flag(check, volume, name, f"{path}.ebs")
        type_, size, throughput = volume.text("volumeType"), volume.number("volumeSize"), volume.number("throughput")
        if type_ is not None and type_ not in VOLUME_TYPES:
            check.refuse(
                f"{path}.ebs.volumeType", f"expected volumeType to be one of {list(VOLUME_TYPES)}, got {type_}"
            )
        if size is not None and size < 8:
            check.refuse(
                f"{path}.ebs.volumeSize",
                f"InvalidBlockDeviceMapping: Volume of size {size}GB is smaller than snapshot, expect size >= 8GB",
            )
        least, most = VOLUME_THROUGHPUT
        if throughput is not None and not least <= throughput <= most:
            check.refuse(
                f"{path}.ebs.throughput", f"expected throughput to be in the range ({least} - {most}), got {throughput}"
            )
        if throughput is not None and type_ not in (None, "gp3"):
            check.refuse(
                f"{path}.ebs.throughput",
                f"InvalidParameterCombination: throughput is not supported for {type_} volumes",
            )


def _check_flag(check: Check, holder: Inputs, name: str, path: str) -> None:
    text = holder.text(name)
    if text not in (None, "", "true", "false"):
        check.refuse(f"{path}.{name}", f'expected {name} to be one of ["", "true", "false"], got {text}')


def _check_choices(check: Check) -> None:
    inputs = check.inputs
    check.one_of(
        "instanceInitiatedShutdownBehavior",
        ("stop", "terminate"),
        'expected instance_initiated_shutdown_behavior to be one of ["stop" "terminate"], got {}',
    )
    market = inputs.object("instanceMarketOptions")
    if market is not None:
        inner = check.within(market)
        inner.one_of("marketType", ("spot",), "the local cloud knows the market type spot, not {}")
        spot = market.object("spotOptions") or Inputs({})
        if spot.text("spotInstanceType") == "persistent":
            inner.refuse(
                "spotOptions.spotInstanceType",
                "InvalidParameterValue: the spot instance type of a template for Auto Scaling has to be one-time",
            )
        if spot.text("instanceInterruptionBehavior") not in (None, "terminate"):
            inner.refuse(
                "spotOptions.instanceInterruptionBehavior",
                "InvalidParameterValue: instances of Auto Scaling groups are terminated when they are interrupted",
            )
        check.adopt(inner, "instanceMarketOptions")
    options = inputs.object("metadataOptions")
    if options is not None:
        inner = check.within(options)
        launching.check_metadata_options(inner, instance_tags(inputs))
        check.adopt(inner, "metadataOptions")


def _check_profile(check: Check) -> None:
    profile = check.inputs.object("iamInstanceProfile")
    if profile is None:
        return
    if profile.given("name") and profile.given("arn"):
        check.refuse(
            "iamInstanceProfile.arn", '"iam_instance_profile.0.arn": conflicts with iam_instance_profile.0.name'
        )
    for key in ("name", "arn"):
        text = profile.text(key)
        name = (text or "").rpartition("/")[2] if key == "arn" else text
        if not name or (INSTANCE_PROFILE, name) in check.planned:
            continue
        if check.world.get(INSTANCE_PROFILE, name) is None:
            check.refuse(
                f"iamInstanceProfile.{key}",
                f"InvalidParameterValue: Value ({text}) for parameter iamInstanceProfile.{key} is invalid. Invalid IAM "
                f"Instance Profile {key}",
            )


def _check_tags(check: Check) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(check.inputs.objects("tagSpecifications")):
        path, type_ = f"tagSpecifications[{index}]", entry.text("resourceType")
        if type_ is not None and type_ not in TAGGED_AT_LAUNCH:
            check.refuse(
                f"{path}.resourceType",
                f"InvalidParameterValue: '{type_}' is not a valid taggable resource type for this operation: "
                f"{', '.join(TAGGED_AT_LAUNCH)}",
            )
        if type_ in seen:
            check.refuse(
                f"{path}.resourceType",
                f"InvalidParameterValue: The same resource type may not be specified more than once in tag "
                f"specifications ({type_})",
            )
        seen |= {type_} if type_ else set()
        inner = check.within(entry)
        check_tags(inner)
        check.adopt(inner, path)


KINDS: tuple[Kind, ...] = (LaunchTemplate(),)
