"""When a key has served its time: between day 75 and 85, so that not all of a network change theirs at once."""

from __future__ import annotations

import hashlib

FIRST_DAY = 75
LAST_DAY = 85
_DAY = 24 * 60 * 60 * 1000
_STEPS = 1 << 32


def due_at(identity: str, made: int) -> int:
    """When the key that the node of that enrolment key has since ``made`` is to be changed; both in ms since 1970."""
    part = int.from_bytes(hashlib.sha256(f"{identity} {made}".encode()).digest()[:4], "big")
    return made + FIRST_DAY * _DAY + part * (LAST_DAY - FIRST_DAY) * _DAY // _STEPS


def is_due(identity: str, made: int, now: int) -> bool:
    """Whether the key is to be changed ``now``: one of tomorrow or later, too, since nobody knows how old that is."""
    return now >= due_at(identity, made) or made > now + _DAY
