"""Stack configs for tests, as the engine hands them over: texts by key."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KEY = "GE1AFY974hTtgqQ9UOajVqW0pdAzqdj0XKSHNSudHDc="
"""Any 32 bytes in base64."""


def dev() -> dict[str, Any]:
    """The dev stack's config by key, without the namespace."""
    document = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    return {key.partition(":")[2]: value for key, value in document["config"].items()}


def static() -> dict[str, Any]:
    """The dev stack's config without its pools."""
    return {**dev(), "pools": {}}


AWS_POOL = {"site": "aws", "range": "10.100.2.128/25", "min": 1, "max": 6}
GCP_POOL = {"site": "gcp", "range": "10.100.3.128/25", "min": 1, "max": 4}
HETZNER_POOL = {"site": "hetzner", "range": "10.100.1.128/25", "count": 12}


def burst(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The dev stack's config with a pool on each cloud in place of its own, and ``changes`` to that."""
    pools = {"aws-burst": AWS_POOL, "gcp-burst": GCP_POOL, "hetzner-base": HETZNER_POOL}
    return changed({**dev(), "pools": pools}, changes or {})


def declared_defaults() -> dict[str, Any]:
    """What Pulumi.yaml gives to keys that a stack does not set."""
    return {
        key: field["default"] for key, field in yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"].items()
    }


def as_engine_gives(config: Mapping[str, Any]) -> dict[str, str]:
    """Every value as text: objects and lists in JSON, flags as true or false."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with values at ``a/b/c`` set, or taken away where the change is ``...``."""
    found = copy.deepcopy(dict(config))
    for path, value in changes.items():
        *parents, last = path.split("/")
        place: Any = found
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ...:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return found
