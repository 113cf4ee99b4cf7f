"""What Hetzner Cloud accepts. As of November 2026."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

LABEL_KEY = (
    r"([a-z0-9A-Z]([-_.a-z0-9A-Z]{0,253}[a-z0-9A-Z])?/)?"
    r"[a-z0-9A-Z]([-_.a-z0-9A-Z]{0,61}[a-z0-9A-Z])?"
)
"""hcloud-go, hcloud/labels.go."""
LABEL_VALUE = r"(([a-z0-9A-Z][-_.a-z0-9A-Z]{0,61})?[a-z0-9A-Z])?"
"""hcloud-go, hcloud/labels.go."""

HOSTNAME = r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*"
"""A server's name is "a valid hostname as per RFC 1123": terraform-provider-hcloud, docs/resources/server.md."""

USER_DATA_BYTES = 32768
"""terraform-provider-hcloud, docs/resources/server.md: "limited to 32KiB"."""

# https://docs.hetzner.com/cloud/firewalls/faq/ (limitations)
FIREWALLS_PER_SERVER = 5
FIREWALLS_PER_PROJECT = 50
EFFECTIVE_RULES_PER_FIREWALL = 500

# https://docs.hetzner.com/cloud/placement-groups/faq/
SERVERS_PER_PLACEMENT_GROUP = 10

PRIVATE_RANGES = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
PUBLIC_GATEWAY = IPv4Address("172.31.1.1")
"""Every server's own default gateway, so no private address."""

# https://docs.hetzner.com/cloud/networks/faq/
NETWORKS_PER_SERVER = 3
SERVERS_PER_NETWORK = 100
SUBNETS_PER_NETWORK = 50

LOCATIONS = {
    "fsn1": "eu-central",
    "nbg1": "eu-central",
    "hel1": "eu-central",
    "ash": "us-east",
    "hil": "us-west",
    "sin": "ap-southeast",
}
"""Location -> network zone: https://docs.hetzner.com/cloud/general/locations/"""
_EU = ("fsn1", "nbg1", "hel1")
_OUTSIDE_EU = ("ash", "hil", "sin")

IMAGES = (
    "ubuntu-22.04",
    "ubuntu-24.04",
    "ubuntu-26.04",
    "debian-11",
    "debian-12",
    "debian-13",
    "fedora-42",
    "fedora-43",
    "rocky-8",
    "rocky-9",
    "rocky-10",
    "alma-8",
    "alma-9",
    "alma-10",
    "centos-stream-9",
    "centos-stream-10",
    "opensuse-15",
    "opensuse-16",
)
"""System images: https://docs.hetzner.com/cloud/servers/faq/ (which operating systems)."""
BOOTABLE = ("ubuntu-22.04", "ubuntu-24.04", "debian-12")
"""Those that the local cloud's own image stands for."""


@dataclass(frozen=True)
class ServerType:
    """A row of https://www.hetzner.com/cloud/; `retired` is the day since which it cannot be ordered."""

    architecture: str
    disk: int
    """GB."""
    locations: tuple[str, ...]
    retired: str | None = None
    successor: str | None = None


SERVER_TYPES = {
    "cx23": ServerType("x86", 40, _EU),
    "cx33": ServerType("x86", 80, _EU),
    "cx43": ServerType("x86", 160, _EU),
    "cx53": ServerType("x86", 320, _EU),
    "cax11": ServerType("arm", 40, _EU),
    "cax21": ServerType("arm", 80, _EU),
    "cax31": ServerType("arm", 160, _EU),
    "cax41": ServerType("arm", 320, _EU),
    "cpx12": ServerType("x86", 40, (*_EU, "sin")),
    "cpx22": ServerType("x86", 80, (*_EU, "sin")),
    "cpx32": ServerType("x86", 160, (*_EU, "sin")),
    "cpx42": ServerType("x86", 320, (*_EU, "sin")),
    "cpx52": ServerType("x86", 480, (*_EU, "sin")),
    "cpx62": ServerType("x86", 640, (*_EU, "sin")),
    "cpx11": ServerType("x86", 40, _OUTSIDE_EU),
    "cpx21": ServerType("x86", 80, _OUTSIDE_EU),
    "cpx31": ServerType("x86", 160, _OUTSIDE_EU),
    "cpx41": ServerType("x86", 240, _OUTSIDE_EU),
    "cpx51": ServerType("x86", 360, _OUTSIDE_EU),
    "ccx13": ServerType("x86", 80, tuple(LOCATIONS)),
    "ccx23": ServerType("x86", 160, tuple(LOCATIONS)),
    "ccx33": ServerType("x86", 240, tuple(LOCATIONS)),
    "ccx43": ServerType("x86", 360, tuple(LOCATIONS)),
    "ccx53": ServerType("x86", 600, tuple(LOCATIONS)),
    "ccx63": ServerType("x86", 960, tuple(LOCATIONS)),
    # https://docs.hetzner.cloud/changelog#2025-10-16-server-types-deprecated
    "cx22": ServerType("x86", 40, _EU, "2026-01-01", "cx23"),
    "cx32": ServerType("x86", 80, _EU, "2026-01-01", "cx33"),
    "cx42": ServerType("x86", 160, _EU, "2026-01-01", "cx43"),
    "cx52": ServerType("x86", 320, _EU, "2026-01-01", "cx53"),
    # https://docs.hetzner.cloud/changelog#2024-06-06-old-server-types-with-shared-intel-vcpus-are-deprecated
    "cx11": ServerType("x86", 20, _EU, "2024-09-06", "cx23"),
    "cx21": ServerType("x86", 40, _EU, "2024-09-06", "cx23"),
    "cx31": ServerType("x86", 80, _EU, "2024-09-06", "cx33"),
    "cx41": ServerType("x86", 160, _EU, "2024-09-06", "cx43"),
    "cx51": ServerType("x86", 240, _EU, "2024-09-06", "cx53"),
}
