"""Route tables, routes, their associations, and where machines of a subnet get by them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
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
    every_instance,
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
from localcloud.spec import Route as Way
from localcloud.wire import Value

_TARGETS = (
    "carrierGatewayId",
    "coreNetworkArn",
    "egressOnlyGatewayId",
    "localGatewayId",
    "natGatewayId",
    "odbNetworkArn",
    "transitGatewayId",
    "vpcEndpointId",
    "vpcPeeringConnectionId",
)
"""Where routes may lead to elsewhere; the local cloud has internet gateways and instances' interfaces alone."""


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
        interface = record.inputs.text("networkInterfaceId")
        instance = _holder(interface, world)
        return {
            "origin": "CreateRoute",
            "state": "blackhole" if interface and instance is None else "active",
            "instanceId": instance.id if instance else "",
            "instanceOwnerId": ACCOUNT if instance else "",
        }


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
    for destination, route in _routes_of(subnet, world):
        attached = world.get(GATEWAY, route.text("gatewayId"))
        if destination == "0.0.0.0/0" and attached and attached.inputs.text("vpcId") == subnet.inputs.text("vpcId"):
            return True
    return False


def ways(subnet: Record, world: World) -> tuple[Way, ...]:
    """The subnet's routes to instances' interfaces, the longest prefix first; one whose interface is gone leads to an
    address that no machine has, Amazon's "blackhole"."""
    found: list[Way] = []
    for destination, route in _routes_of(subnet, world):
        interface = route.text("networkInterfaceId")
        if interface is not None:
            holder = _holder(interface, world)
            nobody = str(ipaddress.IPv4Network(subnet.inputs.text("cidrBlock") or "").network_address)
            found.append(Way(destination, (holder.facts.text("privateIp") if holder else None) or nobody))
    return tuple(sorted(found, key=lambda way: (-ipaddress.IPv4Network(way.destination).prefixlen, way.destination)))


def _routes_of(subnet: Record, world: World) -> Iterator[tuple[str, Inputs]]:
    """(IPv4 destination, target) of every route of the subnet's table."""
    association = world.find(ASSOCIATION, "subnetId", subnet.id)
    table = world.get(ROUTE_TABLE, association.inputs.text("routeTableId")) if association else None
    if table is None:
        return
    inline = ((route.text("cidrBlock"), route) for route in table.inputs.objects("routes"))
    single = (
        (route.inputs.text("destinationCidrBlock"), route.inputs)
        for route in world.all(ROUTE)
        if route.inputs.text("routeTableId") == table.id
    )
    yield from ((destination, route) for destination, route in chain(inline, single) if destination)


def _holder(interface: str | None, world: World) -> Record | None:
    """The instance with that network interface."""
    found = (instance for instance in every_instance(world) if instance.facts.text("interface") == interface)
    return None if interface is None else next(found, None)


def _check_route(check: Check, route: Inputs, path: str, destinations: tuple[str, ...], vpc: Record | None) -> None:
    inner = check.within(route)
    given = [name for name in destinations if route.given(name)]
    if len(given) != 1:
        inner.refuse("", f"exactly one of {', '.join(destinations)} has to be set")
    if route.given(destinations[2]):
        inner.refuse(destinations[2], "the local cloud has no prefix lists")
    network = inner.network(destinations[0])
    if network is not None and network.prefixlen > 0 and route.given("gatewayId"):
        inner.refuse(destinations[0], f"the local cloud routes 0.0.0.0/0 alone to an internet gateway, not {network}")
    if network is not None and vpc is not None:
        own = ipaddress.IPv4Network(vpc.inputs.text("cidrBlock") or "")
        if isinstance(network, ipaddress.IPv4Network) and network.subnet_of(own):
            inner.refuse(destinations[0], f"the local cloud cannot honour a route inside the VPC's own {own}")
    for target in _TARGETS:
        if route.given(target):
            inner.refuse(
                target,
                f"the local cloud cannot honour {target}: it has internet gateways and instances' interfaces alone",
            )
    elsewhere = any(route.given(target) for target in _TARGETS)
    if not elsewhere and route.given("gatewayId") == route.given("networkInterfaceId"):
        inner.refuse("gatewayId", "exactly one of gatewayId, networkInterfaceId has to be set")
    if route.given("networkInterfaceId") and route.given(destinations[1]):
        inner.refuse(destinations[1], "the local cloud has no IPv6 inside VPCs")
    _check_interface(inner, route.text("networkInterfaceId"), vpc)
    id_ = route.text("gatewayId")
    gateway = check.world.get(GATEWAY, id_)
    if id_ is not None and gateway is None:
        inner.refuse("gatewayId", f"InvalidGatewayID.NotFound: The gateway ID '{id_}' does not exist")
    elif gateway is not None and vpc is not None and gateway.inputs.text("vpcId") != vpc.id:
        inner.refuse(
            "gatewayId", f"InvalidParameterValue: route table and network gateway {id_} belong to different networks"
        )
    check.adopt(inner, path)


def _check_interface(check: Check, interface: str | None, vpc: Record | None) -> None:
    if interface is None:
        return
    holder = _holder(interface, check.world)
    subnet = check.world.get(SUBNET, holder.inputs.text("subnetId")) if holder else None
    if subnet is None:
        check.refuse(
            "networkInterfaceId",
            f"InvalidNetworkInterfaceID.NotFound: The networkInterface ID '{interface}' does not exist",
        )
    elif vpc is not None and subnet.inputs.text("vpcId") != vpc.id:
        check.refuse(
            "networkInterfaceId",
            f"InvalidParameterValue: route table and interface {interface} belong to different networks",
        )


KINDS: tuple[Kind, ...] = (RouteTable(), Route(), RouteTableAssociation())
