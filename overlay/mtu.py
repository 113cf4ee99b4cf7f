"""The MTU of the tunnels, computed from the links on the way and never left to wg-quick.

wg-quick takes the route's MTU less 80, which is 8921 on EC2 though the internet carries 1500.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from overlay.model import EXTERNAL

OVERHEAD = 80
"""Bytes that WireGuard adds to a packet over IPv6: 40 IPv6, 8 UDP, 32 its own (wireguard.com/protocol)."""
INTERNET_MTU = 1500
HETZNER_PRIVATE_MTU = 1450
"""MTU of Hetzner's private networks (docs.hetzner.com, Networks FAQ)."""
LINK_MTU: Mapping[str, int] = MappingProxyType(
    {"hetzner": INTERNET_MTU, "aws": INTERNET_MTU, "gcp": 1460, EXTERNAL: INTERNET_MTU}
)
"""Bytes a cloud's machine can send to the internet in one packet, by cloud.

AWS: 9001 inside a VPC and 1500 through an internet gateway (EC2 user guide, network MTU). GCP: 1460 by default
(VPC documentation, maximum transmission unit).
"""


def wireguard_mtu(clouds: Iterable[str], *, private_hetzner: bool = False) -> int:
    """The tunnel MTU in bytes of a network over ``clouds``: the smallest link's, less WireGuard's overhead.

    ``private_hetzner`` when some tunnel runs over a Hetzner private network. KeyError for an unknown cloud.
    """
    links = [LINK_MTU[cloud] for cloud in clouds]
    if private_hetzner:
        links.append(HETZNER_PRIVATE_MTU)
    return min(links, default=INTERNET_MTU) - OVERHEAD
