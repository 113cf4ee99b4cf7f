"""The text of a wg-quick(8) configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from overlay.model import WG_PORT, Peer


@dataclass(frozen=True)
class Interface:
    """A node's own end. ``mtu`` is in bytes; ``private_key`` is base64 of 32 bytes and a secret."""

    address: IPv4Interface
    private_key: str
    mtu: int
    listen_port: int = WG_PORT


def wg_quick(interface: Interface, peers: Sequence[Peer]) -> str:
    """The configuration file of ``interface`` with ``peers`` in their order, ending in a newline."""
    lines = [
        "[Interface]",
        f"Address = {interface.address}",
        f"PrivateKey = {interface.private_key}",
        f"ListenPort = {interface.listen_port}",
        f"MTU = {interface.mtu}",
    ]
    for peer in peers:
        lines += ["", "[Peer]", f"PublicKey = {peer.public_key}"]
        if peer.endpoint is not None:
            lines.append(f"Endpoint = {peer.endpoint}")
        lines.append("AllowedIPs = " + ", ".join(str(network) for network in peer.allowed_ips))
        if peer.keepalive is not None:
            lines.append(f"PersistentKeepalive = {peer.keepalive}")
    return "\n".join(lines) + "\n"
