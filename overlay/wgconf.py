"""The text of a wg-quick(8) configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from overlay.model import WG_PORT, Peer


@dataclass(frozen=True)
class Interface:
    """A node's own end. ``mtu`` is in bytes; ``private_key`` is base64 of 32 bytes and a secret."""

    address: IPv4Interface
    private_key: str
    mtu: int
    listen_port: int = WG_PORT
    address6: IPv6Interface | None = None


def wg_quick(interface: Interface, peers: Sequence[Peer]) -> str:
    """The configuration file of ``interface`` with ``peers`` in their order, ending in a newline."""
    addresses = [interface.address, *([interface.address6] if interface.address6 else [])]
    lines = [
        "[Interface]",
        f"Address = {', '.join(map(str, addresses))}",
        f"PrivateKey = {interface.private_key}",
        f"ListenPort = {interface.listen_port}",
        f"MTU = {interface.mtu}",
        "",
    ]
    return "\n".join(lines) + "".join(f"\n{peer.section}" for peer in peers)
