"""What can be wrong with sites whose shapes are right: their own networks, routes from there, room in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from components.settings.models import Settings
from components.settings.places import has_gateway, has_private_machines, private_range, public_range
from components.settings.sites import AwsSite, ExternalSite, GcpSite, HetznerSite, SiteSettings
from overlay.checks import Problem

RANGE_KEY: Mapping[str, str] = {"hetzner": "networkCidr", "aws": "vpcCidr", "gcp": "subnetCidr"}
"""By cloud, the key that says the range of a site's own network."""
_RESERVED = {"hetzner": 3, "aws": 5, "gcp": 4}
"""Addresses that each cloud keeps for itself in a subnet (AWS: 5; GCP: 4; Hetzner: network, gateway, broadcast)."""
_ROUTED_BY_HETZNER = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_ROUTER_OF_HETZNER = IPv4Address("172.31.1.1")
"""Where routes of Hetzner's networks may lead, and an address that may not be among it (Hetzner Cloud API, add a route
to a network)."""
_LONGEST_AWS = 28
"""Prefix length of the smallest subnet that AWS takes."""


def site_problems(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong with single sites, and with what they show of their own networks."""
    for name, site in settings.sites.items():
        where = f"sites.{name}"
        yield from _range_problems(settings, where, name, site)
        yield from _route_problems(settings, where, name, site)
        yield from _capacity_problems(settings, where, name, site)
    yield from _overlap_problems(settings)


def _together(where: str, given: dict[str, object]) -> Iterator[Problem]:
    missing = [key for key, value in given.items() if value is None]
    present = [key for key, value in given.items() if value is not None]
    if missing and present:
        value = str(given[present[0]])
        reason = f"{present[0]} alone does not say where machines go"
        yield Problem(f"{where}.{present[0]}", value, reason, f"give {missing[0]} too, or neither of them")


def _range_problems(settings: Settings, where: str, name: str, site: SiteSettings) -> Iterator[Problem]:
    match site:
        case AwsSite():
            yield from _together(where, {"vpcId": site.vpc_id, "subnetId": site.subnet_id})
            zone = site.availability_zone
            if zone is not None and not zone.startswith(site.region):
                reason = f"it is not a zone of {site.region}"
                yield Problem(f"{where}.availabilityZone", zone, reason, f"write it like {site.region}a")
            length = site.made_range.prefixlen
            if not 16 <= length <= _LONGEST_AWS:
                yield Problem(f"{where}.vpcCidr", str(site.vpc_cidr), "AWS takes /16 to /28", "choose such a network")
            elif site.vpc_id is None and length == _LONGEST_AWS and has_private_machines(settings, name):
                reason = (
                    "it holds two subnets, since some machines have no public address, and AWS takes none below /28"
                )
                yield Problem(f"{where}.vpcCidr", str(site.vpc_cidr), reason, "widen it to /27 or more")
        case GcpSite():
            yield from _together(where, {"network": site.network, "subnetwork": site.subnetwork})
            if site.zone.rpartition("-")[0] != site.region:
                reason = f"it is not a zone of {site.region}"
                yield Problem(f"{where}.zone", site.zone, reason, f"write it like {site.region}-a")
            if site.made_range.prefixlen > 29:
                yield Problem(f"{where}.subnetCidr", str(site.subnet_cidr), "GCP takes /29 or larger", "widen it")
        case HetznerSite():
            if site.network_cidr is not None and (site.network_cidr.prefixlen > 29 or not site.network_cidr.is_private):
                reason = "Hetzner takes private ranges of /29 or larger"
                yield Problem(f"{where}.networkCidr", str(site.network_cidr), reason, "choose such a network")
        case ExternalSite():
            pass


def _route_problems(settings: Settings, where: str, name: str, site: SiteSettings) -> Iterator[Problem]:
    """What keeps machines of the site's own network that run no WireGuard from the overlay, or is of no use."""
    if isinstance(site, ExternalSite):
        return
    tables = site.route_table_ids if isinstance(site, AwsSite) else ()
    if not site.overlay_routes:
        reason, remedy = "nothing uses it without overlayRoutes", "set overlayRoutes to true, or remove it"
        if site.lan_group is not None:
            yield Problem(f"{where}.lanGroup", site.lan_group, reason, remedy)
        if tables:
            yield Problem(f"{where}.routeTableIds", ", ".join(tables), reason, remedy)
        return
    if settings.groups and site.lan_group is None:
        remedy = f"use one of: {', '.join(settings.groups)}"
        yield Problem(f"{where}.lanGroup", "nothing", "where there are groups everybody is in one", remedy)
    if not has_gateway(settings, name):
        reason = "the way to the overlay is a gateway in the site, and there is none"
        yield Problem(f"{where}.overlayRoutes", "true", reason, f"declare a gateway in {name}, or remove it")
    if isinstance(site, HetznerSite) and not site.has_private_network:
        reason = "the site has no private network whose machines could use it"
        yield Problem(f"{where}.overlayRoutes", "true", reason, "give networkId or networkCidr, or remove it")
    elif site.own_range is None:
        reason = "overlayRoutes lets in who comes from the site's own network, whose range is not known"
        yield Problem(f"{where}.{RANGE_KEY[site.cloud]}", "nothing", reason, "say what it is")
    if isinstance(site, AwsSite):
        yield from _table_problems(where, site)
    if isinstance(site, HetznerSite) and not _is_routed_by_hetzner(settings.overlay):
        reason = f"Hetzner's routes lead to private ranges of RFC 1918 without {_ROUTER_OF_HETZNER}, and not to "
        remedy = "remove it, or move network.overlay"
        yield Problem(f"{where}.overlayRoutes", "true", f"{reason}{settings.overlay}", remedy)


def _is_routed_by_hetzner(overlay: IPv4Network) -> bool:
    return _ROUTER_OF_HETZNER not in overlay and any(overlay.subnet_of(private) for private in _ROUTED_BY_HETZNER)


def _table_problems(where: str, site: AwsSite) -> Iterator[Problem]:
    tables = site.route_table_ids
    if site.vpc_id is None and tables:
        reason = "the stack makes the VPC and knows its route tables"
        yield Problem(f"{where}.routeTableIds", ", ".join(tables), reason, "remove it")
    if site.vpc_id is not None and not tables:
        reason = f"nothing says which route tables of {site.vpc_id} shall lead to the overlay"
        remedy = "name those of the subnets whose machines shall reach it"
        yield Problem(f"{where}.routeTableIds", "nothing", reason, remedy)
    for table, count in Counter(tables).items():
        if count > 1:
            yield Problem(f"{where}.routeTableIds", table, "it stands there twice", "remove one of the two")


def _overlap_problems(settings: Settings) -> Iterator[Problem]:
    """Two own networks with one range: nobody could tell the machines of one from the other's."""
    lans = [
        (name, site)
        for name, site in settings.sites.items()
        if not isinstance(site, ExternalSite) and site.overlay_routes
    ]
    for (one, first), (other, second) in combinations(lans, 2):
        if first.own_range is not None and second.own_range is not None and first.own_range.overlaps(second.own_range):
            reason = f"it overlaps {first.own_range} of site {one}, and machines of both reach the overlay"
            where = f"sites.{other}.{RANGE_KEY[second.cloud]}"
            yield Problem(where, str(second.own_range), reason, "give each of the two a range of its own")


def _capacity_problems(settings: Settings, where: str, name: str, site: SiteSettings) -> Iterator[Problem]:
    """More machines than the networks that hold them have addresses for."""
    if isinstance(site, ExternalSite) or site.own_range is None:
        return
    for subnet, machines in _filling(settings, name, site, site.own_range):
        room = subnet.num_addresses - _RESERVED[site.cloud]
        if machines > room:
            part = "it" if subnet == site.own_range else f"its part {subnet}"
            reason = f"{part} has room for {max(room, 0)} machines, and the site has {machines}"
            yield Problem(f"{where}.{RANGE_KEY[site.cloud]}", str(site.own_range), reason, "widen it")


def _filling(
    settings: Settings, name: str, site: SiteSettings, whole: IPv4Network
) -> Iterator[tuple[IPv4Network, int]]:
    """The site's subnets, and how many machines are to be in each."""
    spokes = [spoke for spoke in settings.spokes.values() if spoke.site == name]
    pools = [pool for pool in settings.pools.values() if pool.site == name and not pool.is_external]
    gateways = sum(gateway.site == name for gateway in settings.gateways.values())
    private = private_range(settings, name) if isinstance(site, AwsSite) and site.vpc_id is None else None
    if private is None:
        yield whole, gateways + len(spokes) + sum(pool.limit for pool in pools)
        return
    hidden = sum(spoke.public_address is False for spoke in spokes)
    hidden += sum(pool.limit for pool in pools if pool.public_address is False)
    shown = sum(spoke.public_address is not False for spoke in spokes)
    shown += sum(pool.limit for pool in pools if pool.public_address is not False)
    yield public_range(settings, name), gateways + shown
    yield private, hidden
