"""The clouds: every kind and lookup by its token, and the machines of all of them."""

from localcloud.provider.clouds import aws, gcp, hcloud
from localcloud.provider.kind import Kind, Lookup
from localcloud.provider.tls import kinds as tls
from localcloud.provider.world import World
from localcloud.spec import MachineSpec

KINDS: dict[str, Kind] = {kind.token: kind for kind in (*hcloud.KINDS, *aws.KINDS, *gcp.KINDS, *tls.KINDS)}
LOOKUPS: dict[str, Lookup] = {
    lookup.token: lookup for lookup in (*hcloud.LOOKUPS, *aws.LOOKUPS, *gcp.LOOKUPS, *tls.LOOKUPS)
}


def project(world: World) -> dict[str, MachineSpec]:
    """The machines that the world's resources amount to, by id."""
    return {**hcloud.machines(world), **aws.machines(world), **gcp.machines(world)}
