"""Tokens, regions, tags and names: what Amazon's kinds have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import ClassVar

from localcloud.provider import members
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.rules.aws import (
    REGIONS,
    TAG_KEY_CHARACTERS,
    TAG_VALUE_CHARACTERS,
    TAGS_PER_RESOURCE,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

VPC = "aws:ec2/vpc:Vpc"
SUBNET = "aws:ec2/subnet:Subnet"
GATEWAY = "aws:ec2/internetGateway:InternetGateway"
ROUTE_TABLE = "aws:ec2/routeTable:RouteTable"
ROUTE = "aws:ec2/route:Route"
ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation"
KEY_PAIR = "aws:ec2/keyPair:KeyPair"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
INGRESS_RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS_RULE = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
INSTANCE = "aws:ec2/instance:Instance"
EIP = "aws:ec2/eip:Eip"
EIP_ASSOCIATION = "aws:ec2/eipAssociation:EipAssociation"
LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
SCALING_GROUP = "aws:autoscaling/group:Group"
LIFECYCLE_HOOK = "aws:autoscaling/lifecycleHook:LifecycleHook"
ROLE = "aws:iam/role:Role"
INSTANCE_PROFILE = "aws:iam/instanceProfile:InstanceProfile"

ACCOUNT = "123456789012"


class AwsKind(Kind):
    """A kind with a region, an ARN and tags; the region always replaces it."""

    prefix: ClassVar[str]
    """What its ids begin with."""
    arn: ClassVar[str | None] = None
    """The resource type in its ARN."""
    tagged: ClassVar[bool] = True
    unsupported: ClassVar[Iterable[str]] = ()
    """Properties that the local cloud cannot honour."""

    def check(self, check: Check) -> None:
        region = region_of(check.inputs, check.config)
        if region is None:
            if check.inputs.known("region"):
                check.refuse(
                    "region", "Invalid Configuration: Missing Region: set aws:region, or region on the resource"
                )
        elif region not in REGIONS:
            check.refuse("region", f"Invalid AWS Region: {region}")
        if self.tagged:
            check_tags(check)
        for name in self.unsupported:
            if check.inputs.given(name):
                check.refuse(name, f"the local cloud cannot honour {name}")

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        return path == "region" or super().replaces(path, old, new)

    def make(self, inputs: Inputs, world: World, config: Mapping[str, str], **facts: Value) -> Record:
        """Put a new record with an id of this kind into the world."""
        facts["region"] = region_of(inputs, config)
        return world.put(Record(self.token, world.hex_id(f"{self.prefix}-"), inputs.values, facts))

    def outputs(self, record: Record, world: World) -> dict[str, Value]:
        region = record.facts.text("region")
        common: dict[str, Value] = {"region": region}
        if self.tagged:
            common["tagsAll"] = {**record.inputs.mapping("tags")}
        if self.arn is not None:
            common["arn"] = f"arn:aws:ec2:{region}:{ACCOUNT}:{self.arn}/{record.id}"
        return {**common, **super().outputs(record, world)}


def every_instance(world: World) -> Iterator[Record]:
    """Everything that runs: the declared instances, and those that groups launched."""
    return chain(world.all(INSTANCE), members.members(world, "aws"))


def region_of(inputs: Inputs, config: Mapping[str, str]) -> str | None:
    """The region of a resource: its own, else the provider's."""
    return inputs.text("region") or (None if inputs.given("region") else config.get("region"))


def check_tags(check: Check, name: str = "tags") -> None:
    """Limits: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html"""
    tags = check.inputs.mapping(name)
    if len(tags) > TAGS_PER_RESOURCE:
        check.refuse(name, f"TagLimitExceeded: {len(tags)} tags, the limit is {TAGS_PER_RESOURCE}")
    for key, value in tags.items():
        path = f"{name}.{key}"
        if key.lower().startswith("aws:"):
            check.refuse(
                path, f"InvalidParameterValue: Value ( {key} ) for parameter tag key is invalid: aws: is reserved"
            )
        if not 1 <= len(key) <= TAG_KEY_CHARACTERS:
            check.refuse(
                path, f"InvalidParameterValue: Tag key exceeds the maximum length of {TAG_KEY_CHARACTERS} characters"
            )
        if len(value) > TAG_VALUE_CHARACTERS:
            check.refuse(
                path,
                f"InvalidParameterValue: Tag value exceeds the maximum length of {TAG_VALUE_CHARACTERS} characters",
            )


def exists(check: Check, token: str, path: str, id_: str | None, what: str) -> Record | None:
    """The resource that a property names, in the resource's own region; refused when there is none."""
    if id_ is None:
        return None
    record = check.world.get(token, id_)
    if record is None or record.facts.text("region") != region_of(check.inputs, check.config):
        check.refuse(path, missing(what, id_))
        return None
    return record


def missing(what: str, id_: str | None) -> str:
    """EC2's way to say that something does not exist; `what` is the code's first word: Vpc, Subnet …"""
    word = re.sub(r"(?<!^)(?=[A-Z])", " ", what).lower()
    return f"Invalid{what}{'' if what in ('Group', 'KeyPair') else 'ID'}.NotFound: The {word} '{id_}' does not exist"


def need(world: World, token: str, id_: str | None, what: str) -> Record:
    """The resource with that id. Raises CloudError."""
    record = world.get(token, id_)
    if record is None:
        raise CloudError(missing(what, id_))
    return record


def in_use(word: str, id_: str, users: list[Record]) -> None:
    """Raise CloudError when anything still depends on the resource."""
    if users:
        raise CloudError(
            f"DependencyViolation: The {word} '{id_}' has dependencies and cannot be deleted ({users[0].id})"
        )
