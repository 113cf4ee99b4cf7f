"""Routes by machines that forward, addresses that stay, and IPv6 alone: what they amount to, and when they end."""

from __future__ import annotations

import ipaddress

import pytest

from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.spec import INTERNET, Interface, Route
from localcloud.wire import Value
from tests.localcloud.provider.harness import Harness, RefusedError, Resource
from tests.localcloud.provider.scenery import REGION, ZONE, Made, ami, make_aws, make_gcp, make_hcloud

OVERLAY = "10.100.0.0/16"
EVERYWHERE = "0.0.0.0/0"


def card_of(clouds: Harness, node: str) -> Interface:
    """The machine's last card."""
    return clouds.fabric.machine(node).interfaces[-1]


# Amazon


def make_private(clouds: Harness, made: Made, routes: Value) -> tuple[Resource, Resource]:
    """An instance in a subnet of its own, and that subnet's table."""
    subnet = clouds.make(aws.SUBNET, "inside", vpcId=made["vpc"].id, cidrBlock="10.60.0.64/26")
    table = clouds.make(aws.ROUTE_TABLE, "inside", vpcId=made["vpc"].id, routes=routes)
    clouds.make(aws.ASSOCIATION, "inside", subnetId=subnet.id, routeTableId=table.id)
    instance = clouds.make(
        aws.INSTANCE,
        "inside",
        ami=ami(clouds),
        instanceType="t3.micro",
        subnetId=subnet.id,
        privateIp="10.60.0.70",
        tags={"node": "inside"},
    )
    return instance, table


def interface_of(made: Made) -> str:
    return made["instance"].text("primaryNetworkInterfaceId")


def test_a_private_subnet_leaves_by_a_gateways_interface(clouds: Harness) -> None:
    made = make_aws(clouds)
    private, table = make_private(clouds, made, [{"cidrBlock": EVERYWHERE, "networkInterfaceId": interface_of(made)}])
    card = card_of(clouds, "inside")
    assert (card.address, card.public, card.routes) == ("10.60.0.70", None, (Route(EVERYWHERE, "10.60.0.4"),))
    assert private.outputs["privateIp"] == "10.60.0.70"
    assert card_of(clouds, "aws-1").routes == (), "the public subnet has a table of its own"
    clouds.update(table, routes=None)
    assert card_of(clouds, "inside").routes == ()


def test_routes_of_a_table_and_beside_it_go_by_the_longest_prefix(clouds: Harness) -> None:
    made = make_aws(clouds)
    _, table = make_private(clouds, made, [{"cidrBlock": EVERYWHERE, "gatewayId": made["gateway"].id}])
    for name, destination in (("wide", "10.0.0.0/8"), ("overlay", OVERLAY)):
        clouds.make(
            aws.ROUTE,
            name,
            routeTableId=table.id,
            destinationCidrBlock=destination,
            networkInterfaceId=interface_of(made),
        )
    assert card_of(clouds, "inside").routes == (Route(OVERLAY, "10.60.0.4"), Route("10.0.0.0/8", "10.60.0.4"))


def test_a_route_by_an_interface_that_is_gone_leads_nowhere(clouds: Harness) -> None:
    made = make_aws(clouds)
    _, table = make_private(clouds, made, None)
    route = clouds.make(
        aws.ROUTE,
        "overlay",
        routeTableId=table.id,
        destinationCidrBlock=OVERLAY,
        networkInterfaceId=interface_of(made),
    )
    assert (route.outputs["state"], route.outputs["instanceId"]) == ("active", made["instance"].id)
    clouds.delete(made["instance"])
    assert clouds.read(route)[1]["state"] == "blackhole"
    (way,) = card_of(clouds, "inside").routes
    assert way.destination == OVERLAY
    assert way.via not in {card.address for spec in clouds.fabric.history[-1].values() for card in spec.interfaces}
    clouds.delete(route)
    assert card_of(clouds, "inside").routes == ()


