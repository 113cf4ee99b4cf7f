"""What can be wrong with gateways and spokes whose shapes are right; names, overlay addresses and keys apart."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from components.images import unknown_image
from components.plan import make_plan
from components.settings.errors import shown
from components.settings.machines import GatewaySettings, SpokeSettings
from components.settings.models import Settings
from components.settings.places import has_gateway, public_range
from components.settings.sites import AwsSite, ExternalSite, GcpSite, HetznerSite, SiteSettings
from overlay.checks import Problem

_TAKEN_AT_THE_ENDS = {"hetzner": (2, 1), "aws": (4, 1), "gcp": (2, 2)}
"""How many of a subnet's first and last addresses the cloud keeps for itself (Hetzner: network, router, broadcast;
Amazon VPC, subnet CIDR blocks; Google VPC, subnets)."""
_OF_THE_MACHINE = ("serverType", "image", "location", "publicAddress", "revision")


def machine_problems(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong with single gateways and spokes, whose sites exist."""
    for name, gateway in settings.gateways.items():
        yield from _gateway_problems(settings, f"gateways.{name}", gateway)
    for name, spoke in settings.spokes.items():
        site = settings.sites[spoke.site]
        if isinstance(site, ExternalSite):
            yield from _external_problems(f"spokes.{name}", spoke)
        else:
            yield from _spoke_problems(settings, f"spokes.{name}", spoke, site)


def _making_problems(where: str, wanted: GatewaySettings | SpokeSettings, site: SiteSettings) -> Iterator[Problem]:
    wrong = unknown_image(site.cloud, wanted.image)
    if wrong is not None:
        yield Problem(f"{where}.image", wanted.image, *wrong)
    if wanted.location is not None and not isinstance(site, HetznerSite):
        reason = f"machines of a {site.cloud} site stand in the site's own zone"
        yield Problem(f"{where}.location", wanted.location, reason, "remove it, or declare another site")


def _gateway_problems(settings: Settings, where: str, gateway: GatewaySettings) -> Iterator[Problem]:
    site = settings.sites[gateway.site]
    if isinstance(site, ExternalSite):
        reason = "the stack makes no machines in an external site"
        yield Problem(f"{where}.site", gateway.site, reason, "choose another site")
        return
    yield from _making_problems(where, gateway, site)
    if gateway.ipv6 and not isinstance(site, HetznerSite):
        reason = f"networks on {site.cloud} are made without IPv6"
        yield Problem(f"{where}.ipv6", "true", reason, "remove it; Hetzner's gateways can have it")
    private = gateway.private_address
    if private is None and _is_given(site):
        reason = (
            f"machines of {gateway.site} reach the gateway over the site's own network, at an address that must stay"
        )
        yield Problem(f"{where}.privateAddress", "nothing", reason, f"pin one of {_own_name(site)}'s")
    elif private is not None and isinstance(site, HetznerSite) and not site.has_private_network:
        reason = f"site {gateway.site} has no private network"
        yield Problem(f"{where}.privateAddress", str(private), reason, "remove it, or give the site a networkId")
    elif private is not None:
        subnet, is_subnet = _ground(settings, gateway.site, site)
        if subnet is not None and not _is_free(private, subnet, site.cloud if is_subnet else None):
            first, last = _TAKEN_AT_THE_ENDS[site.cloud]
            kept = f" (its first {first} addresses and its last {last} are the cloud's own)" if is_subnet else ""
            reason = f"it is not a free address of {subnet}{kept}"
            yield Problem(f"{where}.privateAddress", str(private), reason, "choose another")


def _is_given(site: SiteSettings) -> bool:
    """Whether the site's own network is one that is there, and its subnet's range is not known."""
    match site:
        case HetznerSite():
            return site.network_id is not None and site.network_cidr is None
        case AwsSite():
            return site.vpc_id is not None
        case GcpSite():
            return site.network is not None
        case ExternalSite():
            return False


