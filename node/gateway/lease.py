"""A lease: one machine's place in a pool, and how a machine is told that it gets none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

State = Literal["active", "draining", "left"]
Kind = Literal[
    "malformed", "token", "possession", "proof", "revoked", "forbidden", "unknown", "conflict", "elsewhere",
    "too_often", "pool_full", "unavailable",
]  # fmt: skip
"""What a refusal is about, as it is counted: so few that each can be a time series."""
_KINDS: Mapping[int, Kind] = {
    400: "malformed", 403: "forbidden", 404: "unknown", 408: "malformed", 409: "conflict", 413: "malformed",
    421: "elsewhere", 429: "too_often", 503: "unavailable",
}  # fmt: skip
"""By HTTP status, where nothing more is said."""
FULL_WEIGHT = 100


class Refusal(Exception):  # noqa: N818  it is an answer, not a fault
    """Why a machine cannot have what it asks for: HTTP status, reason, and in how many seconds it may ask again."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None, *, kind: Kind | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.kind: Kind = kind or _KINDS.get(status, "malformed")


class Misdirected(Refusal):
    """The machines of this pool join at another gateway: its control plane's URL, and its WireGuard key."""

    def __init__(self, gateway: str, url: str, public_key: str) -> None:
        super().__init__(421, f"the machines of this pool join at {gateway}")
        self.url = url
        self.public_key = public_key


@dataclass(frozen=True)
class Lease:
    """One machine's place in a pool. ``joined`` is in seconds since 1970, ``weight`` from 1 to 100.

    ``left`` is a lease whose machine has said that it goes; it ends as soon as the answer is out.
    """

    id: str
    pool: str
    name: str
    address: IPv4Address
    public_key: str
    instance_id: str
    state: State
    weight: int
    joined: float


@dataclass(frozen=True)
class Joined:
    """The outcome of a join: the lease, whether it was made now, and those of the same machine that ended for it."""

    lease: Lease
    is_new: bool
    superseded: tuple[Lease, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a verified proof says: which machine it is. One that ``binds`` never expires, so its first key keeps it."""

    machine: str
    binds: bool
