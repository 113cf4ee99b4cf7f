"""The DaemonSet that runs prometheus_wireguard_exporter in a Kubernetes cluster."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

PORT = 9587
"""Beside 9586, where machines of the stack have an exporter already."""
NAMESPACE = "monitoring"
_FOLDER = Path(__file__).parent / "kubernetes"
_IMAGE = re.compile(
    r"(?=.{1,255}$)[a-z0-9][a-z0-9._-]*(?::[0-9]+)?(?:/[a-z0-9][a-z0-9._-]*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
"""The image's name as container registries take it: host, path, tag, digest."""


class ImageError(ValueError):
    """No name of an image that a cluster could be told."""


def daemonset(image: str) -> str:
    """The manifest around ``image``; ImageError."""
    if not _IMAGE.fullmatch(image):
        raise ImageError(f"{image!r} is no name of an image: give registry/path:tag, best with @sha256:<digest>")
    if "@" not in image and ":" not in image.rpartition("/")[2]:
        raise ImageError(f"{image} has no tag, so nodes would run whatever is newest: give {image}:TAG")
    environment = Environment(loader=FileSystemLoader(_FOLDER), undefined=StrictUndefined, autoescape=False)
    template = environment.get_template("daemonset.yaml.j2")
    return template.render(image=image, port=PORT, namespace=NAMESPACE) + "\n"
