"""What a pool machine asks of its gateway: to join, how its lease is, and to let it go."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from node import joining
from node.config import Config, Membership
from node.control import ControlPlane, Reply
from node.joining import Answer, Request
from node.trust.trust import Trust
from overlay.model import is_wireguard_key

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


@dataclass(frozen=True)
class Home:
    """The gateway that a pool's machines join at: its control plane on the internet, and its WireGuard key."""

    host: str
    port: int
    public_key: str


class Client:
    """Asks the gateway ``home`` if another one sent this machine there, else first boot's.

    OSError when there is no answer, RefusalError for a no, JoinError for nonsense.
    """

    def __init__(self, config: Config, membership: Membership, trust: Trust) -> None:
        self.home: Home | None = None
        self._port = config.control[1]
        self._trust = trust
        self._token = (config.files / "token").read_text().strip()
        self._first = Home(str(config.control[0]), config.control[1], membership.gateway_public_key)

    @property
    def public(self) -> list[ControlPlane]:
        """The gateways to be asked on the internet, the best one first."""
        return [self._at(home) for home in self._homes()]

    def _homes(self) -> list[Home]:
        return [self._first] if self.home is None or self.home == self._first else [self.home, self._first]

    def _at(self, home: Home) -> ControlPlane:
        return ControlPlane(home.host, home.port, self._trust.tls, self._token)

    def overlay(self, lease: Answer) -> ControlPlane:
        """The same gateway, through the tunnel."""
        return ControlPlane(lease.control, self._port, self._trust.tls)

    def join(self, request: Request, private_key: str) -> Answer:
        """Join at the home, or at first boot's gateway when that does not answer, and go where that sends one."""
        *homes, last = self._homes()
        for home in homes:
            with contextlib.suppress(OSError):
                return self._join(home, request, private_key)
        return self._join(last, request, private_key)

    def _join(self, home: Home, request: Request, private_key: str) -> Answer:
        reply = self._asked(home, request, private_key)
        if reply.status == 421:
            # Once only: two gateways that send a machine to each other are asked again later.
            self.home = home = _sent_to(reply.body)
            reply = self._asked(home, request, private_key)
        return joining.parse_answer(_accepted(reply))

    def _asked(self, home: Home, request: Request, private_key: str) -> Reply:
        body = joining.request_body(request)
        headers = {
            "Content-Type": "application/json",
            joining.POSSESSION: joining.possession(private_key, home.public_key, body),
        }
        return self._at(home).ask("POST", "/v1/join", body, headers)

    def is_token_refused(self) -> bool:
        """Whether the gateway knows no such join token: for its release it asks for nothing else. OSError."""
        return self.public[0].ask("GET", "/v1/release", limit=0).status == 403

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


def _sent_to(body: bytes) -> Home:
    """The gateway that another one names with status 421; JoinError when it names none."""
    try:
        found = cast("dict[str, Any]", json.loads(body))["gateway"]
        url, public_key = urlsplit(str(found["url"])), str(found["public_key"])
        host, port = url.hostname, url.port
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise joining.JoinError(f"the gateway sends this machine to no place: {type(error).__name__}") from None
    if url.scheme != "https" or not host or not port or not is_wireguard_key(public_key):
        raise joining.JoinError("the gateway sends this machine to what is no https URL with a port and a key")
    return Home(host, port, public_key)


def _state(body: bytes) -> LeaseState:
    try:
        found = cast("dict[str, Any]", json.loads(body))
        port = found.get("port")
        return LeaseState(str(found["state"]), int(found["weight"]), None if port is None else int(port))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise joining.JoinError(f"the lease: {type(error).__name__}") from None
