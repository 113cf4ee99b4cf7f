"""What every cloud's way of making a machine has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from typing import Any, Protocol, TypeAlias, cast

import pulumi

from components.plan import Machine
from components.pool_plan import PoolPlan
from components.settings.types import Source

Sources: TypeAlias = pulumi.Input[Sequence[pulumi.Input[str]]]
"""Networks, as clouds' firewalls take them."""


@dataclass(frozen=True)
class PoolGroup:
    """What a cloud made of a pool.

    ``name`` is the cloud's name of the group; ``role`` what its machines act as: an IAM role's name, a service
    account's e-mail; both None on Hetzner. ``identity`` is what the roster asks of a joining machine (None: nothing),
    in the roster's words, its leaves perhaps outputs.
    """

    name: pulumi.Output[str] | None
    role: pulumi.Output[str] | None
    identity: Mapping[str, Any] | None


@dataclass(frozen=True)
class GatewayAddress:
    """A gateway's addresses on the internet, which outlive its machine; ``ids`` are the cloud's, in the same order."""

    ipv4: pulumi.Output[str]
    ipv6: pulumi.Output[str] | None
    ids: tuple[pulumi.Output[str], ...]


@dataclass(frozen=True)
class SpokeMachine:
    """What a cloud made of a spoke: its id, and the address it can be called at; None for one that cannot be."""

    id: pulumi.Output[str]
    public_address: pulumi.Output[str] | None


class SiteNetwork(Protocol):
    """The network of one site: where gateways, spokes and pools are put. A site's gateway comes before the others."""

    def gateway_address(self, machine: Machine, parent: pulumi.Resource) -> GatewayAddress:
        """Registers the addresses of the gateway ``machine`` as children of ``parent``."""
        ...

    def gateway(
        self,
        machine: Machine,
        address: GatewayAddress,
        user_data: pulumi.Input[str],
        clients: Sources | None,
        parent: pulumi.Resource,
    ) -> pulumi.Output[str]:
        """Registers the gateway and what lets machines in to it, as children of ``parent``, and the routes that lead
        to it; its id. Requests come from ``clients``; None when it answers none.
        """
        ...

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> SpokeMachine:
        """Registers the spoke's machine as a child of ``parent``."""
        ...

    def pool(self, pool: PoolPlan, user_data: pulumi.Output[str], parent: pulumi.Resource) -> PoolGroup:
        """Registers the pool's group, or its machines, as children of ``parent``."""
        ...


def machine_options(
    revision: int,
    parent: pulumi.Resource,
    ignore_changes: Sequence[str],
    *,
    secret_outputs: Sequence[str],
    protect: bool = False,
) -> pulumi.ResourceOptions:
    """Options of every machine: what it was told at first boot holds for its life, and ``revision`` makes it anew.

    The old one goes first, since its name and its overlay address can exist only once.
    """
    return pulumi.ResourceOptions(
        parent=parent,
        ignore_changes=list(ignore_changes),
        additional_secret_outputs=list(secret_outputs),
        replacement_trigger=revision,
        delete_before_replace=True,
        protect=protect,
    )


def fixed(parent: pulumi.Resource) -> pulumi.ResourceOptions:
    """Options of what has a name or an address that can exist only once."""
    return pulumi.ResourceOptions(parent=parent, delete_before_replace=True)


def cidrs(sources: Sequence[Source], *, ipv4_only: bool = False) -> list[str]:
    """Networks as clouds' firewalls take them."""
    return [str(source) for source in sources if not ipv4_only or isinstance(source, IPv4Network)]


def of_version(version: int, sources: Sources) -> pulumi.Output[Sequence[str]]:
    """Those of ``sources`` that are networks of the IP ``version``."""
    found = cast("pulumi.Output[Sequence[str]]", pulumi.Output.from_input(sources))
    return found.apply(lambda networks: [text for text in networks if ip_network(text).version == version])


def in_a_name(source: Source) -> str:
    """A network as part of a resource's name."""
    if source.prefixlen == 0:
        return f"ipv{source.version}"
    return str(source).replace("/", "-").replace(":", "-")
