"""Hetzner's metadata service: it knows who the machine is, and takes no machine back."""

from __future__ import annotations

from node.pool.watch import Sight
from node.pool.watch.metadata import Metadata


class Hetzner:
    """A server of Hetzner Cloud's."""

    replaces = False

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def instance_id(self) -> str:
        found = self._metadata.text("/hetzner/v1/metadata/instance-id", {})
        if not found:
            raise ConnectionError("instance-id: nothing there")
        return found

    def proof(self, pool: str, public_key: str) -> None:
        """There is none."""
        del pool, public_key

    def look(self) -> Sight:
        return Sight()