def test_a_route_by_an_interface_of_another_vpc_is_refused(clouds: Harness) -> None:
    made = make_aws(clouds)
    far = clouds.make(aws.VPC, "far", cidrBlock="10.61.0.0/24")
    table = clouds.make(aws.ROUTE_TABLE, "far", vpcId=far.id)
    with pytest.raises(RefusedError, match="belong to different networks"):
        clouds.make(
            aws.ROUTE,
            "far",
            routeTableId=table.id,
            destinationCidrBlock=OVERLAY,
            networkInterfaceId=interface_of(made),
        )


def test_an_elastic_address_needs_the_internet_attached_and_keeps_it_so(clouds: Harness) -> None:
    vpc = clouds.make(aws.VPC, cidrBlock="10.60.0.0/24")
    subnet = clouds.make(aws.SUBNET, vpcId=vpc.id, cidrBlock="10.60.0.0/26")
    instance = clouds.make(
        aws.INSTANCE, ami=ami(clouds), instanceType="t3.micro", subnetId=subnet.id, sourceDestCheck=False
    )
    eip = clouds.make(aws.EIP, domain="vpc")
    with pytest.raises(RefusedError, match=r"Gateway\.NotAttached: Network vpc-"):
        clouds.make(aws.EIP_ASSOCIATION, allocationId=eip.id, instanceId=instance.id)
    gateway = clouds.make(aws.GATEWAY, vpcId=vpc.id)
    clouds.make(aws.EIP_ASSOCIATION, allocationId=eip.id, instanceId=instance.id)
    with pytest.raises(RefusedError, match=r"has some mapped public address\(es\)"):
        clouds.delete(gateway)


# Google


def forward(clouds: Harness, made: Made, **inputs: Value) -> Resource:
    """A gateway with an address that stays."""
    external = clouds.make(gcp.ADDRESS, "front", name="front", region=REGION)
    default: dict[str, Value] = {
        "name": "gw",
        "machineType": "e2-small",
        "zone": ZONE,
        "canIpForward": True,
        "bootDisk": {"initializeParams": {"image": "ubuntu-os-cloud/ubuntu-2204-lts"}},
        "networkInterfaces": [
            {
                "subnetwork": made["gsubnet"].id,
                "networkIp": "10.70.0.10",
                "accessConfigs": [{"natIp": external.outputs["address"]}],
            }
        ],
    }
    return clouds.make(gcp.INSTANCE, "gw", **{**default, **inputs})


def routed(clouds: Harness, name: str = "by-gw", /, **inputs: Value) -> Resource:
    default: dict[str, Value] = {
        "name": name,
        "network": "net",
        "destRange": OVERLAY,
        "nextHopInstance": "gw",
        "nextHopInstanceZone": ZONE,
    }
    wanted = {key: value for key, value in {**default, **inputs}.items() if value is not None}
    return clouds.make(gcp.ROUTE, name, **wanted)


def test_a_gateway_has_a_reserved_address_and_forwards(clouds: Harness) -> None:
    made = make_gcp(clouds)
    gateway = forward(clouds, made)
    spec = clouds.fabric.machine("gw")
    cards = gateway.outputs["networkInterfaces"]
    assert isinstance(cards, list)
    assert isinstance(cards[0], dict)
    assert cards[0]["networkIp"] == spec.interfaces[0].address == "10.70.0.10"
    assert cards[0]["accessConfigs"] == [
        {"natIp": spec.interfaces[0].public, "networkTier": "PREMIUM", "publicPtrDomainName": ""}
    ]
    assert spec.forwarding


@pytest.mark.parametrize(
    "hop",
    [
        {},
        {"nextHopInstance": "projects/my-project/zones/europe-west3-a/instances/gw", "nextHopInstanceZone": None},
        {"nextHopInstance": "zones/europe-west3-a/instances/gw", "nextHopInstanceZone": None},
        {"nextHopInstance": None, "nextHopInstanceZone": None, "nextHopIp": "10.70.0.10"},
    ],
    ids=["name", "id", "part of a URL", "address"],
)
def test_a_route_by_an_instance_however_it_is_named(clouds: Harness, hop: dict[str, Value]) -> None:
    made = make_gcp(clouds)
    gateway = forward(clouds, made)
    route = routed(clouds, **hop)
    assert card_of(clouds, "gcp-1").routes == (Route(OVERLAY, "10.70.0.10"),)
    assert card_of(clouds, "gcp-1").nat is not None, "everything else goes by Cloud NAT"
    if "nextHopIp" not in hop:
        told = route.outputs
        assert told["nextHopInstance"] == gateway.outputs["selfLink"]
        assert (told["nextHopInstanceZone"], told["nextHopIp"]) == (ZONE, "10.70.0.10")
    clouds.delete(route)
    assert card_of(clouds, "gcp-1").routes == ()


