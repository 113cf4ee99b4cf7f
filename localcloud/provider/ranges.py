"""Private ranges of all clouds: the local cloud has one address space for them all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from localcloud.provider import pools
from localcloud.provider.kind import Check, Network
from localcloud.provider.world import World

_RANGES = (
    ("hcloud:index/network:Network", "ipRange", "the Hetzner network"),
    ("aws:ec2/vpc:Vpc", "cidrBlock", "the AWS VPC"),
    ("gcp:compute/subnetwork:Subnetwork", "ipCidrRange", "the GCP subnetwork"),
)


def taken(world: World) -> Iterator[tuple[ipaddress.IPv4Network, str]]:
    """Every private range that exists, and whose it is."""
    for token, property_, what in _RANGES:
        for record in world.all(token):
            text = record.inputs.text(property_)
            if text is not None:
                yield ipaddress.IPv4Network(text), f"{what} {record.id}"


def check_free(check: Check, path: str, network: Network) -> None:
    """Refuse a range that the local cloud cannot hold beside what it holds already."""
    for reserved in pools.RESERVED:
        if network.version == 4 and network.overlaps(reserved):
            check.refuse(path, f"the local cloud cannot hold {network}: it overlaps {reserved}, its own internet")
            return
    for other, owner in taken(check.world):
        if network.overlaps(other) and str(other) != check.was(path):
            check.refuse(
                path,
                f"the local cloud cannot hold {network}: it overlaps {other} of {owner}. Real clouds "
                "keep such networks "
                "apart; here all of them share one address space, so give each its own range",
            )
            return
