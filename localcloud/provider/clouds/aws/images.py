"""Machine images: the public ones that a lookup finds, with an id in every region."""

from __future__ import annotations

import hashlib

from localcloud.provider.rules.aws import AMIS, Ami


def image_id(ami: Ami, region: str) -> str:
    """The image's id in a region."""
    return f"ami-0{hashlib.sha256(f'{region}/{ami.name}'.encode()).hexdigest()[:16]}"


def by_id(id_: str | None, region: str | None) -> Ami | None:
    """The image with that id in the region."""
    return next((ami for ami in AMIS if region is not None and image_id(ami, region) == id_), None)