def test_a_route_is_for_the_instances_with_its_tags(clouds: Harness) -> None:
    made = make_gcp(clouds)
    forward(clouds, made)
    routed(clouds, tags=["private", "other"])
    assert card_of(clouds, "gcp-1").routes == ()
    clouds.update(made["ginstance"], tags=["spoke", "private"])
    assert card_of(clouds, "gcp-1").routes == (Route(OVERLAY, "10.70.0.10"),)


def test_of_equal_routes_the_lowest_priority_counts(clouds: Harness) -> None:
    made = make_gcp(clouds)
    forward(clouds, made)
    routed(clouds, "first", nextHopInstance="gcp-1", priority=900)
    routed(clouds, "second", priority=800)
    assert card_of(clouds, "gcp-1").routes == (Route(OVERLAY, "10.70.0.10"),)
    routed(clouds, "third", nextHopInstance="gcp-1", priority=700)
    routed(clouds, "longer", destRange="10.100.7.0/24", priority=65535)
    assert card_of(clouds, "gcp-1").routes == (Route("10.100.7.0/24", "10.70.0.10"), Route(OVERLAY, "10.70.0.2"))


@pytest.mark.parametrize(("priority", "taken"), [(999, True), (1000, True), (1001, False)])
def test_a_way_to_the_internet_by_an_instance_competes_with_the_networks_own(
    clouds: Harness, priority: int, taken: bool
) -> None:
    made = make_gcp(clouds)
    forward(clouds, made)
    routed(clouds, destRange=EVERYWHERE, priority=priority)
    card = card_of(clouds, "gcp-1")
    assert card.routes == ((Route(EVERYWHERE, "10.70.0.10"),) if taken else ())
    assert (card.nat is None) is taken, "Cloud NAT is for what goes to the internet gateway"


def test_a_network_without_its_default_route_has_no_way_out(clouds: Harness) -> None:
    made = make_gcp(clouds)
    forward(clouds, made)
    clouds.update(made["gnetwork"], deleteDefaultRoutesOnCreate=True)
    assert (card_of(clouds, "gcp-1").nat, card_of(clouds, "gw").public) == (None, None)


def test_google_disregards_a_route_whose_instance_is_stopped_or_gone(clouds: Harness) -> None:
    made = make_gcp(clouds)
    gateway = forward(clouds, made)
    route = routed(clouds)
    assert clouds.read(route)[1]["warnings"] == []
    stopped = clouds.update(gateway, desiredStatus="TERMINATED")
    assert card_of(clouds, "gcp-1").routes == ()
    assert _codes(clouds, route) == ["NEXT_HOP_NOT_RUNNING"]
    clouds.update(stopped, desiredStatus="RUNNING")
    assert card_of(clouds, "gcp-1").routes == (Route(OVERLAY, "10.70.0.10"),)
    clouds.delete(stopped)
    assert card_of(clouds, "gcp-1").routes == ()
    assert _codes(clouds, route) == ["NEXT_HOP_INSTANCE_NOT_FOUND"]


def test_google_warns_of_a_next_hop_that_may_not_forward(clouds: Harness) -> None:
    made = make_gcp(clouds)
    forward(clouds, made, canIpForward=False)
    assert _codes(clouds, routed(clouds)) == ["NEXT_HOP_CANNOT_IP_FORWARD"]
    assert clouds.fabric.machine("gw").forwarding is False
    nobody = routed(clouds, "ip", destRange="10.101.0.0/16", nextHopInstance=None, nextHopIp="10.70.0.99")
    assert _codes(clouds, nobody) == ["NEXT_HOP_ADDRESS_NOT_ASSIGNED"]


