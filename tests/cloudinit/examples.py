"""The documents that the golden files pin: fixed values with the lengths of real ones.

After a wanted change: ``python -m tests.cloudinit.examples`` writes the golden files anew. Machines that exist keep
the document they booted with, so read the difference as what only new machines will get.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from cloudinit import (
    ExternalBoot,
    GatewayBoot,
    PoolBoot,
    SpokeBoot,
    render_external,
    render_gateway,
    render_pool,
    render_spoke,
)

GOLDEN = Path(__file__).parent / "golden"


def filler(seed: str, size: int) -> bytes:
    """``size`` bytes that look random and are always the same."""
    return hashlib.shake_256(seed.encode()).digest(size)


def key(seed: str) -> str:
    return base64.b64encode(filler(seed, 32)).decode()


def pem(label: str, size: int) -> str:
    body = base64.b64encode(filler(label, size)).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


OVERLAY = IPv4Network("10.100.0.0/16")
GATEWAY = GatewayBoot(
    name="hetzner-gw",
    address=IPv4Address("10.100.0.1"),
    overlay=OVERLAY,
    mtu=1380,
    wireguard_private_key=key("gateway"),
    tls_certificate_pem=pem("CERTIFICATE", 480),
    tls_private_key_pem=pem("EC PRIVATE KEY", 121),
    ca_pem=pem("CERTIFICATE", 430),
    signing_public_key=key("signing"),
    seal_key=key("seal"),
    admin_cidrs=(IPv4Network("203.0.113.0/24"), IPv6Network("2001:db8:77::/48")),
)
SPOKE = SpokeBoot(
    name="aws-1",
    cloud="aws",
    address=IPv4Address("10.100.2.1"),
    overlay=OVERLAY,
    mtu=1380,
    wireguard_private_key=key("spoke"),
    gateway_public_key=key("gateway public"),
    gateway_endpoint="198.51.100.10:51820",
    gateway_address=IPv4Address("10.100.0.1"),
    ca_pem=pem("CERTIFICATE", 430),
    signing_public_key=key("signing"),
)
POOL = PoolBoot(
    pool="aws-burst",
    cloud="aws",
    gateway_public_key=key("gateway public"),
    gateway_control="198.51.100.10:8443",
    token=base64.urlsafe_b64encode(filler("token", 32)).decode(),
    ca_pem=pem("CERTIFICATE", 430),
    signing_public_key=key("signing"),
    user_setup="",
    drain_hook="",
)
EXTERNAL = ExternalBoot(
    pool="replicas",
    overlay=OVERLAY,
    gateway_public_key=key("gateway public"),
    gateway_control="198.51.100.10:8443",
    ca_pem=pem("CERTIFICATE", 430),
    signing_public_key=key("signing"),
)
SCRIPTED_POOL = replace(
    POOL,
    user_setup="#!/bin/bash\nset -eu\n\nif ! id model; then\n\tuseradd model\nfi\n",
    drain_hook="echo 'Auf Wiedersehen, schöne Welt'\n",
)


def documents() -> dict[str, str]:
    """Name of the golden file -> the document."""
    return {
        "gateway.yaml": render_gateway(GATEWAY),
        "spoke.yaml": render_spoke(SPOKE),
        "pool.yaml": render_pool(POOL),
        "pool-with-scripts.yaml": render_pool(SCRIPTED_POOL),
    }


if __name__ == "__main__":
    for name, text in {**documents(), "external.sh": render_external(EXTERNAL)}.items():
        (GOLDEN / name).write_text(text)
