"""The shape of the stack's config; keys are camelCase under ``hybrid-wireguard:``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field, StrictStr

from components.settings.serving import LoadBalancerSettings, ServingSettings, Shares, TlsCertificate
from components.settings.types import (
    EVERYWHERE,
    Address4,
    AdminNetwork,
    CertificatePem,
    Flag,
    HealthPath,
    Network4,
    Network6,
    NetworkId,
    OpenSshKey,
    PublicAddress,
    Revision,
    Source,
    SourceNetwork,
    Strict,
    WireGuardKey,
    Word,
    whole,
)
from overlay.model import DOMAIN, EXTERNAL

DEFAULT_IMAGE = "ubuntu-22.04"
DEFAULT_LOCATION = "fsn1"
DEFAULT_AWS_RANGE = IPv4Network("172.28.0.0/20")
DEFAULT_GCP_RANGE = IPv4Network("172.29.0.0/20")
"""Ranges of the networks that the stack makes itself; apart from 10.0.0.0/8, where overlays are."""
MAX_MEMBERS = 10_000
"""Machines in one pool; an AWS group or a GCP one takes no more than some thousands."""
DEFAULT_SERVER_TYPE: Mapping[str, str] = {"hetzner": "cx22", "aws": "t3.small", "gcp": "e2-small"}


class NetworkSettings(Strict):
    """``network``: the overlay, how its nodes peer, and what their names end with."""

    overlay: Network4 = IPv4Network("10.100.0.0/16")
    topology: Word = "hub"
    overlay6: Network6 | None = None
    domain: Word = DOMAIN


class GroupSettings(Strict):
    """``groups.<name>``: whom its members may open connections to; a group's name, or ``all``."""

    reaches: tuple[Word, ...] = ()


class _OwnNetwork(Strict):
    """What a site with a network of its own may have. ``overlay_routes`` lets machines that run no WireGuard in.

    They reach the overlay through the site's gateway, as members of ``lan_group``.
    """

    subnet: Network4
    overlay_routes: Flag = False
    lan_group: Word | None = None


class HetznerSite(_OwnNetwork):
    """A Hetzner site. A private network is used when ``network_id`` names one or ``network_cidr`` asks for one."""

    cloud: Literal["hetzner"]
    location: Word = DEFAULT_LOCATION
    network_id: NetworkId | None = None
    network_cidr: Network4 | None = None
    serving: ServingSettings = ServingSettings()

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
    """An AWS site. ``vpc_id`` and ``subnet_id`` name a VPC to use; without them the stack makes one.

    ``route_table_ids`` are those of a given VPC that shall lead to the overlay. ``identity_certificates`` are those
    that AWS signs instance identity documents of the region with.
    """

    cloud: Literal["aws"]
    region: Word
    availability_zone: Word | None = None
    vpc_id: Word | None = None
    subnet_id: Word | None = None
    vpc_cidr: Network4 | None = None
    route_table_ids: tuple[Word, ...] = ()
    identity_certificates: tuple[CertificatePem, ...] = ()
    serving: ServingSettings = ServingSettings()

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
    project: Word
    region: Word
    zone: Word
    network: Word | None = None
    subnetwork: Word | None = None
    subnet_cidr: Network4 | None = None
    serving: ServingSettings = ServingSettings()

    @property
    def made_range(self) -> IPv4Network:
        """The range of the subnetwork that the stack makes."""
        return self.subnet_cidr or DEFAULT_GCP_RANGE

    @property
    def own_range(self) -> IPv4Network | None:
        """The range of the site's own network, where it is known."""
        return self.subnet_cidr if self.network else self.made_range


class ExternalSite(Strict):
    """A site of machines that the stack does not make: laptops, and servers that others run."""

    cloud: Literal["external"]
    subnet: Network4
    serving: ServingSettings = ServingSettings()

    @property
    def region(self) -> str:
        return EXTERNAL

    @property
    def own_range(self) -> IPv4Network | None:
        """None: nobody knows where its machines are."""
        return None


SiteSettings = HetznerSite | AwsSite | GcpSite | ExternalSite


class _Machine(Strict):
    site: Word
    address: Address4 | None = None
    image: Word = DEFAULT_IMAGE
    location: Word | None = None
    revision: Revision = 1


class GatewaySettings(_Machine):
    """A WireGuard gateway; ``server_type`` is its cloud's default when None.

    With ``ipv6`` machines reach it by IPv6 too. ``private_address`` is in its site's own network.
    """

    server_type: Word | None = None
    private_address: Address4 | None = None
    ipv6: Flag = False