def test_a_route_by_an_instance_of_another_network_is_refused_and_a_network_keeps_its_routes(clouds: Harness) -> None:
    made = make_gcp(clouds)
    far = clouds.make(gcp.NETWORK, "far", name="far", autoCreateSubnetworks=False)
    with pytest.raises(RefusedError, match="has no network interface in"):
        routed(clouds, "far", network="far", nextHopInstance=made["ginstance"].id, nextHopInstanceZone=None)
    route = routed(clouds, "far", network="far", nextHopInstance=None, nextHopInstanceZone=None, nextHopIp="10.9.9.9")
    with pytest.raises(RefusedError, match="resourceInUseByAnotherResource"):
        clouds.delete(far)
    clouds.delete(route)
    clouds.delete(far)


def _codes(clouds: Harness, route: Resource) -> list[Value]:
    warnings = clouds.read(route)[1]["warnings"]
    assert isinstance(warnings, list)
    return [warning["code"] for warning in warnings if isinstance(warning, dict)]


# Hetzner


def test_a_networks_routes_are_every_servers_and_end_with_it(clouds: Harness) -> None:
    made = make_hcloud(clouds)
    default = clouds.make(
        hcloud.NETWORK_ROUTE, "out", networkId=made["hnetwork"].number, destination=EVERYWHERE, gateway="10.50.1.1"
    )
    clouds.make(
        hcloud.SERVER,
        "inside",
        name="inside",
        serverType="cx23",
        image="debian-12",
        publicNets=[{"ipv4Enabled": False, "ipv6Enabled": False}],
        networks=[{"networkId": made["hnetwork"].number, "ip": "10.50.1.9"}],
    )
    ways = (Route(OVERLAY, "10.50.1.1"), Route(EVERYWHERE, "10.50.1.1"))
    assert clouds.fabric.machine("inside").interfaces == (
        Interface("enp7s0", f"hcloud-{made['hnetwork'].id}", "10.50.1.9", 16, 1450, routes=ways),
    )
    assert card_of(clouds, "hetzner-gw").routes == ways
    assert clouds.fabric.machine("hetzner-gw").forwarding, "its networks check no source"
    clouds.delete(default)
    assert card_of(clouds, "inside").routes == ways[:1]
    clouds.delete(made["hnetwork"])
    assert clouds.read(made["hroute"])[0] == ""


def test_a_subnet_and_a_route_do_not_overlap_either_way(clouds: Harness) -> None:
    made = make_hcloud(clouds)
    network = made["hnetwork"].number
    clouds.make(hcloud.NETWORK_ROUTE, "in", networkId=network, destination="10.50.9.0/24", gateway="10.50.1.1")
    with pytest.raises(RefusedError, match=r"overlaps a route of the network"):
        clouds.make(
            hcloud.SUBNET, "in", networkId=network, type="cloud", networkZone="eu-central", ipRange="10.50.9.0/25"
        )


def test_a_server_with_ipv6_alone_has_a_primary_address_that_stays(clouds: Harness) -> None:
    primary = clouds.make(hcloud.PRIMARY_IP, name="front", type="ipv6", location="fsn1")
    network = ipaddress.IPv6Network(primary.text("ipNetwork"))
    assert primary.outputs["ipAddress"] == str(network.network_address), "a primary address is told as its network's"
    server = clouds.make(
        hcloud.SERVER,
        name="six",
        serverType="cx23",
        image="debian-12",
        location="fsn1",
        publicNets=[{"ipv4Enabled": False, "ipv6": primary.number}],
    )
    assert (server.outputs["ipv4Address"], server.outputs["ipv6Address"]) == ("", str(network[1]))
    assert clouds.fabric.machine("six").interfaces == (
        Interface("eth0", INTERNET, None, 32, 1500, address6=str(network[1])),
    )
    clouds.delete(server)
    again = clouds.make(
        hcloud.SERVER,
        "again",
        name="six",
        serverType="cx23",
        image="debian-12",
        location="fsn1",
        publicNets=[{"ipv4Enabled": False, "ipv6": primary.number}],
    )
    assert again.outputs["ipv6Address"] == str(network[1])
