"""The first-boot documents: pure text from checked values, the same bytes for the same values for ever."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, collapse_addresses
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cloudinit.boot import BootError, ExternalBoot, GatewayBoot, PoolBoot, SpokeBoot
from cloudinit.pack import packed_file
from overlay.addresses import address6, network6
from overlay.model import CONTROL_PORT, KEEPALIVE, Peer, Prefix
from overlay.wgconf import Interface, wg_quick

MAX_BYTES: Mapping[str, int] = MappingProxyType({"gateway": 16 * 1024, "spoke": 8 * 1024, "pool": 16 * 1024})
"""By role, of the smallest limit on user data where it stands, EC2's 16 KiB (EC2 user guide, instance user data): a
spoke may have half; a gateway all, of which a quarter is left for its adminCidrs; and a pool's machine half without the
user's scripts, and all with them."""

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
GATEWAY_PACKAGES = (*PACKAGES, "python3-jwt", "nginx", "dnsmasq-base")
EXTERNAL_PACKAGES = tuple(package for package in PACKAGES if package != "unattended-upgrades")
"""Upgrades are the affair of whoever made such machines, and so is their firewall: nftables is for groups alone."""
HEALTH = "hybridnet-health.timer"
TOKEN_VARIABLE = "HYBRIDNET_JOIN_TOKEN"
"""The environment variable that :func:`render_external`'s script finds the pool's join token in."""
JOIN_SECONDS = 300
"""How long that script waits until its machine has joined."""
APT_CONFIG = """Acquire::Retries "9";
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
"""
"""Written before the packages are installed, since a machine whose first boot misses them stays out for good."""
NGINX_CONDITION = """[Unit]
ConditionPathExistsGlob=/var/lib/hybridnet/nginx/*.conf
"""
"""Written before the packages are installed, too, since that starts nginx: with the distribution's page, were it not
for this."""
NGINX_RENEWAL = """#!/bin/sh
exec /etc/init.d/nginx upgrade
"""
"""What needrestart(1) runs in the place of `systemctl restart` once a library that nginx has loaded was upgraded: a new
nginx takes over, and the old one ends what it has begun."""

_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "gateway": "declare fewer networks in adminCidrs",
        "spoke": "give shorter names",
        "pool": "shorten userSetup and drainHook, or let them download what they need",
    }
)


@dataclass(frozen=True)
class _File:
    """A file that first boot writes; ``permissions`` in octal, 0644 without."""

    path: str
    text: str
    permissions: str = ""

    @property
    def base64(self) -> str:
        return base64.b64encode(self.text.encode()).decode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _config(role: str, name: str, control: str, signing_public_key: str, **more: object) -> _File:
    config = {
        "schema_version": CONFIG_VERSION,
        "role": role,
        "name": name,
        "control": control,
        "signing_public_key": signing_public_key,
        **more,
    }
    return _File("/etc/hybridnet/config.json", json.dumps(config))


def _secret(path: str, text: str) -> _File:
    return _File(path, text, "0600")


def _scripts(boot: PoolBoot) -> list[_File]:
    found: list[_File] = []
    for name, text in (("setup", boot.user_setup), ("drain", boot.drain_hook)):
        if text.strip():
            script = text if text.startswith("#!") else f"#!/bin/sh\n{text}"
            found.append(_File(f"/etc/hybridnet/{name}", script.rstrip() + "\n", "0700"))
    return found


def _document(role: str, packages: Sequence[str], units: Sequence[str], files: Sequence[_File]) -> str:
    text = (
        _environment()
        .get_template("user-data.j2")
        .render(
            packages=packages,
            kit=packed_file(role).read_text().strip(),
            files=[_File("/etc/apt/apt.conf.d/60hybridnet", APT_CONFIG), *files],
            units=units,
        )
    )
    size = len(text.encode("ascii"))
    if size > MAX_BYTES[role]:
        raise BootError(
            f"the {role}'s first-boot document has {size} bytes and may have {MAX_BYTES[role]}: {_REMEDIES[role]}"
        )
    return text