def _own_name(site: SiteSettings) -> str:
    match site:
        case HetznerSite():
            return f"network {site.network_id}"
        case AwsSite():
            return f"subnet {site.subnet_id}"
        case GcpSite():
            return f"subnetwork {site.subnetwork}"
        case ExternalSite():
            return ""


def _ground(settings: Settings, name: str, site: SiteSettings) -> tuple[IPv4Network | None, bool]:
    """The range that the site's gateway has its private address of, and whether it is exactly its subnet's."""
    if isinstance(site, AwsSite):
        return (site.vpc_cidr, False) if site.vpc_id is not None else (public_range(settings, name), True)
    return site.own_range, True


def _is_free(address: IPv4Address, network: IPv4Network, cloud: str | None) -> bool:
    first, last = (0, 0) if cloud is None else _TAKEN_AT_THE_ENDS[cloud]
    return int(network[0]) + first <= int(address) <= int(network[-1]) - last


def _external_problems(where: str, spoke: SpokeSettings) -> Iterator[Problem]:
    """What is said of a machine that the stack does not make."""
    given = spoke.model_dump(by_alias=True, include=spoke.model_fields_set)
    for key in _OF_THE_MACHINE:
        if key in given:
            reason = "the stack does not make the machines of an external site"
            yield Problem(f"{where}.{key}", shown(given[key]), reason, "remove it")


def _spoke_problems(settings: Settings, where: str, spoke: SpokeSettings, site: SiteSettings) -> Iterator[Problem]:
    yield from _making_problems(where, spoke, site)
    if spoke.public_key is not None:
        reason = "the stack makes this machine and tells it its key"
        remedy = "remove it, or give its private key in privateKeys"
        yield Problem(f"{where}.publicKey", spoke.public_key, reason, remedy)
    if spoke.public_address == "ipv6" and not isinstance(site, HetznerSite):
        reason = f"networks on {site.cloud} are made without IPv6"
        yield Problem(f"{where}.publicAddress", "ipv6", reason, "use true or false; Hetzner's machines can have it")
    if spoke.public_address is False:
        yield from way_out_problems(settings, where, spoke.site, "the machine")


def way_out_problems(settings: Settings, where: str, name: str, who: str) -> Iterator[Problem]:
    """What keeps machines without a public address in the site ``name`` from reaching a gateway."""
    at, site = f"{where}.publicAddress", settings.sites[name]
    if isinstance(site, HetznerSite) and site.network_id is None:
        reason = f"{who} could reach nothing: only a network of your own with a NAT router leads out"
        yield Problem(at, "false", reason, f"give sites.{name}.networkId or remove it")
    if isinstance(site, AwsSite) and site.subnet_id is None and not has_gateway(settings, name):
        reason = f"{who} could reach nothing: the way out of the VPC that the stack makes is a gateway in the site"
        remedy = f"declare a gateway in {name}, give sites.{name}.vpcId and subnetId of a subnet with NAT, or remove it"
        yield Problem(at, "false", reason, remedy)


def way_in_problems(settings: Settings) -> Iterator[Problem]:
    """Spokes that have IPv6 alone, whose gateways have none. The network is right in all else."""
    plan = make_plan(settings)
    for name, spoke in plan.spokes.items():
        if not spoke.ipv6_only:
            continue
        at = f"spokes.{name}.publicAddress"
        for gateway in sorted({plan.hangs_on(spoke).name, plan.gateway_of(spoke).name}):
            if not plan.gateways[gateway].ipv6:
                reason = f"it has no way to its gateway {gateway}, which has no IPv6 address"
                yield Problem(at, "ipv6", reason, f"set gateways.{gateway}.ipv6 to true, or choose true")
        if not any(isinstance(source, IPv6Network) for source in settings.wireguard_sources):
            reason = "no IPv6 network is among wireguardSources, so no gateway lets it in"
            yield Problem(at, "ipv6", reason, "add those that it may come from, or choose true")
