"""What each role is told, as checked values: nothing that could break out of the document gets past here."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from overlay.model import is_endpoint, is_node_name, is_wireguard_key

Source = IPv4Network | IPv6Network

_PEM = re.compile(r"-----BEGIN ([A-Z ]{3,40})-----\n(?:[A-Za-z0-9+/]{1,76}={0,2}\n)+-----END \1-----\n?")
_MTU = range(576, 9001)
_CLOUDS = ("aws", "gcp", "hetzner")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}=?")
_MAX_PORT = 65535
_MAX_PREFIX6 = 96


class BootError(ValueError):
    """A value that no first-boot document can carry; the message names it, says why and what to do. Never a secret."""


def _check_name(field: str, name: str) -> None:
    if not is_node_name(name):
        raise BootError(f"{field} {name!r} is not a lower-case DNS label: rename it")


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


def _check_cloud(cloud: str) -> None:
    if cloud not in _CLOUDS:
        raise BootError(f"cloud {cloud!r} is unknown: use one of {', '.join(_CLOUDS)}")


def _check_control(text: str) -> None:
    host, _, port = text.rpartition(":")
    try:
        IPv4Address(host)
        fits = port.isascii() and port.isdigit() and port[0] != "0" and int(port) <= _MAX_PORT
    except ValueError:
        fits = False
    if not fits:
        raise BootError(f"gateway_control {text!r} is not an IPv4 address and a port: write it as 198.51.100.10:8443")


def _check_overlay6(overlay6: IPv6Network | None) -> None:
    if overlay6 is not None and overlay6.prefixlen > _MAX_PREFIX6:
        raise BootError(f"overlay6 {overlay6} has no room for IPv4 addresses: give a /{_MAX_PREFIX6} or larger")


def _check_script(field: str, text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        for character in line:
            if character != "\t" and unicodedata.category(character) in {"Cc", "Cs"}:
                raise BootError(
                    f"{field} has the character U+{ord(character):04X} in line {number}, which no script needs: "
                    "take it out (U+000D means that the file has Windows line ends)"
                )


@dataclass(frozen=True)
class GatewayBoot:
    """A gateway's first boot. ``mtu`` in bytes; the PEM fields hold one block each; BootError for a bad value.

    ``wireguard_private_key``, ``tls_private_key_pem`` and ``seal_key`` (base64 of 32 bytes: what the gateway derives
    its leases' secrets and tickets from) are secrets. ``signing_public_key`` is the base64 of the raw
    32 bytes of the stack's ED25519 key. ``admin_cidrs`` may use SSH until the first roster says who may; who may
    speak WireGuard is for the roster alone, since a gateway without one has no peers. By ``ca_pem`` it knows the other
    gateways. ``overlay6`` is the network's IPv6 part, if it has one (``overlay.model.Network``).
    """

    name: str
    address: IPv4Address
    overlay: IPv4Network
    mtu: int
    wireguard_private_key: str
    tls_certificate_pem: str
    tls_private_key_pem: str
    ca_pem: str
    signing_public_key: str
    seal_key: str
    admin_cidrs: tuple[Source, ...]
    overlay6: IPv6Network | None = None

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        _check_mtu(self.mtu)
        _check_key("wireguard_private_key", self.wireguard_private_key)
        _check_pem("tls_certificate_pem", self.tls_certificate_pem)
        _check_pem("tls_private_key_pem", self.tls_private_key_pem)
        _check_pem("ca_pem", self.ca_pem)
        _check_signing_key(self.signing_public_key)
        _check_overlay6(self.overlay6)
        if not is_wireguard_key(self.seal_key):
            raise BootError("seal_key is not a key: give the base64 of 32 random bytes")


@dataclass(frozen=True)
class SpokeBoot:
    """A static spoke's first boot: all its tunnel needs. Fields as in :class:`GatewayBoot`; BootError for a bad value.

    ``gateway_endpoint`` is ``host:port`` on the internet or in the site's own network, an IPv6 host in brackets;
    ``gateway_address`` is the gateway's address on the overlay.
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
    overlay6: IPv6Network | None = None

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        _check_cloud(self.cloud)
        _check_mtu(self.mtu)
        _check_key("wireguard_private_key", self.wireguard_private_key)
        _check_key("gateway_public_key", self.gateway_public_key)
        if not is_endpoint(self.gateway_endpoint):
            raise BootError(f"gateway_endpoint {self.gateway_endpoint!r} is not host:port")
        _check_pem("ca_pem", self.ca_pem)
        _check_signing_key(self.signing_public_key)
        _check_overlay6(self.overlay6)


@dataclass(frozen=True)
class ExternalBoot:
    """How a machine that others make joins an external pool. Fields as in :class:`PoolBoot`; BootError too.

    It is no secret: the join token is given to the machine apart from it.
    """

    pool: str
    overlay: IPv4Network
    gateway_public_key: str
    gateway_control: str
    ca_pem: str
    signing_public_key: str

    def __post_init__(self) -> None:
        _check_name("pool", self.pool)
        _check_key("gateway_public_key", self.gateway_public_key)
        _check_control(self.gateway_control)
        _check_pem("ca_pem", self.ca_pem)
        _check_signing_key(self.signing_public_key)


@dataclass(frozen=True)
class PoolBoot:
    """The first boot of every machine of a pool: no key and no address, which it gets when it joins; BootError too.

    ``token`` is the pool's join token (base64url of 32 bytes) and a secret. ``gateway_control`` is ``address:port`` of
    the gateway's control plane, on the internet or in the site's own network. ``user_setup`` (once the tunnel is up)
    and ``drain_hook`` (before the machine leaves) are the user's scripts, empty for none; one without a ``#!`` line is
    for /bin/sh.
    """

    pool: str
    cloud: str
    gateway_public_key: str
    gateway_control: str
    token: str
    ca_pem: str
    signing_public_key: str
    user_setup: str
    drain_hook: str

    def __post_init__(self) -> None:
        _check_name("pool", self.pool)
        _check_cloud(self.cloud)
        _check_key("gateway_public_key", self.gateway_public_key)
        _check_control(self.gateway_control)
        if not _TOKEN.fullmatch(self.token):
            raise BootError("token is not a join token: give the base64url of 32 random bytes")
        _check_pem("ca_pem", self.ca_pem)
        _check_signing_key(self.signing_public_key)
        _check_script("user_setup", self.user_setup)
        _check_script("drain_hook", self.drain_hook)
