"""Hetzner: a pool as a number of servers, spread over hosts."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_hcloud as hcloud

from components import names
from components.machine import PoolGroup, fixed, machine_options
from components.pool_plan import PoolPlan

SPREAD = 10
"""Servers that a placement group of the type spread takes (docs.hetzner.com, Placement groups)."""
IGNORED = ("user_data", "image", "ssh_keys")


@dataclass(frozen=True)
class PrivateNetwork:
    """A private network that servers of a site join."""

    id: pulumi.Output[int]
    ready: tuple[pulumi.Resource, ...]
    """What must exist before a server can join."""


@dataclass(frozen=True)
class Ground:
    """What of its site the servers stand on. ``prefix`` begins their names."""

    prefix: str
    ssh_key: hcloud.SshKey
    private: PrivateNetwork | None


def make_servers(pool: PoolPlan, ground: Ground, user_data: pulumi.Output[str], parent: pulumi.Resource) -> PoolGroup:
    """Registers the pool's servers, their firewall and their placement groups as children of ``parent``."""
    labels = dict(pool.labels)
    closed = hcloud.Firewall(
        f"{pool.name}-firewall", name=pool.resource_name, rules=[], labels=labels, opts=fixed(parent)
    )
    placements = [
        hcloud.PlacementGroup(
            f"{pool.name}-placement-{number}",
            name=names.member_server_name(ground.prefix, pool.name, number),
            type="spread",
            labels=labels,
            opts=fixed(parent),
        )
        for number in range(1, -(-pool.limit // SPREAD) + 1)
    ]
    networks: list[hcloud.ServerNetworkArgs] | None = None
    options = machine_options(pool.revision, parent, IGNORED, secret_outputs=["user_data"])
    if ground.private is not None:
        networks = [hcloud.ServerNetworkArgs(network_id=ground.private.id, alias_ips=[])]
        options.depends_on = list(ground.private.ready)
    (server_type,) = pool.server_types
    for number in range(1, pool.limit + 1):
        hcloud.Server(
            f"{pool.name}-{number}-server",
            name=names.member_server_name(ground.prefix, pool.name, number),
            server_type=server_type,
            image=pool.image,
            location=pool.location,
            ssh_keys=[ground.ssh_key.id],
            public_nets=[hcloud.ServerPublicNetArgs(ipv4_enabled=pool.public, ipv6_enabled=pool.public)],
            networks=networks,
            firewall_ids=[closed.id.apply(int)],
            placement_group_id=placements[(number - 1) // SPREAD].id.apply(int),
            user_data=user_data,
            shutdown_before_deletion=True,
            labels=labels,
            opts=options,
        )
    return PoolGroup(None, None, None)
