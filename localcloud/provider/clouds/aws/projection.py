"""Amazon's instances as machines."""

from __future__ import annotations

import ipaddress

from localcloud.provider import members
from localcloud.provider.clouds.aws import groups, instances, launching, routes
from localcloud.provider.clouds.aws.common import (
    ACCOUNT,
    GROUP,
    INSTANCE_PROFILE,
    SUBNET,
    VPC,
    every_instance,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.members import MEMBER
from localcloud.provider.world import Record, World
from localcloud.spec import JSON, Interface, MachineSpec, Rule

_MTU = 9001
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/network_mtu.html (jumbo frames inside a VPC)"""


def machines(world: World) -> dict[str, MachineSpec]:
    """Every instance, be it declared or launched by a group, by its id."""
    return {instance.id: _machine(instance, world) for instance in every_instance(world)}


def _machine(instance: Record, world: World) -> MachineSpec:
    inputs, facts = instance.inputs, instance.facts
    subnet = world.get(SUBNET, inputs.text("subnetId"))
    assert subnet is not None
    network = ipaddress.IPv4Network(subnet.inputs.text("cidrBlock") or "")
    private = facts.text("privateIp") or ""
    public = instances.public_address(instance, world) if routes.reaches_internet(subnet, world) else None
    key = launching.find_key(world, inputs.text("keyName") or "", facts.text("region"))
    options = inputs.object("metadataOptions") or Inputs({})
    tags = inputs.mapping("tags")
    ingress, egress = _rules(instance, subnet, world)
    return MachineSpec(
        id=instance.id,
        node=members.node(instance)
        if instance.token == MEMBER
        else tags.get("node") or tags.get("Name") or instance.id,
        cloud="aws",
        hostname=f"ip-{private.replace('.', '-')}",
        user_data=instances.user_data(inputs),
        ssh_keys=((key.inputs.text("publicKey") or "").strip(),) if key else (),
        interfaces=(
            Interface(
                "eth0",
                subnet.inputs.text("vpcId") or "",
                private,
                network.prefixlen,
                _MTU,
                public=public,
                routes=routes.ways(subnet, world),
            ),
        ),
        ingress=ingress,
        egress=egress,
        forwarding=not inputs.flag("sourceDestCheck", True),
        metadata={
            **(_membership(instance, world) if instance.token == MEMBER else {}),
            "account": ACCOUNT,
            "instance_type": inputs.text("instanceType"),
            "image": inputs.text("ami"),
            "region": facts.text("region"),
            "zone": facts.text("zone"),
            "labels": tags,
            "imds": {
                "enabled": options.text("httpEndpoint") != "disabled",
                "tokens_required": options.text("httpTokens") == "required",
                "hop_limit": options.number("httpPutResponseHopLimit") or 1,
                "instance_tags": options.text("instanceMetadataTags") == "enabled",
            },
        },
        running=not facts.flag("stopped"),
    )


def _membership(member: Record, world: World) -> dict[str, JSON]:
    """What the metadata service tells members of groups alone."""
    facts = member.facts
    profile = world.get(INSTANCE_PROFILE, member.inputs.text("iamInstanceProfile"))
    leaving = not members.is_working(member)
    told: dict[str, JSON] = {
        "pool": facts.text("pool"),
        "group": facts.text("group"),
        "lifecycle": facts.text("lifecycle"),
        "lifecycle_state": "Terminated" if leaving else "InService",
    }
    notice, rebalance = facts.object("notice"), facts.number("rebalance")
    if profile is not None:
        told["role"] = profile.inputs.text("role")
    if notice is not None:
        told["spot_action"] = {"action": notice.text("kind"), "time": members.clock(notice.number("time") or 0)}
    if rebalance is not None:
        told["rebalance"] = members.clock(rebalance)
    return told


def _rules(instance: Record, subnet: Record, world: World) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """What may come in and go out; the VPC's own group lets its members talk, and everything out."""
    found = [world.get(GROUP, id_) for id_ in instance.inputs.texts("vpcSecurityGroupIds")]
    ingress = [_rule(p, world) for group in found if group for p in groups.permissions(group, world, "ingress")]
    egress = [_rule(p, world) for group in found if group for p in groups.permissions(group, world, "egress")]
    if not found or any(group is None for group in found):
        home = world.get(VPC, subnet.inputs.text("vpcId"))
        members = [
            str(ipaddress.ip_network(other.facts.text("privateIp") or ""))
            for other in every_instance(world)
            if home is not None and _in_default_group(other, home, world)
        ]
        ingress.append(Rule("any", None, tuple(members)))
        egress.append(Rule("any", None, ("0.0.0.0/0", "::/0")))
    return tuple(ingress), tuple(egress)


def _in_default_group(instance: Record, home: Record, world: World) -> bool:
    subnet = world.get(SUBNET, instance.inputs.text("subnetId"))
    named = instance.inputs.texts("vpcSecurityGroupIds")
    inside = subnet is not None and subnet.inputs.text("vpcId") == home.id
    return inside and (not named or home.facts.text("group") in named)


def _rule(permission: groups.Permission, world: World) -> Rule:
    assert permission.protocol in ("tcp", "udp", "icmp", "any")
    members = [address for group in permission.groups for address in groups.addresses(group, world)]
    return Rule(permission.protocol, permission.ports, (*permission.ranges, *members))
