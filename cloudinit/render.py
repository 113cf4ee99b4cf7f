"""The first-boot documents: pure text from checked values, the same bytes for the same values for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network, collapse_addresses
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cloudinit.boot import BootError, GatewayBoot, SpokeBoot
from cloudinit.pack import packed_file
from overlay.model import CONTROL_PORT, KEEPALIVE, Peer
from overlay.wgconf import Interface, wg_quick

MAX_BYTES: Mapping[str, int] = MappingProxyType({"gateway": 16 * 1024, "spoke": 8 * 1024})
"""By role, half of the smallest limit on user data where it stands: a spoke anywhere, EC2's 16 KiB (EC2 user guide,
instance user data); a gateway on Hetzner, 32 KiB (Hetzner Cloud API, create a server)."""

CONFIG_VERSION = 1
PACKAGES = (
    "wireguard-tools",
    "nftables",
    "python3-aiohttp",
    "python3-cryptography",
    "python3-prometheus-client",
    "unattended-upgrades",
)
"""The same names in Debian 12, Ubuntu 22.04 and 24.04: one unknown name and apt would install none."""
APT_CONFIG = """Acquire::Retries "9";
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
"""
"""Written before the packages are installed, since a machine whose first boot misses them stays out for good."""


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _config(role: str, name: str, control: IPv4Address, signing_public_key: str) -> str:
    config = {
        "schema_version": CONFIG_VERSION,
        "role": role,
        "name": name,
        "control": f"{control}:{CONTROL_PORT}",
        "signing_public_key": signing_public_key,
    }
    return json.dumps(config)


def _document(role: str, public: Mapping[str, str], secret: Mapping[str, str]) -> str:
    """``public`` and ``secret``: path -> text, the secret ones for root alone."""
    text = (
        _environment()
        .get_template("user-data.j2")
        .render(
            packages=PACKAGES,
            kit=packed_file(role).read_text().strip(),
            public={"/etc/apt/apt.conf.d/60hybridnet": APT_CONFIG, **public},
            secret=secret,
        )
    )
    size = len(text.encode("ascii"))
    if size > MAX_BYTES[role]:
        raise BootError(
            f"the {role}'s first-boot document has {size} bytes and may have {MAX_BYTES[role]}: "
            "declare fewer networks in adminCidrs"
        )
    return text


def render_gateway(boot: GatewayBoot) -> str:
    """The user data of a gateway: ASCII, at most :data:`MAX_BYTES`; BootError when it would be larger."""
    interface = Interface(IPv4Interface((boot.address, boot.overlay.prefixlen)), boot.wireguard_private_key, boot.mtu)
    admins = [
        # nftables takes no overlapping intervals in one set.
        ("admin4", "ipv4_addr", list(collapse_addresses(c for c in boot.admin_cidrs if isinstance(c, IPv4Network)))),
        ("admin6", "ipv6_addr", list(collapse_addresses(c for c in boot.admin_cidrs if isinstance(c, IPv6Network)))),
    ]
    return _document(
        "gateway",
        {
            "/etc/hybridnet/sets.nft": _environment()
            .get_template("sets.nft.j2")
            .render(admins=admins, overlay=boot.overlay),
            "/etc/hybridnet/tls.crt": boot.tls_certificate_pem,
            "/etc/hybridnet/config.json": _config("gateway", boot.name, boot.address, boot.signing_public_key),
        },
        {"/etc/hybridnet/tls.key": boot.tls_private_key_pem, "/etc/wireguard/wg0.conf": wg_quick(interface, ())},
    )


def render_spoke(boot: SpokeBoot) -> str:
    """The user data of a static spoke: ASCII, at most :data:`MAX_BYTES`. Its tunnel works without any release."""
    interface = Interface(IPv4Interface(boot.address), boot.wireguard_private_key, boot.mtu)
    gateway = Peer(boot.gateway_public_key, boot.gateway_endpoint, (boot.overlay,), KEEPALIVE)
    return _document(
        "spoke",
        {
            "/etc/hybridnet/ca.pem": boot.ca_pem,
            "/etc/hybridnet/config.json": _config("spoke", boot.name, boot.gateway_address, boot.signing_public_key),
        },
        {"/etc/wireguard/wg0.conf": wg_quick(interface, [gateway])},
    )
