"""EC2: the instance metadata service, version 2 only (EC2 user guide, "Use the Instance Metadata Service")."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import cast

from node.joining import AwsProof
from node.pool.watch import Notice, Sight
from node.pool.watch.metadata import Metadata

DRAIN_SECONDS = 90.0
"""Of the two minutes that a spot notice gives, and that the group's lifecycle hook waits."""
_RESERVE = 10.0
"""Seconds of a shorter notice that are kept for leaving."""
_TOKEN_SECONDS = 21600
_ACTIONS = ("terminate", "stop", "hibernate")


def _interruption(text: str, *, power_off: bool) -> Notice:
    """The notice in ``spot/instance-action``; one that cannot be read is a notice all the same."""
    try:
        found: object = json.loads(text)
    except ValueError:
        found = None
    said = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    action = next((each for each in _ACTIONS if said.get("action") == each), "unknown")
    return Notice(f"spot interruption ({action})", _seconds(str(said.get("time"))), power_off)


def _seconds(end: str) -> float:
    """How long to drain at most, if the machine is taken at ``end`` (ISO 8601 in UTC)."""
    try:
        taken = datetime.strptime(end, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return DRAIN_SECONDS
    return max(0.0, min(DRAIN_SECONDS, taken.timestamp() - time.time() - _RESERVE))


class Aws:
    """A machine of EC2's."""

    replaces = True

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._token = ""
        self._token_end = 0.0

    def instance_id(self) -> str:
        return self._needed("meta-data/instance-id")

    def proof(self, pool: str, public_key: str) -> AwsProof | None:
        """The instance identity document, which is of this machine and not of a certain key."""
        del pool, public_key
        # Not stripped: the signature is over the document's exact bytes.
        status, document = self._metadata.ask("/latest/dynamic/instance-identity/document", self._headers())
        if status == 404:
            return None
        if status != 200:
            raise ConnectionError(f"the identity document: status {status}")
        signature = self._text("dynamic/instance-identity/signature")
        return AwsProof(document, "".join(signature.split())) if signature else None

    def look(self) -> Sight:
        action = self._text("meta-data/spot/instance-action")
        target = self._text("meta-data/autoscaling/target-lifecycle-state")
        at_risk = self._text("meta-data/events/recommendations/rebalance") is not None
        ends = target == "Terminated"
        if action is not None:
            return Sight(_interruption(action, power_off=ends), at_risk)
        return Sight(Notice("terminated by its auto-scaling group", DRAIN_SECONDS, True) if ends else None, at_risk)

    def _needed(self, path: str) -> str:
        found = self._text(path)
        if not found:
            raise ConnectionError(f"{path}: nothing there")
        return found

    def _text(self, path: str) -> str | None:
        try:
            return self._metadata.text(f"/latest/{path}", self._headers())
        except OSError:
            self._token_end = 0.0
            raise

    def _headers(self) -> dict[str, str]:
        """With a session token, which is renewed at half its life."""
        if time.monotonic() > self._token_end:
            status, token = self._metadata.ask(
                "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}, "PUT"
            )
            if status != 200:
                raise ConnectionError(f"a session token: status {status}")
            self._token, self._token_end = token.strip(), time.monotonic() + _TOKEN_SECONDS / 2
        return {"X-aws-ec2-metadata-token": self._token}
