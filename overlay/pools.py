"""Pools: machines that join at run time, and the part of a site's subnet that they draw their addresses from."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

MEMBER_ID_LENGTH = 8
"""How much of a cloud's id of an instance tells the members of a pool apart."""


@dataclass(frozen=True)
class AwsIdentity:
    """Asks joining machines for EC2's instance identity document.

    ``certificates`` (PEM) are those that AWS signs the documents of ``region`` with; ``account`` has 12 digits.
    """

    account: str
    region: str
    certificates: tuple[str, ...]


@dataclass(frozen=True)
class GcpIdentity:
    """Asks joining machines for an identity token of Compute Engine's, made for an instance of ``project``."""

    project: str


Identity = AwsIdentity | GcpIdentity


@dataclass(frozen=True)
class Pool:
    """A pool as the roster declares it.

    ``addresses`` is its part of the site's subnet. At most ``limit`` machines work in it at once: those that drain or
    do not answer are not counted, and ``addresses`` bounds all of them. ``token_sha256`` is the join token's digest
    (hex). ``ttl`` is how many seconds a member may be silent before its lease ends, ``rest`` how many its address is
    not given to another machine after that. ``port`` and ``health_path`` are the inference server's. ``group`` and
    ``lan`` are its machines', as in :class:`overlay.model.Node`.
    """

    name: str
    site: str
    addresses: IPv4Network
    limit: int
    token_sha256: str
    ttl: int
    rest: int
    port: int
    health_path: str
    identity: Identity | None = None
    group: str = ""
    lan: bool = False


def token_digest(token: str) -> str:
    """SHA-256 (hex) of a join token. A token is 32 random bytes, so no slow hash is needed to keep it."""
    return hashlib.sha256(token.encode()).hexdigest()


def member_name(pool: str, instance_id: str, length: int = MEMBER_ID_LENGTH) -> str:
    """The node name of a member: the pool's, and the last characters of its cloud's id of the instance.

    ``i-0abc1234def567890`` in the pool ``aws-burst`` is ``aws-burst-ef567890``. A longer ``length`` tells two members
    apart whose ids end alike.
    """
    plain = re.sub(r"[^a-z0-9]", "", instance_id.lower())
    return f"{pool}-{plain[-length:] or '0'}"


def token_audience(pool: str, public_key: str) -> str:
    """The audience that a member of ``pool`` asks its identity token for: the token is of no use with another key."""
    return f"hybridnet:{pool}:{public_key}"


def usable_addresses(addresses: IPv4Network, subnet: IPv4Network) -> range:
    """The addresses (as numbers) of a pool's range that machines can have: all but the subnet's first and last."""
    first, last = int(addresses.network_address), int(addresses.broadcast_address)
    if subnet.prefixlen < 31:
        first = max(first, int(subnet.network_address) + 1)
        last = min(last, int(subnet.broadcast_address) - 1)
    return range(first, last + 1)


def is_in_range(address: IPv4Address, addresses: IPv4Network, subnet: IPv4Network) -> bool:
    """Whether a member of the pool can have ``address``."""
    return int(address) in usable_addresses(addresses, subnet)
