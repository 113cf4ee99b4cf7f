"""VPCs, subnets and internet gateways."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.aws.common import (
    ACCOUNT,
    ASSOCIATION,
    EIP,
    GATEWAY,
    GROUP,
    ROUTE_TABLE,
    SUBNET,
    VPC,
    AwsKind,
    every_instance,
    exists,
    in_use,
    region_of,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.ranges import check_free
from localcloud.provider.rules.aws import (
    LONGEST_PREFIX,
    REGIONS,
    SHORTEST_PREFIX,
    VPCS_PER_REGION,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class Vpc(AwsKind):
    """terraform-provider-aws, internal/service/ec2/vpc_.go."""

    token = VPC
    prefix = "vpc"
    arn = "vpc"
    replace = frozenset({"cidrBlock", "ipv4IpamPoolId", "ipv4NetmaskLength"})
    unsupported = ("ipv4IpamPoolId", "ipv6IpamPoolId", "ipv6CidrBlock", "ipv4NetmaskLength", "ipv6NetmaskLength")
    defaults: ClassVar[Mapping[str, Value]] = {
        "assignGeneratedIpv6CidrBlock": False,
        "enableDnsHostnames": False,
        "enableDnsSupport": True,
        "enableNetworkAddressUsageMetrics": False,
        "instanceTenancy": "default",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        check.one_of(
            "instanceTenancy",
            ("default", "dedicated"),
            'expected instance_tenancy to be one of ["default" "dedicated"], got {}',
        )
        if not check.inputs.given("cidrBlock"):
            check.refuse(
                "cidrBlock", 'Missing required argument. One of "cidrBlock" and "ipv4IpamPoolId" has to be set'
            )
        if check.inputs.flag("assignGeneratedIpv6CidrBlock"):
            check.refuse("assignGeneratedIpv6CidrBlock", "the local cloud has no IPv6 inside VPCs")
        network = check.network("cidrBlock")
        if network is not None and (network.version == 6 or not SHORTEST_PREFIX <= network.prefixlen <= LONGEST_PREFIX):
            check.refuse("cidrBlock", f"InvalidVpc.Range: The CIDR '{network}' is invalid: it has to be a /16 to /28")
        elif network is not None and not check.same("cidrBlock"):
            check_free(check, "cidrBlock", network)
        region = region_of(check.inputs, check.config)
        others = [vpc for vpc in check.world.all(self.token) if vpc.facts.text("region") == region]
        if check.old is None and len(others) >= VPCS_PER_REGION:
            check.refuse(
                "", f"VpcLimitExceeded: The maximum number of VPCs has been reached: {VPCS_PER_REGION} in {region}"
            )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        ids = {prefix: world.hex_id(f"{prefix}-") for prefix in ("rtb", "acl", "sg", "dopt")}
        return self.make(inputs, world, config, main=ids["rtb"], acl=ids["acl"], group=ids["sg"], dhcp=ids["dopt"])

    def delete(self, record: Record, world: World) -> None:
        kinds = (SUBNET, ROUTE_TABLE, GROUP, GATEWAY)
        users = [user for kind in kinds for user in world.all(kind) if user.inputs.text("vpcId") == record.id]
        in_use("vpc", record.id, users)
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        facts = record.facts
        return {
            "defaultNetworkAclId": facts.text("acl"),
            "defaultRouteTableId": facts.text("main"),
            "defaultSecurityGroupId": facts.text("group"),
            "dhcpOptionsId": facts.text("dhcp"),
            "mainRouteTableId": facts.text("main"),
            "ownerId": ACCOUNT,
            "ipv6AssociationId": "",
            "ipv6CidrBlock": "",
        }


class Subnet(AwsKind):
    """terraform-provider-aws, internal/service/ec2/vpc_subnet.go."""

    token = SUBNET
    prefix = "subnet"
    arn = "subnet"
    replace = frozenset(
        {"availabilityZone", "availabilityZoneId", "cidrBlock", "ipv4IpamPoolId", "ipv6Native", "outpostArn", "vpcId"}
    )
    unsupported = (
        "ipv6CidrBlock",
        "ipv4IpamPoolId",
        "ipv6IpamPoolId",
        "outpostArn",
        "customerOwnedIpv4Pool",
        "ipv6Native",
    )
    defaults: ClassVar[Mapping[str, Value]] = {
        "assignIpv6AddressOnCreation": False,
        "enableDns64": False,
        "enableResourceNameDnsARecordOnLaunch": False,
        "enableResourceNameDnsAaaaRecordOnLaunch": False,
        "ipv6Native": False,
        "mapPublicIpOnLaunch": False,
        "privateDnsHostnameTypeOnLaunch": "ip-name",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        region = region_of(inputs, check.config)
        zone = inputs.text("availabilityZone")
        if zone is not None and region in REGIONS and zone not in zones(region):
            check.refuse(
                "availabilityZone",
                f"InvalidParameterValue: Value ({zone}) for parameter availabilityZone is invalid. "
                "Subnets can currently only be created in the following availability zones: "
                f"{', '.join(zones(region))}.",
            )
        if not inputs.given("cidrBlock"):
            check.refuse("cidrBlock", "MissingParameter: Either 'cidrBlock' or 'ipv6CidrBlock' should be provided.")
        vpc = exists(check, VPC, "vpcId", inputs.text("vpcId"), "Vpc")
        network = check.network("cidrBlock")
        if network is None or check.same("cidrBlock"):
            return
        if network.version == 6 or not SHORTEST_PREFIX <= network.prefixlen <= LONGEST_PREFIX:
            check.refuse(
                "cidrBlock", f"InvalidSubnet.Range: The CIDR '{network}' is invalid: it has to be a /16 to /28"
            )
        elif vpc is not None and not _inside(network, vpc.inputs.text("cidrBlock")):
            check.refuse(
                "cidrBlock",
                f"InvalidSubnet.Range: The CIDR '{network}' is invalid: it is not inside the VPC's "
                f"{vpc.inputs.text('cidrBlock')}",
            )
        elif vpc is not None:
            for other in subnets_of(vpc, check.world):
                taken = other.inputs.text("cidrBlock") or ""
                if network.overlaps(ipaddress.ip_network(taken)) and taken != check.was("cidrBlock"):
                    check.refuse(
                        "cidrBlock",
                        f"InvalidSubnet.Conflict: The CIDR '{network}' conflicts with another subnet ({other.id})",
                    )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        region = region_of(inputs, config) or ""
        zone = inputs.text("availabilityZone") or zones(region)[0]
        return self.make(inputs, world, config, zone=zone)

    def delete(self, record: Record, world: World) -> None:
        in_use("subnet", record.id, [i for i in every_instance(world) if i.inputs.text("subnetId") == record.id])
        for association in [a for a in world.all(ASSOCIATION) if a.inputs.text("subnetId") == record.id]:
            world.remove(association)
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        zone = record.facts.text("zone") or ""
        return {"availabilityZone": zone, "availabilityZoneId": zone_id(zone), "ownerId": ACCOUNT}


class InternetGateway(AwsKind):
    """Nothing replaces it: terraform-provider-aws, internal/service/ec2/vpc_internet_gateway.go."""

    token = GATEWAY
    prefix = "igw"
    arn = "internet-gateway"

    def check(self, check: Check) -> None:
        super().check(check)
        vpc = exists(check, VPC, "vpcId", check.inputs.text("vpcId"), "Vpc")
        if vpc is None or check.same("vpcId"):
            return
        if any(gateway.inputs.text("vpcId") == vpc.id for gateway in check.world.all(self.token)):
            check.refuse(
                "vpcId", f"Resource.AlreadyAssociated: resource {vpc.id} has an internet gateway attached already"
            )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def delete(self, record: Record, world: World) -> None:
        vpc = world.get(VPC, record.inputs.text("vpcId"))
        elastic = {eip.facts.text("instance") for eip in world.all(EIP)}
        for subnet in subnets_of(vpc, world) if vpc else ():
            for instance in every_instance(world):
                mapped = instance.facts.text("publicIp") or instance.id in elastic
                if instance.inputs.text("subnetId") == subnet.id and mapped:
                    raise CloudError(
                        f"DependencyViolation: Network {record.inputs.text('vpcId')} has some mapped public "
                        "address(es). "
                        f"Please unmap those public address(es) before detaching the gateway ({instance.id})"
                    )
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"ownerId": ACCOUNT, "vpcId": record.inputs.text("vpcId") or ""}


def zones(region: str) -> list[str]:
    """The region's availability zones."""
    return [f"{region}{letter}" for letter in REGIONS.get(region, "")]


def zone_id(zone: str) -> str:
    """The zone's id, such as euc1-az1 for eu-central-1a."""
    area, direction, number = zone[:-1].split("-")
    short = "".join(word[0] for word in ("north", "south", "east", "west", "central") if word in direction)
    return f"{area}{short}{number}-az{ord(zone[-1]) - ord('a') + 1}"


def subnets_of(vpc: Record, world: World) -> list[Record]:
    """The VPC's subnets."""
    return [subnet for subnet in world.all(SUBNET) if subnet.inputs.text("vpcId") == vpc.id]


def _inside(network: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: str | None) -> bool:
    return isinstance(network, ipaddress.IPv4Network) and network.subnet_of(ipaddress.IPv4Network(outer or ""))


KINDS: tuple[Kind, ...] = (Vpc(), Subnet(), InternetGateway())
