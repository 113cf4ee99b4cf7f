"""What the scenes of pools share."""

from __future__ import annotations

import json

from bench.place import Place
from tests.scenes.scene import Scene

POOLS = {"aws-burst": "10.100.2.", "gcp-burst": "10.100.3."}
"""The dev stack's pools, and how the addresses of their sites begin."""


def joined(scene: Scene, pool: str, count: int) -> bool:
    """Whether a pool has just that many machines, all of which work at the gateway."""
    working = {lease["name"] for lease in scene.leases(pool) if lease["healthy"] and lease["state"] == "active"}
    return len(working) == count and working == set(scene.members(pool))


def told_to_joiners(place: Place, pool: str, count: int) -> str:
    """The input of ``tests.scenes.joiners``, the pool's token among it."""
    outputs = place.secret_outputs()
    (gateway,), join = outputs["gateways"], outputs["join"]
    known = {
        "url": join["url"],
        "ca_pem": join["ca"],
        "token": join["tokens"][pool],
        "pool": pool,
        "gateway_public_key": gateway["public_key"],
        "gateway_address": gateway["address"],
        "endpoint": gateway["endpoint"],
        "count": count,
    }
    return json.dumps(known)