def render_gateway(boot: GatewayBoot) -> str:
    """The user data of a gateway: ASCII, at most :data:`MAX_BYTES`; BootError when it would be larger."""
    whole = boot.overlay.prefixlen
    interface = Interface(
        IPv4Interface((boot.address, whole)),
        boot.wireguard_private_key,
        boot.mtu,
        address6=IPv6Interface((address6(boot.overlay6, boot.address), 96 + whole)) if boot.overlay6 else None,
    )
    admins = [
        # nftables takes no overlapping intervals in one set.
        ("admin4", "ipv4_addr", list(collapse_addresses(c for c in boot.admin_cidrs if isinstance(c, IPv4Network)))),
        ("admin6", "ipv6_addr", list(collapse_addresses(c for c in boot.admin_cidrs if isinstance(c, IPv6Network)))),
    ]
    sets = _environment().get_template("sets.nft.j2").render(admins=admins, overlay=boot.overlay)
    return _document(
        "gateway",
        GATEWAY_PACKAGES,
        ("nftables", "wg-quick@wg0", "hybridnet", "hybridnet-dns", HEALTH),
        [
            _File("/etc/systemd/system/nginx.service.d/condition.conf", NGINX_CONDITION),
            _File("/etc/needrestart/restart.d/nginx.service", NGINX_RENEWAL, "0755"),
            _File("/etc/hybridnet/sets.nft", sets),
            _File("/etc/hybridnet/ca.pem", boot.ca_pem),
            _File("/etc/hybridnet/tls.crt", boot.tls_certificate_pem),
            _config("gateway", boot.name, f"{boot.address}:{CONTROL_PORT}", boot.signing_public_key),
            _secret("/etc/hybridnet/tls.key", boot.tls_private_key_pem),
            _secret("/etc/hybridnet/seal.key", boot.seal_key),
            _secret("/etc/wireguard/wg0.conf", wg_quick(interface, ())),
        ],
    )


def render_spoke(boot: SpokeBoot) -> str:
    """The user data of a static spoke: ASCII, at most :data:`MAX_BYTES`. Its tunnel works without any release."""
    overlay6 = boot.overlay6
    interface = Interface(
        IPv4Interface(boot.address),
        boot.wireguard_private_key,
        boot.mtu,
        address6=IPv6Interface(address6(overlay6, boot.address)) if overlay6 else None,
    )
    whole: tuple[Prefix, ...] = (boot.overlay, *([network6(overlay6, boot.overlay)] if overlay6 else []))
    gateway = Peer(boot.gateway_public_key, boot.gateway_endpoint, whole, KEEPALIVE)
    return _document(
        "spoke",
        PACKAGES,
        ("nftables", "wg-quick@wg0", "hybridnet", HEALTH),
        [
            _File("/etc/hybridnet/ca.pem", boot.ca_pem),
            _config("spoke", boot.name, f"{boot.gateway_address}:{CONTROL_PORT}", boot.signing_public_key),
            _secret("/etc/wireguard/wg0.conf", wg_quick(interface, [gateway])),
        ],
    )


def render_pool(boot: PoolBoot) -> str:
    """The user data of a pool's machines: ASCII, at most :data:`MAX_BYTES`; BootError when it would be larger.

    The tunnel's unit is not enabled: the agent makes its configuration when the machine has joined, and starts it.
    """
    config = _config(
        "pool",
        boot.pool,
        boot.gateway_control,
        boot.signing_public_key,
        cloud=boot.cloud,
        gateway_public_key=boot.gateway_public_key,
    )
    return _document(
        "pool",
        PACKAGES,
        ("nftables", "hybridnet", HEALTH),
        [
            _File("/etc/hybridnet/ca.pem", boot.ca_pem),
            config,
            _secret("/etc/hybridnet/token", boot.token),
            *_scripts(boot),
        ],
    )


def render_external(boot: ExternalBoot) -> str:
    """The bash script by which machines that others make join the pool: ASCII, and no secret.

    It is for root or a user that sudo asks for no password. Run again, it changes only what differs.
    """
    config = _config(
        "pool",
        boot.pool,
        boot.gateway_control,
        boot.signing_public_key,
        cloud="external",
        gateway_public_key=boot.gateway_public_key,
    )
    script = (
        _environment()
        .get_template("external.sh.j2")
        .render(
            pool=boot.pool,
            overlay=boot.overlay,
            ca=boot.ca_pem,
            config=config,
            kit=packed_file("external").read_text().strip(),
            packages=EXTERNAL_PACKAGES,
            seconds=JOIN_SECONDS,
            token=TOKEN_VARIABLE,
            health=HEALTH,
        )
    )
    return f"{script}\n"
