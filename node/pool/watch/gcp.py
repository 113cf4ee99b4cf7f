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

    replaces = True

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def instance_id(self) -> str:
        return self._needed("id")

    def proof(self, pool: str, public_key: str) -> GcpProof | None:
        """An identity token for this key; None for a machine without a service account."""
        audience = quote(token_audience(pool, public_key), safe="")
        token = self._text(f"service-accounts/default/identity?audience={audience}&format=full")
        return GcpProof(token) if token else None

    def look(self) -> Sight:
        if self._text("preempted") == "TRUE":
            return Sight(Notice("preempted", DRAIN_SECONDS))
        if self._text("maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE":
            return Sight(Notice("terminated for maintenance of its host", DRAIN_SECONDS))
        return Sight()

    def _needed(self, path: str) -> str:
        found = self._text(path)
        if not found:
            raise ConnectionError(f"{path}: nothing there")
        return found

    def _text(self, path: str) -> str | None:
        return self._metadata.text(_ROOT + path, _HEADERS)
