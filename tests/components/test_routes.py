"""Ways through gateways for machines that run no WireGuard, and for those without a public address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.components.recorder import Run, interface_of, link_of, run_program
from tests.components.test_gateways import aws_rules, config, depends_on, gcp_rules, tunnel

OVERLAY = "10.100.0.0/16"
ROUTES = {f"sites/{site}/overlayRoutes": True for site in ("hetzner", "aws", "gcp")}
PRIVATE = {"spokes/aws-1/publicAddress": False, "pools/aws-burst/publicAddress": False}
GIVEN = {"sites/aws/vpcId": "vpc-7", "sites/aws/subnetId": "subnet-7"}


def run_with(changes: Mapping[str, Any]) -> Run:
    return run_program(config(changes))


def test_without_being_asked_to_no_cloud_routes_anything_to_a_gateway() -> None:
    run = run_with({})
    kinds = {r.type.rpartition(":")[2] for r in run.resources}
    assert not kinds & {"Route", "NetworkRoute"}
    (table,) = run.of_type("aws:ec2/routeTable:RouteTable")
    assert table.inputs["routes"] == [{"cidrBlock": "0.0.0.0/0", "gatewayId": run.named("aws-internet").id}]
    assert "aws-association" in depends_on(run.named("aws-gw-instance"))


def test_machines_of_each_sites_network_reach_the_overlay_by_its_gateway() -> None:
    run = run_with(ROUTES)
    interface = interface_of("aws-gw-instance")
    assert run.named("aws-routes").inputs["routes"] == [
        {"cidrBlock": "0.0.0.0/0", "gatewayId": run.named("aws-internet").id},
        {"cidrBlock": OVERLAY, "networkInterfaceId": interface},
    ]
    route = run.named("gcp-overlay-route").inputs
    assert (route["destRange"], route["nextHopInstance"]) == (OVERLAY, link_of("gcp-gw-instance"))
    assert route["network"] == run.named("gcp-network").id
    route = run.named("hetzner-overlay-route").inputs
    assert (route["destination"], route["gateway"]) == (OVERLAY, "10.0.0.254")
    assert "hetzner-subnet" in depends_on(run.named("hetzner-overlay-route"))


def test_gateways_let_their_sites_networks_in_where_these_are_routed_to_them() -> None:
    run = run_with(ROUTES)
    assert ("-1", None, None, "172.28.0.0/20") in aws_rules(run, "aws-gw-group")
    lan = gcp_rules(run, "hybrid-wireguard-dev-gcp-gateway")["gcp-lan"]
    assert lan == ([{"protocol": "all"}], ["172.29.0.0/20"])
    without = run_with({})
    assert "-1" not in {rule[0] for rule in aws_rules(without, "aws-gw-group")}
    assert "gcp-lan" not in gcp_rules(without, "hybrid-wireguard-dev-gcp-gateway")


def test_nothing_waits_for_itself_where_a_table_leads_to_the_gateway() -> None:
    run = run_with(ROUTES)
    assert "aws-internet" in depends_on(run.named("aws-gw-instance"))
    assert not depends_on(run.named("aws-gw-instance")) & {"aws-routes", "aws-association"}
    assert "aws-gw-instance" in depends_on(run.named("aws-routes"))
    assert "aws-internet" in depends_on(run.named("aws-gw-association")), "an address needs a way out"
    for name in ("aws-1-instance", "aws-burst-group"):
        assert "aws-association" in depends_on(run.named(name)), "others boot once there is one"


def test_private_machines_of_a_made_vpc_stand_in_a_subnet_that_leads_out_by_the_gateway() -> None:
    run = run_with(PRIVATE)
    public, private = run.named("aws-subnet"), run.named("aws-private-subnet")
    assert (public.inputs["cidrBlock"], private.inputs["cidrBlock"]) == ("172.28.0.0/21", "172.28.8.0/21")
    table = run.named("aws-private-routes")
    assert table.inputs["routes"] == [{"cidrBlock": "0.0.0.0/0", "networkInterfaceId": interface_of("aws-gw-instance")}]
    association = run.named("aws-private-association").inputs
    assert (association["subnetId"], association["routeTableId"]) == (private.id, table.id)
    instance, group = run.named("aws-1-instance"), run.named("aws-burst-group")
    assert instance.inputs["subnetId"] == private.id
    assert instance.inputs["associatePublicIpAddress"] is False
    assert group.inputs["vpcZoneIdentifiers"] == [private.id]
    for machine in (instance, group):
        assert "aws-private-association" in depends_on(machine)
    gateway = run.named("aws-gw-instance").inputs
    assert (gateway["subnetId"], gateway["privateIp"]) == (public.id, "172.28.7.254")
    assert tunnel(run, "aws-1-instance")[0] == "172.28.7.254:51820"
    assert ("-1", None, None, "172.28.8.0/21") in aws_rules(run, "aws-gw-group"), "what it shall forward"
    sites = run.named("roster").inputs["network"]["sites"]
    assert (sites["aws"]["lan"], sites["aws"].get("lanGroup")) == ("172.28.8.0/21", None), "out, and not to the overlay"
    assert not [name for name, site in sites.items() if "lan" in site and name != "aws"]


def test_a_given_vpcs_tables_lead_to_the_overlay_where_they_are_named() -> None:
    given = {**GIVEN, "sites/aws/vpcCidr": "10.7.0.0/16", "gateways/aws-gw/privateAddress": "10.7.0.9"}
    tables = {"sites/aws/overlayRoutes": True, "sites/aws/routeTableIds": ["rtb-1", "rtb-2"]}
    run = run_with({**given, **tables})
    routes = {r.inputs["routeTableId"]: r.inputs for r in run.of_type("aws:ec2/route:Route")}
    assert set(routes) == {"rtb-1", "rtb-2"}
    for route in routes.values():
        assert route["destinationCidrBlock"] == OVERLAY
        assert route["networkInterfaceId"] == interface_of("aws-gw-instance")
    assert run.named("aws-gw-instance").inputs["subnetId"] == "subnet-7"
    assert ("-1", None, None, "10.7.0.0/16") in aws_rules(run, "aws-gw-group")
    site = run.named("roster").inputs["network"]["sites"]["aws"]
    assert (site["lan"], site["lanGroup"]) == ("10.7.0.0/16", ""), "to the overlay, where nobody is in a group"
    assert not run.of_type("aws:ec2/routeTable:RouteTable")


def test_private_machines_of_a_given_vpc_stand_in_its_subnet_and_leave_as_its_owner_says() -> None:
    run = run_with({**GIVEN, **PRIVATE, "gateways/aws-gw/privateAddress": "10.7.0.9"})
    assert run.named("aws-1-instance").inputs["subnetId"] == "subnet-7"
    assert not run.of_type("aws:ec2/route:Route")
    assert "-1" not in {rule[0] for rule in aws_rules(run, "aws-gw-group")}
