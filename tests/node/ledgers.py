"""Leases without a gateway around them, and with a clock that goes when it is told to."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from node.gateway.lease import Lease
from node.gateway.leases import Leases
from node.gateway.tickets import Ticket
from node.joining import Request
from tests.node.pools import pool_roster
from tests.node.support import key


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Pools:
    """Leases in a folder under a clock, as a gateway has them; ``again`` is its restart."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "leases.db"
        self.clock = Clock()
        self.silent: set[IPv4Address] = set()
        self.leases = Leases(self.path, self.clock)
        self.leases.open()

    def again(self, roster_number: int = 2) -> None:
        self.leases.close()
        self.leases = Leases(self.path, self.clock)
        self.leases.open()
        self.leases.follow(pool_roster(roster_number))

    def lose_the_disk(self) -> None:
        self.leases.close()
        for path in self.path.parent.glob("leases.db*"):
            path.unlink()

    def request(self, number: int, **changes: object) -> Request:
        made = Request("burst", key(f"m{number}"), f"i-{number:017x}")
        return replace(made, **changes)  # type: ignore[arg-type]

    def join(self, number: int, ticket: Ticket | None = None, **changes: object) -> Lease:
        return self.leases.join(self.request(number, **changes), ticket, None, self.is_working).lease

    def is_working(self, lease: Lease) -> bool:
        return lease.state == "active" and lease.address not in self.silent

    def on_disk(self) -> list[tuple[str, int, str]]:
        db = sqlite3.connect(self.path)
        try:
            found = db.execute("SELECT id, address, public_key FROM leases WHERE ended IS NULL ORDER BY id").fetchall()
        finally:
            db.close()
        return [(str(ident), int(address), str(public)) for ident, address, public in found]

    def in_memory(self) -> list[tuple[str, int, str]]:
        return sorted((lease.id, int(lease.address), lease.public_key) for lease in self.leases.live())


def ticket_of(lease: Lease) -> Ticket:
    return Ticket(lease.id, lease.pool, lease.public_key, lease.instance_id, str(lease.address), lease.name)
