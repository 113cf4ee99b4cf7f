"""Route tables, routes, their associations, and which subnets reach the internet by them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from localcloud.provider.clouds.aws.common import (
    ACCOUNT,
    ASSOCIATION,
    GATEWAY,
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
from localcloud.provider.kind import Check, Kind
from localcloud.provider.rules.aws import (
    ROUTES_PER_TABLE,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

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
                check, route, f"routes[{index}]", ("cidrBlock", "ipv6CidrBlock", "destinationPrefixListId"), vpc
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


def _check_route(check: Check, route: Inputs, path: str, destinations: tuple[str, ...], vpc: Record | None) -> None:
    inner = check.within(route)
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
    check.adopt(inner, path)


KINDS: tuple[Kind, ...] = (RouteTable(), Route(), RouteTableAssociation())
