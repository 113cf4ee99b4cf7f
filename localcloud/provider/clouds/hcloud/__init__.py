"""Hetzner Cloud: its kinds, and the machines among them."""

from localcloud.provider.clouds.hcloud import firewalls, networks, routes, servers, simple
from localcloud.provider.clouds.hcloud.projection import machines
from localcloud.provider.kind import Kind, Lookup

KINDS: tuple[Kind, ...] = (*simple.KINDS, *firewalls.KINDS, *networks.KINDS, *routes.KINDS, *servers.KINDS)
LOOKUPS: tuple[Lookup, ...] = ()

__all__ = ["KINDS", "LOOKUPS", "machines"]
