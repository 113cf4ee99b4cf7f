"""Public images, and the ways to name them."""

from __future__ import annotations

from localcloud.provider.clouds.gcp.common import API
from localcloud.provider.rules.gcp import IMAGES, Image


def resolve(text: str) -> Image | None:
    """The image that `text` names.

    Forms: https://www.pulumi.com/registry/packages/gcp/api-docs/compute/instance/ (image): a self link,
    projects/P/global/images/N, projects/P/global/images/family/F, P/N, P/F, N or F.
    """
    parts = text.removeprefix("https://compute.googleapis.com/compute/v1/").removeprefix(API).split("/")
    name = parts[-1]
    project = parts[1] if parts[0] == "projects" else parts[0] if len(parts) > 1 else None
    for image in IMAGES:
        if name in (image.name, image.family) and project in (None, image.project, "family"):
            return image
    return None


def self_link(image: Image) -> str:
    """The image's URI."""
    return f"{API}projects/{image.project}/global/images/{image.name}"
