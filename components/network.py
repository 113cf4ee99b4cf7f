"""The sites' networks: one component a site, of its cloud's kind."""

from __future__ import annotations

from collections.abc import Mapping

from components.clouds.aws import AwsNetwork
from components.clouds.gcp import GcpNetwork
from components.clouds.hetzner import HetznerNetwork, ssh_key
from components.machine import SiteNetwork
from components.settings.sites import AwsSite, ExternalSite, GcpSite, HetznerSite
from components.stack import Stack


def make_sites(stack: Stack) -> Mapping[str, SiteNetwork]:
    """Registers the network of each site where the stack makes machines; all by their sites' names."""
    settings, keys = stack.settings, stack.keys
    pools = [pool for pool in settings.pools.values() if not pool.is_external]
    used = {m.site for m in (*settings.gateways.values(), *settings.spokes.values(), *pools)}
    sites = {name: site for name, site in settings.sites.items() if name in used}
    networks: dict[str, SiteNetwork] = {}
    account_key = ssh_key(settings, keys.ssh_public) if any(s.cloud == "hetzner" for s in sites.values()) else None
    for name, site in sites.items():
        match site:
            case HetznerSite():
                assert account_key is not None
                networks[name] = HetznerNetwork(name, settings, site, account_key)
            case AwsSite():
                networks[name] = AwsNetwork(name, settings, site, keys.ssh_public)
            case GcpSite():
                networks[name] = GcpNetwork(name, settings, site, keys.ssh_public)
            case ExternalSite():
                pass
    return networks
