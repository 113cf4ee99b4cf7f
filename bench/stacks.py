"""Generated stacks: the dev stack's three sites, widened, with as many spokes as wanted, no pools, no load balancer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).parents[1]
PREFIX = "hybrid-wireguard:"
SUBNETS = {"hetzner": "10.100.16.0/20", "aws": "10.100.32.0/20", "gcp": "10.100.48.0/20"}


def spoke_names(count: int) -> list[str]:
    """`count` spokes' names, the three sites in turn: hetzner-1, aws-1, gcp-1, hetzner-2, …"""
    sites = list(SUBNETS)
    return [f"{sites[index % 3]}-{index // 3 + 1}" for index in range(count)]


def stack_config(count: int) -> str:
    """The text of a stack file with `count` spokes; salt and everything that tunnels need are as in the dev stack."""
    document = cast("dict[str, Any]", yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text()))
    config = document["config"]
    for site, subnet in SUBNETS.items():
        config[f"{PREFIX}sites"][site]["subnet"] = subnet
    config[f"{PREFIX}spokes"] = {name: {"site": name.partition("-")[0]} for name in spoke_names(count)}
    del config[f"{PREFIX}pools"], config[f"{PREFIX}loadBalancer"]
    return yaml.safe_dump(document, sort_keys=False)
