"""Where machines stand: gateways' addresses, and the parts of the networks that the stack makes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from components.settings.machines import GatewaySettings
from components.settings.models import Settings
from components.settings.sites import AwsSite, GcpSite, HetznerSite

_KEPT_AT_THE_END = {"hetzner": 1, "aws": 1, "gcp": 2}
"""Addresses at a subnet's end that no machine can have: the broadcast address, and on GCP the one before it."""


def gateway_address(settings: Settings, gateway: GatewaySettings) -> IPv4Address:
    """The gateway's overlay address: the pinned one, else the overlay's first, or where there are several the last
    host of its site's subnet."""
    if gateway.address is not None:
        return gateway.address
    if len(settings.gateways) == 1:
        return settings.overlay.network_address + 1
    return settings.sites[gateway.site].subnet.broadcast_address - 1


def is_first_address(settings: Settings, address: IPv4Address) -> bool:
    """Whether ``address`` is the overlay's first."""
    return address == settings.overlay.network_address + 1


def has_gateway(settings: Settings, site: str) -> bool:
    """Whether a gateway stands in ``site``."""
    return any(gateway.site == site for gateway in settings.gateways.values())


def has_private_machines(settings: Settings, site: str) -> bool:
    """Whether the stack makes machines without a public address in ``site``, by the settings' own words."""
    spokes = [spoke for spoke in settings.spokes.values() if spoke.site == site]
    pools = [pool for pool in settings.pools.values() if pool.site == site and not pool.is_external]
    return any(machine.public_address is False for machine in (*spokes, *pools))


def public_range(settings: Settings, name: str) -> IPv4Network:
    """The range of the public subnet of the VPC that the stack makes for the AWS site ``name``.

    All of the VPC; its lower half where some machines have no public address.
    """
    whole = _aws(settings, name).made_range
    return next(whole.subnets()) if has_private_machines(settings, name) else whole


def private_range(settings: Settings, name: str) -> IPv4Network | None:
    """The range of the private subnet of such a VPC, from where the site's gateway leads out; None without one."""
    whole = _aws(settings, name).made_range
    return list(whole.subnets())[1] if has_private_machines(settings, name) else None


def _aws(settings: Settings, name: str) -> AwsSite:
    site = settings.sites[name]
    assert isinstance(site, AwsSite)
    return site


def stands_in_own_network(settings: Settings, site: str) -> bool:
    """Whether machines of ``site`` stand in a network that is the site's own."""
    found = settings.sites[site]
    return found.has_private_network if isinstance(found, HetznerSite) else not settings.is_external(site)


def reaches_gateway_at_home(settings: Settings, site: str) -> bool:
    """Whether machines of ``site`` stand in its own network, and a gateway with an address there does."""
    standing = [gateway for gateway in settings.gateways.values() if gateway.site == site]
    at_home = any(private_address(settings, gateway) is not None for gateway in standing)
    return at_home and stands_in_own_network(settings, site)


def private_address(settings: Settings, gateway: GatewaySettings) -> IPv4Address | None:
    """The gateway's fixed address in its site's own network: the pinned one, else the last that a machine can have.

    Clouds give the first free addresses to machines that ask for none, and those may be made before the gateway. None
    where the site has no network of its own, or one whose ranges only its owner knows.
    """
    if gateway.private_address is not None:
        return gateway.private_address
    site = settings.sites[gateway.site]
    subnet: IPv4Network | None = None
    match site:
        case HetznerSite():
            subnet = site.network_cidr
        case AwsSite():
            subnet = None if site.vpc_id else public_range(settings, gateway.site)
        case GcpSite():
            subnet = None if site.network else site.made_range
        case _:
            pass
    return None if subnet is None else subnet.broadcast_address - _KEPT_AT_THE_END[site.cloud]
