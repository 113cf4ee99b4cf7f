"""What the network is made of: sites, nodes and the peers that a topology gives them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Literal

WG_PORT = 51820
"""UDP port of the tunnels; the port that WireGuard's own documentation uses."""
ROTATION_PORT = 51821
"""UDP port of the second interface that a key rotation uses; open from the start."""
CONTROL_PORT = 8443
"""TCP port of a gateway's control plane (HTTPS)."""
KEEPALIVE = 25
"""Seconds between a spoke's keepalives; wireguard.com/quickstart names 25 as what fits most NATs."""
LINK_KEEPALIVE = 4
"""Seconds between the keepalives of a direct link: so both ends find out within ten that it is broken."""
KEY_BYTES = 32
"""Length of a Curve25519 key in bytes (RFC 7748)."""

EXTERNAL = "external"
"""The cloud of a site whose machines are not the stack's: laptops, and servers that others run."""
DOMAIN = "wg.internal"
"""What names end with if nothing else is asked for; ``internal`` is reserved for private use (ICANN, July 2024)."""

Role = Literal["gateway", "spoke"]
Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Site:
    """A place where machines stand: one cloud, one region, one part of the overlay.

    ``lan`` is the range of the site's own network, or of its part, whose packets the site's gateway takes without a
    tunnel. They go to the internet, and to the overlay unless ``lan_group`` is None: where there are groups as those
    of its members, elsewhere it is empty.
    """

    name: str
    cloud: str
    subnet: IPv4Network
    region: str
    lan: IPv4Network | None = None
    lan_group: str | None = None


@dataclass(frozen=True)
class Network:
    """The overlay, its sites and the name of its topology (one of ``overlay.topology.TOPOLOGIES``).

    With ``overlay6``, a /96 or larger, every node has an IPv6 address too (``overlay.addresses``). ``groups`` says by
    name which groups the members of one reach (``overlay.groups``); without any, everybody reaches everybody.
    ``ranges`` are the pools' parts of the overlay with their groups. Names of nodes end with ``domain``.
    """

    overlay: IPv4Network
    sites: tuple[Site, ...]
    topology: str
    overlay6: IPv6Network | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    ranges: tuple[tuple[IPv4Network, str], ...] = ()
    domain: str = DOMAIN

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
    brackets, or None for a machine that nobody can reach first. ``group`` is empty where there are no groups. ``lan``
    says whether the node stands in its site's own network, and reaches the site's gateway there at that gateway's
    ``lan_endpoint``. One with ``only6`` has no IPv4 below the overlay, and reaches gateways at their ``endpoint6``.
    """

    name: str
    site: str
    address: IPv4Address
    role: Role
    public_key: str
    endpoint: str | None = None
    group: str = ""
    lan: bool = False
    lan_endpoint: str | None = None
    only6: bool = False
    endpoint6: str | None = None


@dataclass(frozen=True)
class Peer:
    """One ``[Peer]`` of a node's interface. ``keepalive`` is in seconds, None for none.

    One without ``allowed_ips`` shakes hands and carries nothing: it shows whether the other end can be reached.
    """

    public_key: str
    endpoint: str | None
    allowed_ips: tuple[Prefix, ...]
    keepalive: int | None

    @cached_property
    def section(self) -> str:
        """Its lines in a wg-quick(8) configuration, ending in a newline; made once, since a mesh needs it often."""
        lines = ["[Peer]", f"PublicKey = {self.public_key}"]
        if self.endpoint is not None:
            lines.append(f"Endpoint = {self.endpoint}")
        if self.allowed_ips:
            lines.append("AllowedIPs = " + ", ".join(str(network) for network in self.allowed_ips))
        if self.keepalive is not None:
            lines.append(f"PersistentKeepalive = {self.keepalive}")
        return "\n".join(lines) + "\n"


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
