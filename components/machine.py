"""What every cloud's way of making a machine has in common."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Protocol

import pulumi

from components.plan import Machine
from components.settings.types import Source


class SiteNetwork(Protocol):
    """The network of one site: where spokes are put."""

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> pulumi.Output[str]:
        """Registers the spoke's machine as a child of ``parent``; the machine's id in its cloud."""
        ...


def machine_options(
    machine: Machine,
    parent: pulumi.Resource,
    ignore_changes: Sequence[str],
    *,
    secret_outputs: Sequence[str],
    protect: bool = False,
) -> pulumi.ResourceOptions:
    """Options of every machine: what it was told at first boot holds for its life, and a revision makes it anew.

    The old one goes first, since its name and its overlay address can exist only once.
    """
    return pulumi.ResourceOptions(
        parent=parent,
        ignore_changes=list(ignore_changes),
        additional_secret_outputs=list(secret_outputs),
        replacement_trigger=machine.revision,
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
