"""What each cloud calls the images that settings name; on Hetzner the settings' name is the cloud's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from components.settings.errors import nearest


@dataclass(frozen=True)
class AmiLookup:
    """How to find the newest image of a distribution on AWS: the publisher's account and a name pattern."""

    owner: str
    name: str


_CANONICAL = "099720109477"
"""Canonical's account (documentation.ubuntu.com/aws, Find Ubuntu images on AWS)."""
_DEBIAN = "136693071363"
"""Debian's account (wiki.debian.org/Cloud/AmazonEC2Image)."""

AMIS: Mapping[str, AmiLookup] = MappingProxyType(
    {
        "ubuntu-22.04": AmiLookup(_CANONICAL, "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"),
        "ubuntu-24.04": AmiLookup(_CANONICAL, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"),
        "debian-12": AmiLookup(_DEBIAN, "debian-12-amd64-*"),
    }
)

GCP_FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "ubuntu-22.04": "ubuntu-os-cloud/ubuntu-2204-lts",
        "ubuntu-24.04": "ubuntu-os-cloud/ubuntu-2404-lts-amd64",
    }
)
"""Image families (cloud.google.com/compute/docs/images/os-details). Google's Debian images have no cloud-init, so user
data would do nothing on them (bootstrap-vz, pull request 469)."""


def unknown_image(cloud: str, image: str) -> tuple[str, str] | None:
    """Reason and remedy when ``image`` cannot be looked up on ``cloud``: no key above, AMI's id or GCP image's path."""
    if cloud == "aws":
        known, is_known = AMIS, image in AMIS or image.startswith("ami-")
    else:
        known, is_known = GCP_FAMILIES, cloud != "gcp" or image in GCP_FAMILIES or "/" in image
    return None if is_known else (f"no such image on {cloud}", nearest(image, known))


def login_user(image: str) -> str:
    """The account that the image gives SSH to."""
    return "debian" if "debian" in image else "ubuntu"
