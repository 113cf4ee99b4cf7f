"""What a cloud made for an engine that broke off before it heard of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from localcloud.cloud import Cloud
from localcloud.provider.clouds import KINDS, project
from localcloud.provider.ledger import Applies, Ledger
from localcloud.provider.world import World

_UNPROTECTED = {
    "deleteProtection": False,
    "disableApiTermination": False,
    "deletionProtection": False,
    "forceDelete": True,
}


def remove(cloud: Cloud, fabric: Applies, broken_off: Mapping[str, Collection[str]]) -> list[str]:
    """Take away what was made for these URNs and has none of the ids that their stack knows; answers the URNs.

    Nothing else may serve the world meanwhile.
    """

    def take(world: World) -> list[str]:
        taken: list[str] = []
        for urn, known in broken_off.items():
            for record in [record for record in world.of(urn) if record.id not in known]:
                bare = replace(record, properties={**record.properties, **_UNPROTECTED})
                KINDS[record.token].delete(bare, world)
                taken.append(urn)
        return taken

    return Ledger(cloud.world, fabric, project).change(take)
