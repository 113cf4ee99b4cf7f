"""Security groups, and their rules as resources of their own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from localcloud.provider.clouds.aws.common import (
    ACCOUNT,
    EGRESS_RULE,
    GROUP,
    INGRESS_RULE,
    VPC,
    AwsKind,
    every_instance,
    exists,
    region_of,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Naming
from localcloud.provider.rules.aws import GROUP_TEXT, RULES_PER_GROUP
from localcloud.provider.world import Record, World
from localcloud.wire import Value

Direction = Literal["ingress", "egress"]
_PROTOCOLS = {"-1": "any", "tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "icmp": "icmp", "1": "icmp"}
_PROTOCOLS6 = {"icmpv6": "icmp", "58": "icmp"}
_SOURCES = ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId")


@dataclass(frozen=True)
class Permission:
    """One permission: what may pass, and the far ends as CIDRs and as groups."""

    protocol: str
    """tcp, udp, icmp or any."""
    ports: tuple[int, int] | None
    ranges: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def weight(self) -> int:
        """How much of the group's quota of rules it takes."""
        return len(self.ranges) + len(self.groups)


class SecurityGroup(AwsKind):
    """terraform-provider-aws, internal/service/ec2/vpc_security_group.go."""

    token = GROUP
    prefix = "sg"
    arn = "security-group"
    naming = Naming(unless="namePrefix")
    replace = frozenset({"name", "namePrefix", "description", "vpcId"})
    defaults: ClassVar[Mapping[str, Value]] = {
        "description": "Managed by Pulumi",
        "revokeRulesOnDelete": False,
        "namePrefix": "",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        for name in ("name", "description"):
            text = inputs.text(name)
            if text is not None and not re.fullmatch(GROUP_TEXT, text):
                check.refuse(
                    name,
                    f"InvalidParameterValue: Invalid security group {name}. Valid {name}s are strings of "
                    f"up to 255 characters from a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{{}}!$*",
                )
        if (inputs.text("name") or "").startswith("sg-"):
            check.refuse("name", "invalid value for name (cannot begin with sg-)")
        vpc = exists(check, VPC, "vpcId", inputs.text("vpcId"), "Vpc")
        if not inputs.given("vpcId"):
            check.refuse(
                "vpcId",
                "VPCIdNotSpecified: No default VPC for this user. GroupName is only supported for "
                "EC2-Classic and default VPC.",
            )
        name = inputs.text("name")
        if vpc is not None and name is not None and not (check.same("name") and check.same("vpcId")):
            twin = check.world.find(self.token, "name", name, vpcId=vpc.id)
            if twin is not None or name == "default":
                check.refuse(
                    "name", f"InvalidGroup.Duplicate: The security group '{name}' already exists for VPC '{vpc.id}'"
                )
        for direction in ("ingress", "egress"):
            weight = 0
            for index, rule in enumerate(inputs.objects(direction)):
                _check_inline(check, rule, f"{direction}[{index}]")
                weight += (
                    len(rule.texts("cidrBlocks"))
                    + len(rule.texts("ipv6CidrBlocks"))
                    + len(rule.texts("securityGroups"))
                )
            if weight > RULES_PER_GROUP:
                check.refuse(
                    direction,
                    "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group "
                    f"has been reached: {weight}, the limit is {RULES_PER_GROUP}",
                )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def delete(self, record: Record, world: World) -> None:
        for instance in every_instance(world):
            if record.id in instance.inputs.texts("vpcSecurityGroupIds"):
                raise CloudError(f"DependencyViolation: resource {record.id} has a dependent object ({instance.id})")
        for other in world.all(GROUP):
            if other.id != record.id and any(record.id in p.groups for p in permissions(other, world)):
                raise CloudError(f"DependencyViolation: resource {record.id} has a dependent object ({other.id})")
        for token in (INGRESS_RULE, EGRESS_RULE):
            for rule in [rule for rule in world.all(token) if rule.inputs.text("securityGroupId") == record.id]:
                world.remove(rule)
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        outputs: dict[str, Value] = {"ownerId": ACCOUNT}
        for direction in ("ingress", "egress"):
            if not record.inputs.given(direction):
                outputs[direction] = []
        return outputs


class _Rule(AwsKind):
    """In place, unless the kind of the far end changes: terraform-provider-aws, vpc_security_group_ingress_rule.go."""

    prefix = "sgr"
    arn = "security-group-rule"
    replace = frozenset({"securityGroupId"})
    unsupported = ("prefixListId",)
    direction: ClassVar[Direction]

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        group = exists(check, GROUP, "securityGroupId", inputs.text("securityGroupId"), "Group")
        if len([name for name in _SOURCES if inputs.given(name)]) != 1:
            check.refuse(
                "",
                "Exactly one of these attributes must be configured: "
                "[cidr_ipv4,cidr_ipv6,prefix_list_id,referenced_security_group_id]",
            )
        for name, version in (("cidrIpv4", 4), ("cidrIpv6", 6)):
            network = check.network(name)
            if network is not None and network.version != version:
                check.refuse(name, f"InvalidParameterValue: CIDR block {network} is malformed")
        exists(check, GROUP, "referencedSecurityGroupId", inputs.text("referencedSecurityGroupId"), "Group")
        _check_protocol(check, "ipProtocol", inputs)
        if group is None or any(not inputs.known(name) for name in (*_SOURCES, "fromPort", "toPort", "ipProtocol")):
            return
        mine = _permission(inputs, "ipProtocol")
        if check.old is not None and mine == _permission(check.old, "ipProtocol"):
            return
        others = [
            _permission(r.inputs, "ipProtocol")
            for r in check.world.all(self.token)
            if r.inputs.text("securityGroupId") == group.id
        ]
        if mine in others:
            peer = next(iter((*mine.ranges, *mine.groups)), "")
            check.refuse(
                "",
                f'InvalidPermission.Duplicate: the specified rule "peer: {peer}, '
                f"{mine.protocol.upper()}, from port: {inputs.number('fromPort')}, to port: "
                f'{inputs.number("toPort")}, ALLOW" already exists',
            )
        if (
            sum(p.weight for p in permissions(group, check.world, self.direction)) >= RULES_PER_GROUP
            and check.old is None
        ):
            check.refuse(
                "",
                "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group "
                f"has been reached: {RULES_PER_GROUP}",
            )

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        kinds = [[name for name in _SOURCES if inputs.given(name)] for inputs in (old, new)]
        return super().replaces(path, old, new) or (path in _SOURCES and kinds[0] != kinds[1])

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"securityGroupRuleId": record.id}


