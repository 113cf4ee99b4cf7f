"""VPCs, subnets, internet gateways, route tables, routes and their associations."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from itertools import chain
from typing import ClassVar

from localcloud.provider.clouds.aws.common import (
    ACCOUNT,
    ASSOCIATION,
    GATEWAY,
    GROUP,
    INSTANCE,
    ROUTE,
    ROUTE_TABLE,
    SUBNET,
    VPC,
    AwsKind,
    exists,
    in_use,
    need,
    region_of,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.ranges import check_free
from localcloud.provider.rules.aws import (
    LONGEST_PREFIX,
    REGIONS,
    ROUTES_PER_TABLE,
    SHORTEST_PREFIX,
    VPCS_PER_REGION,
)
from localcloud.provider.values import Value
from localcloud.provider.world import Record, World

_TARGETS = (
    "carrierGatewayId",
    "coreNetworkArn",
    "egressOnlyGatewayId",
    "localGatewayId",
    "natGatewayId",
    "networkInterfaceId",
    "odbNetworkArn",
    "transitGatewayId",
    "vpcEndpointId",
    "vpcPeeringConnectionId",
)
"""Where routes may lead to elsewhere; the local cloud has internet gateways alone."""


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
                if network.overlaps(ipaddress.ip_network(other.inputs.text("cidrBlock") or "")):
                    check.refuse(
                        "cidrBlock",
                        f"InvalidSubnet.Conflict: The CIDR '{network}' conflicts with another subnet ({other.id})",
                    )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        region = region_of(inputs, config) or ""
        zone = inputs.text("availabilityZone") or zones(region)[0]
        return self.make(inputs, world, config, zone=zone)

    def delete(self, record: Record, world: World) -> None:
        in_use("subnet", record.id, [i for i in world.all(INSTANCE) if i.inputs.text("subnetId") == record.id])
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
        for subnet in subnets_of(vpc, world) if vpc else ():
            for instance in world.all(INSTANCE):
                if instance.inputs.text("subnetId") == subnet.id and instance.facts.text("publicIp"):
                    raise CloudError(
                        f"DependencyViolation: Network {record.inputs.text('vpcId')} has some mapped public "
                        "address(es). "
                        f"Please unmap those public address(es) before detaching the gateway ({instance.id})"
                    )
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"ownerId": ACCOUNT, "vpcId": record.inputs.text("vpcId") or ""}


class RouteTable(AwsKind):
    """terraform-provider-aws, internal/service/ec2/vpc_route_table.go."""

    token = ROUTE_TABLE
    prefix = "rtb"
    arn = "route-table"
    replace = frozenset({"vpcId"})

    def check(self, check: Check) -> None:
        super().check(check)
        vpc = exists(check, VPC, "vpcId", check.inputs.text("vpcId"), "Vpc")
        routes = check.inputs.objects("routes")
        if len(routes) > ROUTES_PER_TABLE:
            check.refuse("routes", f"RouteLimitExceeded: {len(routes)} routes, the limit is {ROUTES_PER_TABLE}")
        for index, route in enumerate(routes):
            _check_route(
                check, route, f"routes[{index}].", ("cidrBlock", "ipv6CidrBlock", "destinationPrefixListId"), vpc
            )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def delete(self, record: Record, world: World) -> None:
        in_use(
            "routeTable", record.id, [a for a in world.all(ASSOCIATION) if a.inputs.text("routeTableId") == record.id]
        )
        for route in [route for route in world.all(ROUTE) if route.inputs.text("routeTableId") == record.id]:
            world.remove(route)
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"ownerId": ACCOUNT, "propagatingVgws": []}


class Route(AwsKind):
    """terraform-provider-aws, internal/service/ec2/vpc_route.go."""

    token = ROUTE
    prefix = "r-rtb"
    tagged = False
    replace = frozenset({"routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"})

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        table = exists(check, ROUTE_TABLE, "routeTableId", inputs.text("routeTableId"), "RouteTable")
        vpc = check.world.get(VPC, table.inputs.text("vpcId")) if table else None
        names = ("destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId")
        _check_route(check, inputs, "", names, vpc)
        destination = inputs.text("destinationCidrBlock")
        if table is None or destination is None or check.same("destinationCidrBlock"):
            return
        inline = any(route.text("cidrBlock") == destination for route in table.inputs.objects("routes"))
        if inline or check.world.find(ROUTE, "destinationCidrBlock", destination, routeTableId=table.id):
            check.refuse(
                "destinationCidrBlock", f"RouteAlreadyExists: The route identified by {destination} already exists."
            )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        table = need(world, ROUTE_TABLE, inputs.text("routeTableId"), "RouteTable")
        id_ = f"r-{table.id}{world.next('route')}"
        return world.put(Record(self.token, id_, inputs.values, {"region": region_of(inputs, config)}))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"origin": "CreateRoute", "state": "active", "instanceId": "", "instanceOwnerId": ""}


class RouteTableAssociation(AwsKind):
    """terraform-provider-aws, internal/service/ec2/vpc_route_table_association.go."""

    token = ASSOCIATION
    prefix = "rtbassoc"
    tagged = False
    replace = frozenset({"subnetId", "gatewayId"})
    unsupported = ("gatewayId",)

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        subnet = exists(check, SUBNET, "subnetId", inputs.text("subnetId"), "Subnet")
        table = exists(check, ROUTE_TABLE, "routeTableId", inputs.text("routeTableId"), "RouteTable")
        if not inputs.given("subnetId") and not inputs.given("gatewayId"):
            check.refuse("subnetId", "one of `gateway_id,subnet_id` must be specified")
        if subnet is not None and table is not None and subnet.inputs.text("vpcId") != table.inputs.text("vpcId"):
            check.refuse(
                "routeTableId",
                f"InvalidParameterValue: Route table {table.id} and network {subnet.id} belong to different networks",
            )
        if subnet is not None and not check.same("subnetId") and check.world.find(self.token, "subnetId", subnet.id):
            check.refuse(
                "subnetId",
                "Resource.AlreadyAssociated: the specified association for route table conflicts "
                f"with an existing association of {subnet.id}",
            )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)


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


def reaches_internet(subnet: Record, world: World) -> bool:
    """Whether the subnet's route table leads to an internet gateway that is attached to its VPC."""
    association = world.find(ASSOCIATION, "subnetId", subnet.id)
    table = world.get(ROUTE_TABLE, association.inputs.text("routeTableId")) if association else None
    if table is None:
        return False
    inline = [(route.text("cidrBlock"), route.text("gatewayId")) for route in table.inputs.objects("routes")]
    single = [
        (route.inputs.text("destinationCidrBlock"), route.inputs.text("gatewayId"))
        for route in world.all(ROUTE)
        if route.inputs.text("routeTableId") == table.id
    ]
    for destination, gateway in chain(inline, single):
        attached = world.get(GATEWAY, gateway)
        if destination == "0.0.0.0/0" and attached and attached.inputs.text("vpcId") == subnet.inputs.text("vpcId"):
            return True
    return False


