"""The text that wg-quick reads."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from overlay.model import Peer
from overlay.wgconf import Interface, wg_quick

PEERS = [
    Peer("A", "198.51.100.1:51820", (IPv4Network("10.100.0.0/16"), IPv6Network("fd00::a64:0/112")), 25),
    Peer("B", None, (), 4),
]


def test_an_interface_with_ipv6_and_a_peer_that_carries_nothing() -> None:
    own = Interface(IPv4Interface("10.100.9.1/32"), "secret", 1380, 51821, IPv6Interface("fd00::a64:901/128"))
    assert wg_quick(own, PEERS).splitlines() == [
        "[Interface]",
        "Address = 10.100.9.1/32, fd00::a64:901/128",
        "PrivateKey = secret",
        "ListenPort = 51821",
        "MTU = 1380",
        "",
        "[Peer]",
        "PublicKey = A",
        "Endpoint = 198.51.100.1:51820",
        "AllowedIPs = 10.100.0.0/16, fd00::a64:0/112",
        "PersistentKeepalive = 25",
        "",
        "[Peer]",
        "PublicKey = B",
        "PersistentKeepalive = 4",
    ]


def test_what_is_not_there_has_no_line() -> None:
    text = wg_quick(Interface(IPv4Interface("10.100.9.1/16"), "secret", 1420), [])
    assert "Address = 10.100.9.1/16\n" in text
    assert text.endswith("MTU = 1420\n")