class IngressRule(_Rule):
    """What may come in."""

    token = INGRESS_RULE
    direction = "ingress"


class EgressRule(_Rule):
    """What may go out."""

    token = EGRESS_RULE
    direction = "egress"


def permissions(group: Record, world: World, direction: Direction | None = None) -> Iterator[Permission]:
    """The group's permissions, inline ones and rules that are resources; of both directions when none is named."""
    for way, token in (("ingress", INGRESS_RULE), ("egress", EGRESS_RULE)):
        if direction not in (None, way):
            continue
        for rule in group.inputs.objects(way):
            yield _inline(rule, group)
        for record in world.all(token):
            if record.inputs.text("securityGroupId") == group.id:
                yield _permission(record.inputs, "ipProtocol")


def _inline(rule: Inputs, group: Record) -> Permission:
    own = (group.id,) if rule.flag("self") else ()
    ranges = (*rule.texts("cidrBlocks"), *rule.texts("ipv6CidrBlocks"))
    protocol = _protocol(rule.text("protocol"))
    return Permission(protocol, _ports(rule, protocol), ranges, (*rule.texts("securityGroups"), *own))


def _permission(rule: Inputs, name: str) -> Permission:
    protocol = _protocol(rule.text(name))
    ranges = tuple(text for text in (rule.text("cidrIpv4"), rule.text("cidrIpv6")) if text)
    group = rule.text("referencedSecurityGroupId")
    return Permission(protocol, _ports(rule, protocol), ranges, (group,) if group else ())


def _protocol(text: str | None) -> str:
    return {**_PROTOCOLS, **_PROTOCOLS6}.get((text or "").lower(), "any")


def _ports(rule: Inputs, protocol: str) -> tuple[int, int] | None:
    first, last = rule.number("fromPort"), rule.number("toPort")
    if protocol not in ("tcp", "udp") or first is None or last is None or (first, last) == (0, 65535):
        return None
    return first, last


def _check_inline(check: Check, rule: Inputs, path: str) -> None:
    inner = Check(rule, check.world, {"region": region_of(check.inputs, check.config) or ""})
    _check_protocol(inner, "protocol", rule)
    for name, version in (("cidrBlocks", 4), ("ipv6CidrBlocks", 6)):
        for index, text in enumerate(rule.texts(name)):
            network = inner.cidr(f"{name}[{index}]", text)
            if network is not None and network.version != version:
                inner.refuse(f"{name}[{index}]", f"InvalidParameterValue: CIDR block {text} is malformed")
    for index, group in enumerate(rule.texts("securityGroups")):
        exists(inner, GROUP, f"securityGroups[{index}]", group, "Group")
    if rule.texts("prefixListIds"):
        inner.refuse("prefixListIds", "the local cloud has no prefix lists")
    ends = ("cidrBlocks", "ipv6CidrBlocks", "securityGroups", "prefixListIds")
    if not any(rule.given(name) for name in ends) and not rule.flag("self"):
        inner.refuse("", "one of cidrBlocks, ipv6CidrBlocks, securityGroups and self has to be set")
    check.adopt(inner, path)


def _check_protocol(check: Check, name: str, rule: Inputs) -> None:
    protocol, first, last = rule.text(name), rule.number("fromPort"), rule.number("toPort")
    if protocol is None:
        return
    if protocol.lower() not in {**_PROTOCOLS, **_PROTOCOLS6}:
        known = "tcp, udp, icmp, icmpv6 and -1"
        check.refuse(
            name, f"InvalidParameterValue: Invalid value '{protocol}' for IP protocol: the local cloud knows {known}"
        )
    elif protocol == "-1":
        if any(port not in (None, 0, -1) for port in (first, last)):
            check.refuse(
                "fromPort", f"from_port ({first}) and to_port ({last}) must both be 0 to use the 'ALL' \"-1\" protocol!"
            )
    elif protocol in ("tcp", "6", "udp", "17"):
        if not rule.given("fromPort") or not rule.given("toPort"):
            check.refuse(
                "fromPort",
                "InvalidParameterValue: Invalid value 'Must specify both from and to ports with "
                f"TCP/UDP.' for portRange ({protocol})",
            )
        elif first is not None and last is not None and not 0 <= first <= last <= 65535:
            check.refuse("fromPort", f"InvalidParameterValue: Invalid TCP/UDP port range ({first}:{last})")


def addresses(group_id: str, world: World) -> list[str]:
    """The private addresses of the machines in the group, as ranges of one."""
    members = (i for i in every_instance(world) if group_id in i.inputs.texts("vpcSecurityGroupIds"))
    return [str(ipaddress.ip_network(member.facts.text("privateIp") or "")) for member in members]


KINDS: tuple[Kind, ...] = (SecurityGroup(), IngressRule(), EgressRule())
