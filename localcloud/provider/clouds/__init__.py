"""The clouds: every kind and lookup by its token, and the machines of all of them."""

from localcloud.provider.clouds import aws, cloudflare, gcp, hcloud
from localcloud.provider.kind import Kind, Lookup
from localcloud.provider.tls import kinds as tls
from localcloud.provider.world import World
from localcloud.spec import MachineSpec

_CLOUDS = (hcloud, aws, gcp, tls, cloudflare)
KINDS: dict[str, Kind] = {kind.token: kind for cloud in _CLOUDS for kind in cloud.KINDS}
LOOKUPS: dict[str, Lookup] = {lookup.token: lookup for cloud in _CLOUDS for lookup in cloud.LOOKUPS}


def project(world: World) -> dict[str, MachineSpec]:
    """The machines that the world's resources amount to, by id."""
    return {**hcloud.machines(world), **aws.machines(world), **gcp.machines(world)}