def _inside(network: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: str | None) -> bool:
    return isinstance(network, ipaddress.IPv4Network) and network.subnet_of(ipaddress.IPv4Network(outer or ""))


def _check_route(check: Check, route: Inputs, path: str, destinations: tuple[str, ...], vpc: Record | None) -> None:
    inner = Check(route, check.world, check.config)
    given = [name for name in destinations if route.given(name)]
    if len(given) != 1:
        inner.refuse("", f"exactly one of {', '.join(destinations)} has to be set")
    if route.given(destinations[2]):
        inner.refuse(destinations[2], "the local cloud has no prefix lists")
    network = inner.network(destinations[0])
    if network is not None and network.prefixlen > 0:
        inner.refuse(destinations[0], f"the local cloud routes 0.0.0.0/0 alone to an internet gateway, not {network}")
    if not route.given("gatewayId"):
        inner.refuse("gatewayId", "the local cloud has internet gateways alone: set gatewayId")
    for target in _TARGETS:
        if route.given(target):
            inner.refuse(target, f"the local cloud cannot honour {target}: it has internet gateways alone")
    id_ = route.text("gatewayId")
    gateway = check.world.get(GATEWAY, id_)
    if id_ is not None and gateway is None:
        inner.refuse("gatewayId", f"InvalidGatewayID.NotFound: The gateway ID '{id_}' does not exist")
    elif gateway is not None and vpc is not None and gateway.inputs.text("vpcId") != vpc.id:
        inner.refuse(
            "gatewayId", f"InvalidParameterValue: route table and network gateway {id_} belong to different networks"
        )
    for failure in inner.failures:
        check.refuse(f"{path}{failure.path}".rstrip("."), failure.reason)


KINDS: tuple[Kind, ...] = (Vpc(), Subnet(), InternetGateway(), RouteTable(), Route(), RouteTableAssociation())
