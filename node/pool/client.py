"""What a pool machine asks of its gateway: to join, how its lease is, and to let it go."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from node import joining
from node.config import Config
from node.control import ControlPlane, Reply
from node.joining import Answer, Request

REASON_LENGTH = 200
_CAP = 10.0
_LONGEST_RETRY = 300.0


class RefusalError(Exception):
    """The gateway said no; ``retry_after`` is in seconds."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.retry_after = _retry_after(reply.headers)
        super().__init__(f"{reply.status} {_reason(reply.body)}")


@dataclass(frozen=True)
class LeaseState:
    """The lease as the gateway has it. ``port`` is the inference server's, None from a gateway that does not tell."""

    state: str
    weight: int
    port: int | None


class Backoff:
    """Waiting times with full jitter, so that a pool that was refused at once does not come back at once."""

    def __init__(self) -> None:
        self._tries = 0

    def reset(self) -> None:
        self._tries = 0

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait now."""
        self._tries = min(self._tries + 1, 16)
        return at_least + random.uniform(0, min(_CAP, 2.0 ** (self._tries - 1)))


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY) if text.isascii() and text.isdigit() else 0.0


def _reason(body: bytes) -> str:
    try:
        found = cast("object", json.loads(body))
    except (ValueError, RecursionError):
        return "without a reason"
    reason = cast("dict[str, Any]", found).get("reason") if isinstance(found, dict) else None
    return str(reason)[:REASON_LENGTH] if reason else "without a reason"


class Client:
    """Asks ``config``'s gateway. OSError when there is no answer, RefusalError for a no, JoinError for nonsense."""

    def __init__(self, config: Config, tls: ssl.SSLContext) -> None:
        self._port = config.control[1]
        self._tls = tls
        token = (config.files / "token").read_text().strip()
        self.public = ControlPlane(*config.control, tls, token)

    def overlay(self, lease: Answer) -> ControlPlane:
        """The same gateway, through the tunnel."""
        return ControlPlane(lease.control, self._port, self._tls)

    def join(self, request: Request, private_key: str, gateway_public_key: str) -> Answer:
        body = joining.request_body(request)
        headers = {
            "Content-Type": "application/json",
            joining.POSSESSION: joining.possession(private_key, gateway_public_key, body),
        }
        return joining.parse_answer(_accepted(self.public.ask("POST", "/v1/join", body, headers)))

    def is_token_refused(self) -> bool:
        """Whether the gateway knows no such join token: for its release it asks for nothing else. OSError."""
        return self.public.ask("GET", "/v1/release", limit=0).status == 403

    def lease(self, lease: Answer) -> LeaseState:
        return _state(self._about(lease, "GET", None))

    def drain(self, lease: Answer, reason: str) -> LeaseState:
        return _state(self._about(lease, "PATCH", {"state": "draining", "reason": reason[:REASON_LENGTH]}))

    def weigh(self, lease: Answer, weight: int, reason: str) -> None:
        self._about(lease, "PATCH", {"weight": weight, "reason": reason[:REASON_LENGTH]})

    def leave(self, lease: Answer, reason: str) -> None:
        self._about(lease, "DELETE", {"reason": reason[:REASON_LENGTH]})

    def _about(self, lease: Answer, method: str, document: Mapping[str, Any] | None) -> bytes:
        headers = {"Authorization": f"Bearer {lease.secret}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        return _accepted(self.overlay(lease).ask(method, "/v1/lease", body, headers))


def _accepted(reply: Reply) -> bytes:
    if reply.status not in {200, 201}:
        raise RefusalError(reply)
    return reply.body


def _state(body: bytes) -> LeaseState:
    try:
        found = cast("dict[str, Any]", json.loads(body))
        port = found.get("port")
        return LeaseState(str(found["state"]), int(found["weight"]), None if port is None else int(port))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise joining.JoinError(f"the lease: {type(error).__name__}") from None
