"""AWS: the VPC that a site's machines stand in, and the way that their packets leave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

import pulumi
import pulumi_aws as aws

from components.machine import fixed
from components.settings.models import Settings
from components.settings.places import private_range, public_range
from components.settings.sites import AwsSite

_EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Place:
    """Where instances go; ``ready`` must exist before one boots, or it would have no way out and install nothing."""

    subnet_id: pulumi.Output[str]
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class SiteResources:
    """Whose VPC it is: what names of resources begin with, what all have alike, whose children they are."""

    name: str
    settings: Settings
    site: AwsSite
    tags: Mapping[str, str]
    parent: pulumi.Resource


class GivenVpc:
    """A VPC that is the user's, and so are its ways out; all machines of the site stand in one subnet of it."""

    vpc_id: pulumi.Output[str]

    def __init__(self, owner: SiteResources) -> None:
        vpc_id, subnet_id = owner.site.vpc_id, owner.site.subnet_id
        assert vpc_id is not None
        assert subnet_id is not None
        self._owner = owner
        self.vpc_id = pulumi.Output.from_input(vpc_id)
        self._place = Place(pulumi.Output.from_input(subnet_id), ())

    def place(self, *, public: bool) -> Place:
        """Where machines go, those with a public address and those without."""
        del public
        return self._place

    def lead_to(self, gateway: aws.ec2.Instance) -> None:
        """Has the route tables that the settings name lead to the overlay by the site's gateway."""
        owner = self._owner
        if not owner.site.overlay_routes:
            return
        for table in owner.site.route_table_ids:
            aws.ec2.Route(
                f"{owner.name}-overlay-{table}",
                route_table_id=table,
                destination_cidr_block=str(owner.settings.overlay),
                network_interface_id=gateway.primary_network_interface_id,
                region=owner.site.region,
                opts=fixed(owner.parent),
            )


class MadeVpc:
    """A VPC of the stack's own: a public subnet, and a private one where some machines have no public address.

    What leaves the private one goes by the site's gateway.
    """

    vpc_id: pulumi.Output[str]

    def __init__(self, owner: SiteResources) -> None:
        self._owner = owner
        vpc = aws.ec2.Vpc(
            f"{owner.name}-vpc",
            cidr_block=str(owner.site.made_range),
            enable_dns_support=True,
            enable_dns_hostnames=True,
            region=owner.site.region,
            tags=owner.tags,
            opts=pulumi.ResourceOptions(parent=owner.parent),
        )
        self.vpc_id = vpc.id
        self._subnet = self._make_subnet("subnet", public_range(owner.settings, owner.name))
        self._internet = aws.ec2.InternetGateway(
            f"{owner.name}-internet", vpc_id=vpc.id, region=owner.site.region, tags=owner.tags, opts=fixed(owner.parent)
        )
        self._private: Place | None = None
        # A table's routes are all its own or all resources, never both: one that leads to the gateway comes after it,
        # and the gateway's first boot tries until there is a way out.
        self._public = Place(
            self._subnet.id, (self._internet,) if owner.site.overlay_routes else (self._lead_out(None),)
        )

    def _make_subnet(self, what: str, cidr: IPv4Network) -> aws.ec2.Subnet:
        owner = self._owner
        return aws.ec2.Subnet(
            f"{owner.name}-{what}",
            vpc_id=self.vpc_id,
            cidr_block=str(cidr),
            availability_zone=owner.site.availability_zone,
            region=owner.site.region,
            tags=owner.tags,
            opts=fixed(owner.parent),
        )

    def _lead_out(self, gateway: aws.ec2.Instance | None) -> aws.ec2.RouteTableAssociation:
        """The public subnet's routes: to the internet, and by ``gateway`` to the overlay."""
        routes = [aws.ec2.RouteTableRouteArgs(cidr_block=_EVERYWHERE, gateway_id=self._internet.id)]
        if gateway is not None:
            overlay, interface = str(self._owner.settings.overlay), gateway.primary_network_interface_id
            routes.append(aws.ec2.RouteTableRouteArgs(cidr_block=overlay, network_interface_id=interface))
        return self._give_routes("", self._subnet, routes)

    def _give_routes(
        self, what: str, subnet: aws.ec2.Subnet, routes: list[aws.ec2.RouteTableRouteArgs]
    ) -> aws.ec2.RouteTableAssociation:
        owner = self._owner
        table = aws.ec2.RouteTable(
            f"{owner.name}-{what}routes",
            vpc_id=self.vpc_id,
            routes=routes,
            region=owner.site.region,
            tags=owner.tags,
            opts=pulumi.ResourceOptions(parent=owner.parent),
        )
        return aws.ec2.RouteTableAssociation(
            f"{owner.name}-{what}association",
            subnet_id=subnet.id,
            route_table_id=table.id,
            region=owner.site.region,
            opts=fixed(owner.parent),
        )

    def place(self, *, public: bool) -> Place:
        """Where machines go, those with a public address and those without."""
        if public:
            return self._public
        assert self._private is not None, "the settings' checks ask for a gateway where machines are private"
        return self._private

    def lead_to(self, gateway: aws.ec2.Instance) -> None:
        """Makes the routes that lead to the site's gateway, which nobody but it may come before."""
        owner = self._owner
        if owner.site.overlay_routes:
            self._public = Place(self._subnet.id, (self._lead_out(gateway),))
        cidr = private_range(owner.settings, owner.name)
        if cidr is not None:
            subnet = self._make_subnet("private-subnet", cidr)
            interface = gateway.primary_network_interface_id
            way_out = [aws.ec2.RouteTableRouteArgs(cidr_block=_EVERYWHERE, network_interface_id=interface)]
            self._private = Place(subnet.id, (self._give_routes("private-", subnet, way_out),))