class SpokeSettings(_Machine):
    """A machine that joins through its gateway; ``server_type`` is its cloud's default when None.

    ``serves`` says whether the load balancer sends it requests; by default all do but those of external sites. The
    owner of a machine of an external site may keep its private key and give ``public_key`` alone.
    """

    server_type: Word | None = None
    public_address: PublicAddress | None = None
    public_key: WireGuardKey | None = None
    group: Word | None = None
    serves: Flag | None = None


class PoolSettings(Shares):
    """Machines that join at run time. What its cloud has no use for is None or the default (``checks`` sees to it).

    The machines of an ``external`` pool are made by others, wherever they are. ``addresses`` is the part of the site's
    subnet that they draw from. AWS and GCP hold ``minimum`` to ``maximum`` of them, Hetzner ``count``. ``lease_ttl``
    and ``address_rest`` are in seconds, as in :class:`overlay.pools.Pool`.
    """

    kind: Literal["managed", "external"] = "managed"
    site: Word
    group: Word | None = None
    addresses: Network4 = Field(alias="range")
    minimum: Annotated[int, whole(0, MAX_MEMBERS)] | None = Field(default=None, alias="min")
    maximum: Annotated[int, whole(1, MAX_MEMBERS)] | None = Field(default=None, alias="max")
    count: Annotated[int, whole(1, MAX_MEMBERS)] | None = None
    server_types: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None
    on_demand_base: Annotated[int, whole(0, MAX_MEMBERS)] | None = None
    image: Word = DEFAULT_IMAGE
    public_address: Flag | None = None
    port: Annotated[int, whole(1, 65535)] = 8000
    health_path: HealthPath = "/health"
    user_setup: StrictStr = ""
    drain_hook: StrictStr = ""
    labels: Mapping[StrictStr, StrictStr] = Field(default_factory=dict[str, str])
    token_revision: Revision = 1
    require_identity: Flag = False
    lease_ttl: Annotated[int, whole(10, 7 * 86400)] = 300
    address_rest: Annotated[int, whole(0, 7 * 86400)] = 600
    revision: Revision | None = None

    @property
    def limit(self) -> int:
        """How many machines work in it at once, at most."""
        return self.maximum or self.count or 0

    @property
    def is_external(self) -> bool:
        return self.kind == "external"


class GeneralSettings(Strict):
    """The settings that are single values or lists."""

    network: NetworkSettings = NetworkSettings()
    groups: Mapping[StrictStr, GroupSettings] = Field(default_factory=dict[str, GroupSettings])
    admin_cidrs: tuple[AdminNetwork, ...] = ()
    wireguard_sources: Annotated[tuple[SourceNetwork, ...], Field(min_length=1)] = EVERYWHERE
    revoked_keys: tuple[WireGuardKey, ...] = ()
    prefix: Word | None = None
    keep_retired_server_types: Flag = False
    ssh_public_key: OpenSshKey | None = None
    protect: Flag = True
    load_balancer: LoadBalancerSettings = LoadBalancerSettings()


@dataclass(frozen=True)
class Settings:
    """Everything the program is told.

    Secrets: ``private_keys``, WireGuard private keys (base64) by node; ``tls_certificate`` and ``api_keys`` (by name),
    what the load balancer shows and asks for.
    """

    project: str
    stack: str
    prefix: str
    overlay: IPv4Network
    topology: str
    overlay6: IPv6Network | None
    domain: str
    groups: Mapping[str, GroupSettings]
    sites: Mapping[str, SiteSettings]
    gateways: Mapping[str, GatewaySettings]
    spokes: Mapping[str, SpokeSettings]
    pools: Mapping[str, PoolSettings]
    admin_cidrs: tuple[Source, ...]
    wireguard_sources: tuple[Source, ...]
    revoked_keys: tuple[str, ...]
    keep_retired_server_types: bool
    ssh_public_key: str | None
    protect: bool
    load_balancer: LoadBalancerSettings
    private_keys: Mapping[str, str] = field(repr=False)
    tls_certificate: TlsCertificate | None = field(repr=False)
    api_keys: Mapping[str, str] = field(repr=False)

    def is_external(self, site: str) -> bool:
        """Whether the machines of ``site`` are not the stack's."""
        return isinstance(self.sites[site], ExternalSite)
