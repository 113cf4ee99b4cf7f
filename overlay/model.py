"""What the network is made of: sites, nodes and the peers that a topology gives them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

WG_PORT = 51820
"""UDP port of the tunnels; the port that WireGuard's own documentation uses."""
ROTATION_PORT = 51821
"""UDP port of the second interface that a key rotation uses; open from the start."""
CONTROL_PORT = 8443
"""TCP port of a gateway's control plane (HTTPS)."""
KEEPALIVE = 25
"""Seconds between a spoke's keepalives; wireguard.com/quickstart names 25 as what fits most NATs."""
KEY_BYTES = 32
"""Length of a Curve25519 key in bytes (RFC 7748)."""

Role = Literal["gateway", "spoke"]
Link = frozenset[str]
"""The names of two nodes with a direct tunnel that both ends have confirmed."""


@dataclass(frozen=True)
class Site:
    """A place where machines stand: one cloud, one region, one part of the overlay."""

    name: str
    cloud: str
    subnet: IPv4Network
    region: str


@dataclass(frozen=True)
class Network:
    """The overlay, its sites and the name of its topology (a key of ``overlay.topology.TOPOLOGIES``)."""

    overlay: IPv4Network
    sites: tuple[Site, ...]
    topology: str

    def site(self, name: str) -> Site:
        """The site called ``name``; KeyError when the network has none."""
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)


@dataclass(frozen=True)
class Node:
    """A machine on the overlay.

    ``public_key`` is a WireGuard key (base64 of 32 bytes). ``endpoint`` is ``host:port``, an IPv6 host in
    brackets, or None for a machine that nobody can reach first.
    """

    name: str
    site: str
    address: IPv4Address
    role: Role
    public_key: str
    endpoint: str | None = None


@dataclass(frozen=True)
class Peer:
    """One ``[Peer]`` of a node's interface. ``keepalive`` is in seconds, None for none."""

    public_key: str
    endpoint: str | None
    allowed_ips: tuple[IPv4Network, ...]
    keepalive: int | None


_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_ENDPOINT = re.compile(r"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[-a-z0-9.]{0,252}[a-z0-9])?):([1-9][0-9]{0,4})")
_MAX_PORT = 65535


def host_network(address: IPv4Address) -> IPv4Network:
    """The /32 of one address."""
    return IPv4Network(address)


def gateways_of(nodes: Sequence[Node]) -> list[Node]:
    """The gateways among ``nodes``, in their order."""
    return [node for node in nodes if node.role == "gateway"]


def is_wireguard_key(text: str) -> bool:
    """Whether ``text`` is the base64 of exactly 32 bytes, as ``wg`` prints keys, and not all zero."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == KEY_BYTES and any(raw) and base64.b64encode(raw).decode() == text


def is_node_name(text: str) -> bool:
    """Whether ``text`` is a DNS label that starts with a letter (RFC 1035): what all three clouds take as a name."""
    return _NAME.fullmatch(text) is not None


def is_endpoint(text: str) -> bool:
    """Whether ``text`` is ``host:port`` with a lower-case host name, an IPv4 address or a bracketed IPv6 address."""
    found = _ENDPOINT.fullmatch(text)
    return found is not None and int(found[1]) <= _MAX_PORT
