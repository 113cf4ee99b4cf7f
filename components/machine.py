"""What every cloud's way of making a machine has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Protocol

import pulumi

from components.plan import Machine
from components.pool_plan import PoolPlan
from components.settings.types import Source


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


class SiteNetwork(Protocol):
    """The network of one site: where spokes and pools are put."""

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> pulumi.Output[str]:
        """Registers the spoke's machine as a child of ``parent``; the machine's id in its cloud."""
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


def in_a_name(source: Source) -> str:
    """A network as part of a resource's name."""
    if source.prefixlen == 0:
        return f"ipv{source.version}"
    return str(source).replace("/", "-").replace(":", "-")
