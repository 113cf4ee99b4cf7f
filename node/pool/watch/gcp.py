"""Compute Engine's metadata server (Compute Engine documentation, "About VM metadata")."""

from __future__ import annotations

from urllib.parse import quote

from node.joining import GcpProof
from node.pool.watch import Notice, Sight
from node.pool.watch.metadata import Metadata
from overlay.pools import token_audience

DRAIN_SECONDS = 20.0
"""Of the 30 seconds between a preemption and its end."""
_ROOT = "/computeMetadata/v1/instance/"
_HEADERS = {"Metadata-Flavor": "Google"}


class Gcp:
    """A machine of Compute Engine's."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def instance_id(self) -> str:
        return self._needed("id")

    def proof(self, pool: str, public_key: str) -> GcpProof:
        audience = quote(token_audience(pool, public_key), safe="")
        return GcpProof(self._needed(f"service-accounts/default/identity?audience={audience}&format=full"))

    def look(self) -> Sight:
        if self._text("preempted") == "TRUE":
            return Sight(Notice("preempted", DRAIN_SECONDS))
        if self._text("maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE":
            return Sight(Notice("terminated for maintenance of its host", DRAIN_SECONDS))
        return Sight()

    def _needed(self, path: str) -> str:
        found = self._text(path)
        if not found:
            raise ConnectionError(f"{path.partition('?')[0]}: nothing there")
        return found

    def _text(self, path: str) -> str | None:
        return self._metadata.text(_ROOT + path, _HEADERS)
