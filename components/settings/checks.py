"""What can be wrong with settings whose shapes are right: names, places, addresses, keys, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from components.images import unknown_image
from components.keys import public_key_of
from components.names import name_problems
from components.plan import AddressProblemsError, nodes_of, overlay_network
from components.pool_plan import overlay_pools
from components.settings.errors import SECRET, nearest, shown
from components.settings.models import AwsSite, ExternalSite, GcpSite, HetznerSite, Settings, SiteSettings
from components.settings.pool_checks import pool_problems
from components.settings.serving_checks import serving_problems
from components.userdata import size_problems
from overlay import checks
from overlay.checks import Problem
from overlay.model import is_wireguard_key

MAX_SOURCES = 50
"""Networks in one list: AWS takes 60 rules in a security group, Hetzner 100 networks in a rule."""
_CARRIER_GRADE = IPv4Network("100.64.0.0/10")
_RANGE_KEY = {"hetzner": "networkCidr", "aws": "vpcCidr", "gcp": "subnetCidr"}
_RESERVED = {"hetzner": 3, "aws": 5, "gcp": 4}
"""Addresses that each cloud keeps for itself in a subnet (AWS: 5; GCP: 4; Hetzner: network, gateway, broadcast)."""


def setting_problems(settings: Settings) -> list[Problem]:
    """Everything that is wrong, each group only when those before it found nothing."""
    for group in (_reference_problems, _shape_problems, _network_problems, size_problems):
        found = list(group(settings))
        if found:
            return found
    return []


def _reference_problems(settings: Settings) -> Iterator[Problem]:
    yield from name_problems(settings)
    for kind, declared in (("gateways", settings.gateways), ("spokes", settings.spokes), ("pools", settings.pools)):
        for name, wanted in declared.items():
            if wanted.site not in settings.sites:
                remedy = nearest(wanted.site, settings.sites)
                yield Problem(f"{kind}.{name}.site", wanted.site, "no such site", remedy)
    if not settings.gateways:
        yield Problem("gateways", "nothing", "the network has no gateway", "declare one on a hetzner site")


def _shape_problems(settings: Settings) -> Iterator[Problem]:
    yield from _overlay_range_problems(settings)
    for name, site in settings.sites.items():
        yield from _site_problems(f"sites.{name}", site)
        yield from _capacity_problems(settings, name, site)
    yield from _gateway_problems(settings)
    yield from _spoke_problems(settings)
    yield from pool_problems(settings)
    yield from serving_problems(settings)
    yield from _key_problems(settings)
    yield from _source_problems(settings)


def _source_problems(settings: Settings) -> Iterator[Problem]:
    for key, sources in (
        ("adminCidrs", settings.admin_cidrs),
        ("wireguardSources", settings.wireguard_sources),
        ("loadBalancer.sources", settings.load_balancer.sources),
    ):
        if len(sources) > MAX_SOURCES:
            reason = f"clouds' firewalls take at most {MAX_SOURCES} networks here"
            yield Problem(key, f"{len(sources)} networks", reason, "join neighbouring networks")
        for source, count in Counter(sources).items():
            if count > 1:
                yield Problem(key, str(source), "it stands there twice", "remove one of the two")
    for name, site in settings.sites.items():
        private = site.network_cidr if isinstance(site, HetznerSite) else None
        within = [s for s in settings.wireguard_sources if isinstance(s, IPv4Network)]
        if private is not None and not any(private.subnet_of(source) for source in within):
            reason = f"spokes of {name} come from its private network {private}, which is not among them"
            yield Problem("wireguardSources", ", ".join(map(str, settings.wireguard_sources)), reason, f"add {private}")


def _overlay_range_problems(settings: Settings) -> Iterator[Problem]:
    overlay = settings.overlay
    usable = (overlay.is_private or overlay.subnet_of(_CARRIER_GRADE)) and not (
        overlay.is_link_local or overlay.is_loopback or overlay.is_reserved
    )
    if not usable:
        remedy = "use a part of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
        yield Problem("network.overlay", str(overlay), "it is not a private network", remedy)
    elif overlay.prefixlen > 29:
        yield Problem("network.overlay", str(overlay), "it is too small for a network", "use a /29 or larger")


def _together(where: str, given: dict[str, object]) -> Iterator[Problem]:
    missing = [key for key, value in given.items() if value is None]
    present = [key for key, value in given.items() if value is not None]
    if missing and present:
        value = str(given[present[0]])
        reason = f"{present[0]} alone does not say where machines go"
        yield Problem(f"{where}.{present[0]}", value, reason, f"give {missing[0]} too, or neither of them")


def _site_problems(where: str, site: SiteSettings) -> Iterator[Problem]:
    match site:
        case AwsSite():
            yield from _together(where, {"vpcId": site.vpc_id, "subnetId": site.subnet_id})
            zone = site.availability_zone
            if zone is not None and not zone.startswith(site.region):
                reason = f"it is not a zone of {site.region}"
                yield Problem(f"{where}.availabilityZone", zone, reason, f"write it like {site.region}a")
            if not 16 <= site.made_range.prefixlen <= 28:
                yield Problem(f"{where}.vpcCidr", str(site.vpc_cidr), "AWS takes /16 to /28", "choose such a network")
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


def _capacity_problems(settings: Settings, name: str, site: SiteSettings) -> Iterator[Problem]:
    """More machines than the network that holds them has addresses for."""
    own = site.own_range
    if own is None:
        return
    single = sum(machine.site == name for machine in (*settings.gateways.values(), *settings.spokes.values()))
    pools = [pool for pool in settings.pools.values() if pool.site == name and not pool.is_external]
    machines = single + sum(pool.limit for pool in pools)
    room = own.num_addresses - _RESERVED[site.cloud]
    if machines > room:
        reason = f"it has room for {max(room, 0)} machines, and the site has {machines}"
        yield Problem(f"sites.{name}.{_RANGE_KEY[site.cloud]}", str(own), reason, "widen it")


def _gateway_problems(settings: Settings) -> Iterator[Problem]:
    for name, gateway in settings.gateways.items():
        where = f"gateways.{name}"
        site = settings.sites[gateway.site]
        if not isinstance(site, HetznerSite):
            reason = f"gateways stand on Hetzner, and this site is on {site.cloud}"
            yield Problem(f"{where}.site", gateway.site, reason, "choose a hetzner site")
            continue
        private = gateway.private_address
        if private is None and site.network_id is not None and site.network_cidr is None:
            reason = (
                f"spokes of {gateway.site} reach the gateway over the private network, at an address that must stay"
            )
            yield Problem(f"{where}.privateAddress", "nothing", reason, f"pin one of network {site.network_id}'s")
        elif private is not None and not site.has_private_network:
            reason = f"site {gateway.site} has no private network"
            yield Problem(f"{where}.privateAddress", str(private), reason, "remove it, or give the site a networkId")
        elif private is not None and site.network_cidr is not None and not _is_free(private, site.network_cidr):
            reason = f"it is not a free address of {site.network_cidr} (the first host is the network's router)"
            yield Problem(f"{where}.privateAddress", str(private), reason, "choose another")


def _is_free(address: IPv4Address, network: IPv4Network) -> bool:
    taken = (network.network_address, network.network_address + 1, network.broadcast_address)
    return address in network and address not in taken


def _spoke_problems(settings: Settings) -> Iterator[Problem]:
    for name, spoke in settings.spokes.items():
        where = f"spokes.{name}"
        site = settings.sites[spoke.site]
        wrong = unknown_image(site.cloud, spoke.image)
        if wrong is not None:
            yield Problem(f"{where}.image", spoke.image, *wrong)
        if spoke.location is not None and not isinstance(site, HetznerSite):
            reason = f"machines of a {site.cloud} site stand in the site's own zone"
            yield Problem(f"{where}.location", spoke.location, reason, "remove it, or declare another site")
        if spoke.public_address is not False:
            continue
        if isinstance(site, HetznerSite) and site.network_id is None:
            reason = "the machine could reach nothing: only a network of your own with a NAT router lets it out"
            yield Problem(f"{where}.publicAddress", "false", reason, f"give sites.{spoke.site}.networkId or remove it")
        if isinstance(site, AwsSite) and site.subnet_id is None:
            reason = "the machine could reach nothing: the VPC that the stack makes has no NAT gateway"
            remedy = f"give sites.{spoke.site}.vpcId and subnetId of a subnet with one, or remove it"
            yield Problem(f"{where}.publicAddress", "false", reason, remedy)


def _key_problems(settings: Settings) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    nodes = settings.gateways.keys() | settings.spokes.keys()
    for name, key in sorted(settings.private_keys.items()):
        where = f"privateKeys.{name}"
        if name not in nodes:
            yield Problem(where, SECRET, "no such node", nearest(name, nodes))
        elif not is_wireguard_key(key):
            yield Problem(where, SECRET, "it is not base64 of 32 bytes", "make one with `wg genkey`")
        else:
            public = public_key_of(key)
            owner = owners.setdefault(public, name)
            if owner != name:
                yield Problem(where, SECRET, f"{owner} has this key already", "give each node a key of its own")
            if public in settings.revoked_keys:
                yield Problem(where, SECRET, "its public key is among revokedKeys", "give the node another key")
    for key, count in Counter(settings.revoked_keys).items():
        if count > 1:
            yield Problem("revokedKeys", shown(key), "it stands there twice", "remove one of the two")


def _network_problems(settings: Settings) -> Iterator[Problem]:
    network = overlay_network(settings)
    try:
        nodes = nodes_of(settings)
    except AddressProblemsError as error:
        yield from error.problems
        return
    ranges = {name: own for name, site in settings.sites.items() if (own := site.own_range) is not None}
    for problem in checks.problems(network, nodes, ranges, overlay_pools(settings)):
        kind, _, rest = problem.subject.partition(".")
        site, _, key = rest.partition(".")
        if kind == "sites" and key == "vpcCidr":
            key = _RANGE_KEY[settings.sites[site].cloud]
            yield Problem(f"sites.{site}.{key}", problem.value, problem.reason, problem.remedy)
        else:
            yield problem
