"""What an instance is launched with, be it declared or described by a template: image, key, groups, metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable

from localcloud.provider.clouds.aws import images
from localcloud.provider.clouds.aws.common import GROUP, KEY_PAIR, VPC, missing, region_of
from localcloud.provider.kind import Check
from localcloud.provider.rules.aws import GROUPS_PER_INTERFACE, INSTANCE_TYPES, METADATA_TAG_KEY
from localcloud.provider.world import Record, World


def check_image(check: Check, path: str, id_: str | None, type_: str | None) -> None:
    """The image has to exist in the region, and to be made for the instance type's processor."""
    region = region_of(check.inputs, check.config)
    image = images.by_id(id_, region)
    if id_ is not None and image is None and region is not None:
        word = (
            "NotFound: The image id '[{}]' does not exist"
            if re.fullmatch(r"ami-[0-9a-f]{8,17}", id_)
            else 'Malformed: Invalid id: "{}"'
        )
        check.refuse(path, f"InvalidAMIID.{word.format(id_)} (in the local cloud every image comes from ec2.getAmi)")
    if image is not None and type_ in INSTANCE_TYPES and INSTANCE_TYPES[type_] != image.architecture:
        check.refuse(
            path,
            f"InvalidParameterValue: The architecture '{INSTANCE_TYPES[type_]}' of the specified "
            f"instance type does not match the architecture '{image.architecture}' of the "
            "specified AMI",
        )


def check_key(check: Check) -> None:
    """The key pair of `keyName` has to exist."""
    region, name = region_of(check.inputs, check.config), check.inputs.text("keyName")
    planned = (KEY_PAIR, f"{region}/{name}") in check.planned
    if name is not None and not planned and not find_key(check.world, name, region):
        check.refuse("keyName", f"InvalidKeyPair.NotFound: The key pair '{name}' does not exist")


def find_key(world: World, name: str, region: str | None) -> Record | None:
    """The key pair of that name in the region."""
    return next((key for key in world.all(KEY_PAIR) if key.id == name and key.facts.text("region") == region), None)


def check_groups(check: Check, path: str, ids: list[str], vpc: str | None, subnet: Record | None) -> None:
    """Security groups have to exist, in the VPC of the subnet where one is known."""
    if len(ids) > GROUPS_PER_INTERFACE:
        check.refuse(
            path, f"SecurityGroupsPerInterfaceLimitExceeded: {len(ids)} groups, the limit is {GROUPS_PER_INTERFACE}"
        )
    for index, id_ in enumerate(ids):
        home = vpc_of_group(id_, check.world)
        if home is None:
            check.refuse(f"{path}[{index}]", missing("Group", id_))
        elif subnet is not None and home != vpc:
            check.refuse(
                f"{path}[{index}]",
                f"InvalidParameter: Security group {id_} and subnet {subnet.id} belong to different networks.",
            )


def vpc_of_group(id_: str, world: World) -> str | None:
    """The id of the VPC that has the group, which may be its own default one."""
    group = world.get(GROUP, id_)
    default = next((vpc for vpc in world.all(VPC) if vpc.facts.text("group") == id_), None)
    return group.inputs.text("vpcId") if group else default.id if default else None


def check_metadata_options(check: Check, tags: Iterable[str]) -> None:
    """Options of the metadata service, and tags that can be told there."""
    options = check.inputs
    for name in ("httpEndpoint", "instanceMetadataTags", "httpProtocolIpv6"):
        check.one_of(name, ("enabled", "disabled"), f'expected {name} to be one of ["disabled" "enabled"], got {{}}')
    check.one_of(
        "httpTokens", ("optional", "required"), 'expected httpTokens to be one of ["optional" "required"], got {}'
    )
    limit = options.number("httpPutResponseHopLimit")
    if limit is not None and not 1 <= limit <= 64:
        check.refuse(
            "httpPutResponseHopLimit", f"expected httpPutResponseHopLimit to be in the range (1 - 64), got {limit}"
        )
    for key in tags if options.text("instanceMetadataTags") == "enabled" else ():
        if not re.fullmatch(METADATA_TAG_KEY, key) or key in (".", "..", "_index"):
            check.refuse(
                "instanceMetadataTags", f"InvalidParameterValue: '{key}' is not a valid tag key for instance metadata"
            )
