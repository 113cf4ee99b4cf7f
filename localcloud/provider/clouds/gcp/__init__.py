"""Google's Compute Engine: its kinds and lookups, and the machines among them."""

from localcloud.provider.clouds.gcp import firewalls, instances, lookups, managers, networks, routers, routes, templates
from localcloud.provider.clouds.gcp.projection import machines
from localcloud.provider.kind import Kind, Lookup

KINDS: tuple[Kind, ...] = (
    *networks.KINDS,
    *routers.KINDS,
    *firewalls.KINDS,
    *instances.KINDS,
    *routes.KINDS,
    *templates.KINDS,
    *managers.KINDS,
)
LOOKUPS: tuple[Lookup, ...] = lookups.LOOKUPS

__all__ = ["KINDS", "LOOKUPS", "machines"]
