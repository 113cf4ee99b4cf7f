"""What each role is told, as checked values: nothing that could break out of the document gets past here."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from overlay.model import is_endpoint, is_node_name, is_wireguard_key

Source = IPv4Network | IPv6Network

_PEM = re.compile(r"-----BEGIN ([A-Z ]{3,40})-----\n(?:[A-Za-z0-9+/]{1,76}={0,2}\n)+-----END \1-----\n?")
_MTU = range(576, 9001)
_CLOUDS = ("aws", "gcp", "hetzner")


class BootError(ValueError):
    """A value that no first-boot document can carry; the message names it, says why and what to do. Never a secret."""


def _check_name(name: str) -> None:
    if not is_node_name(name):
        raise BootError(f"name {name!r} is not a lower-case DNS label: rename the node")


def _check_mtu(mtu: int) -> None:
    if mtu not in _MTU:
        raise BootError(f"mtu {mtu} is outside {_MTU.start} to {_MTU.stop - 1}: give the tunnels' MTU in bytes")


def _check_key(field: str, key: str) -> None:
    if not is_wireguard_key(key):
        raise BootError(f"{field} is not a WireGuard key: give the base64 of 32 bytes, as `wg genkey` prints it")


def _check_pem(field: str, text: str) -> None:
    if not _PEM.fullmatch(text):
        raise BootError(f"{field} is not one PEM block: give exactly one, from its BEGIN to its END line")


def _check_signing_key(key: str) -> None:
    try:
        fits = len(base64.b64decode(key, validate=True)) == 32
    except binascii.Error:
        fits = False
    if not fits:
        raise BootError("signing_public_key is not an ED25519 key: give the base64 of its 32 raw bytes")


@dataclass(frozen=True)
class GatewayBoot:
    """A gateway's first boot. ``mtu`` in bytes; the two PEM fields hold one block each; BootError for a bad value.

    ``wireguard_private_key`` and ``tls_private_key_pem`` are secrets. ``signing_public_key`` is the base64 of the raw
    32 bytes of the stack's ED25519 key. ``admin_cidrs`` may use SSH until the first roster says who may; who may
    speak WireGuard is for the roster alone, since a gateway without one has no peers.
    """

    name: str
    address: IPv4Address
    overlay: IPv4Network
    mtu: int
    wireguard_private_key: str
    tls_certificate_pem: str
    tls_private_key_pem: str
    signing_public_key: str
    admin_cidrs: tuple[Source, ...]

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_mtu(self.mtu)
        _check_key("wireguard_private_key", self.wireguard_private_key)
        _check_pem("tls_certificate_pem", self.tls_certificate_pem)
        _check_pem("tls_private_key_pem", self.tls_private_key_pem)
        _check_signing_key(self.signing_public_key)


@dataclass(frozen=True)
class SpokeBoot:
    """A static spoke's first boot: all its tunnel needs. Fields as in :class:`GatewayBoot`; BootError for a bad value.

    ``gateway_endpoint`` is ``host:port`` on the internet, ``gateway_address`` the gateway's address on the overlay.
    """

    name: str
    cloud: str
    address: IPv4Address
    overlay: IPv4Network
    mtu: int
    wireguard_private_key: str
    gateway_public_key: str
    gateway_endpoint: str
    gateway_address: IPv4Address
    ca_pem: str
    signing_public_key: str

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.cloud not in _CLOUDS:
            raise BootError(f"cloud {self.cloud!r} is unknown: use one of {', '.join(_CLOUDS)}")
        _check_mtu(self.mtu)
        _check_key("wireguard_private_key", self.wireguard_private_key)
        _check_key("gateway_public_key", self.gateway_public_key)
        if not is_endpoint(self.gateway_endpoint):
            raise BootError(f"gateway_endpoint {self.gateway_endpoint!r} is not host:port")
        _check_pem("ca_pem", self.ca_pem)
        _check_signing_key(self.signing_public_key)
