"""The shape of ``sites``: where machines stand, by cloud."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Literal

from components.settings.serving import ServingSettings
from components.settings.types import CertificatePem, Flag, Network4, NetworkId, Strict, Word
from components.settings.words import Unset, in_code
from overlay.model import EXTERNAL

DEFAULT_LOCATION = "fsn1"
DEFAULT_AWS_RANGE = IPv4Network("172.28.0.0/20")
DEFAULT_GCP_RANGE = IPv4Network("172.29.0.0/20")
"""Ranges of the networks that the stack makes itself; apart from 10.0.0.0/8, where overlays are."""


class _Site(Strict):
    subnet: Network4
    """The site's part of the overlay."""
    serving: ServingSettings = ServingSettings()
    """How its spokes serve, see [below](#load-balancer)."""


class _OwnNetwork(_Site):
    """What a site with a network of its own may have. ``overlay_routes`` lets machines that run no WireGuard in.

    They reach the overlay through the site's gateway, as members of ``lan_group``.
    """

    overlay_routes: Flag = False
    """Whether the site's network has routes to the overlay, and the gateway lets in who comes from there: under the
    gateway's own address, so nobody opens connections to them. The site has a gateway, and its range must be known
    (`networkCidr`, `vpcCidr`, `subnetCidr`); two such sites' may not overlap. Hetzner takes overlays of RFC 1918
    without 172.31.1.1 alone, and [its servers need a route of their
    own](topologies.md#machines-of-a-vpc-without-wireguard)."""
    lan_group: Annotated[Word | None, Unset("none; required with `overlayRoutes` and groups")] = None
    """The [group](#groups) that such machines count as."""


class HetznerSite(_OwnNetwork):
    """A Hetzner site. A private network is used when ``network_id`` names one or ``network_cidr`` asks for one."""

    cloud: Literal["hetzner"]
    """Whose machines stand there."""
    location: Word = DEFAULT_LOCATION
    """Hetzner's location."""
    network_id: NetworkId | None = None
    """A private network that exists. With neither this nor `networkCidr` none is used."""
    network_cidr: Network4 | None = None
    """The range of a private network to have one made, /29 or larger; with `networkId`, the range of that one."""

    @property
    def region(self) -> str:
        return self.location

    @property
    def own_range(self) -> IPv4Network | None:
        """The range of the site's own network, where it is known."""
        return self.network_cidr

    @property
    def has_private_network(self) -> bool:
        return self.network_id is not None or self.network_cidr is not None


class AwsSite(_OwnNetwork):
    """An AWS site. ``vpc_id`` and ``subnet_id`` name a VPC to use; without them the stack makes one."""

    cloud: Literal["aws"]
    """Whose machines stand there."""
    region: Word
    """The cloud's region."""
    availability_zone: Annotated[Word | None, Unset("AWS chooses")] = None
    """A zone of the region, such as `eu-central-1a`."""
    vpc_id: Annotated[Word | None, Unset("the stack makes one")] = None
    """A VPC to use, together with `subnetId`."""
    subnet_id: Annotated[Word | None, Unset("the stack makes one")] = None
    """The subnet of that VPC that machines go to."""
    vpc_cidr: Annotated[Network4 | None, Unset(in_code(DEFAULT_AWS_RANGE))] = None
    """The range, /16 to /28, of the VPC with a public subnet that the stack makes. Where some machine says
    `publicAddress: false`, the upper half is a private subnet that leads out by the site's gateway (so /27 or larger),
    and the first such machine makes those of the site anew that were there before, its gateway too; AWS deletes no
    subnet with machines in it, so scale the site's pools to none before. With `vpcId`, which has no default here, it
    says that VPC's range, so that an overlap is found."""
    route_table_ids: Annotated[tuple[Word, ...], Unset("none; required with `overlayRoutes` and `vpcId`")] = ()
    """Route tables of the VPC that get the routes to the overlay."""
    identity_certificates: tuple[CertificatePem, ...] = ()
    """Those (RSA) that AWS signs the region's instance identity documents with, for pools that ask for them; AWS
    [publishes them](https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/regions-certs.html)."""

    @property
    def made_range(self) -> IPv4Network:
        """The range of the VPC that the stack makes."""
        return self.vpc_cidr or DEFAULT_AWS_RANGE

    @property
    def own_range(self) -> IPv4Network | None:
        """The range of the site's own network, where it is known."""
        return self.vpc_cidr if self.vpc_id else self.made_range


class GcpSite(_OwnNetwork):
    """A GCP site. ``network`` and ``subnetwork`` name a VPC to use; without them the stack makes one with NAT."""

    cloud: Literal["gcp"]
    """Whose machines stand there."""
    project: Word
    """The id of the project."""
    region: Word
    """The cloud's region."""
    zone: Word
    """A zone of the region, such as `europe-west3-a`."""
    network: Annotated[Word | None, Unset("the stack makes one")] = None
    """A VPC to use, together with `subnetwork`. The default network is never used unless it is named."""
    subnetwork: Annotated[Word | None, Unset("the stack makes one")] = None
    """The subnetwork that machines go to."""
    subnet_cidr: Annotated[Network4 | None, Unset(in_code(DEFAULT_GCP_RANGE))] = None
    """The range, /29 or larger, of the subnetwork with Cloud NAT that the stack makes. With `network`, which has no
    default here, it says that subnetwork's range."""

    @property
    def made_range(self) -> IPv4Network:
        """The range of the subnetwork that the stack makes."""
        return self.subnet_cidr or DEFAULT_GCP_RANGE

    @property
    def own_range(self) -> IPv4Network | None:
        """The range of the site's own network, where it is known."""
        return self.subnet_cidr if self.network else self.made_range


class ExternalSite(_Site):
    """A site of machines that the stack does not make: laptops, and servers that others run."""

    cloud: Literal["external"]
    """Whose machines stand there."""

    @property
    def region(self) -> str:
        return EXTERNAL

    @property
    def own_range(self) -> IPv4Network | None:
        """None: nobody knows where its machines are."""
        return None


SiteSettings = HetznerSite | AwsSite | GcpSite | ExternalSite
