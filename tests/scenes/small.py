"""A small stack for scenes that are about machines and not about many: one gateway, one spoke, and a pool if wanted."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.scenes.scene import PREFIX, Scene

POOL = {"site": "aws", "range": "10.100.2.128/25", "min": 1, "max": 1}


@contextmanager
def small_stack(
    folder: Path, *, with_pool: bool = False, external: Mapping[str, str] | None = None
) -> Generator[Scene]:
    """``hetzner-gw``, ``hetzner-1`` and perhaps the pool ``aws-burst`` of one machine, up while the block runs.

    ``external`` are spokes of the external site ``operations``: their addresses in 10.100.10.0/24 by name.
    """
    scene = Scene(folder / "cloud")
    document = yaml.safe_load(scene.config_file.read_text())
    config: dict[str, Any] = document["config"]
    sites = config[f"{PREFIX}sites"]
    config[f"{PREFIX}sites"] = {name: sites[name] for name in ("hetzner", *(["aws"] if with_pool else []))}
    config[f"{PREFIX}spokes"] = {"hetzner-1": {"site": "hetzner"}}
    if external:
        config[f"{PREFIX}sites"]["operations"] = {"cloud": "external", "subnet": "10.100.10.0/24"}
        theirs = {name: {"site": "operations", "address": address} for name, address in external.items()}
        config[f"{PREFIX}spokes"] |= theirs
    config[f"{PREFIX}pools"] = {"aws-burst": POOL} if with_pool else {}
    config.pop(f"{PREFIX}loadBalancer")
    scene.config_file.write_text(yaml.safe_dump(document, sort_keys=False))
    try:
        scene.up()
        yield scene
    finally:
        scene.run("down")
