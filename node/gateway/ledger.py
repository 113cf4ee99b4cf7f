"""The leases on disk and their mirror in memory: what is answered is on disk before, and read from memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from node.files import StateError
from node.gateway.database import REMEDY, open_database, open_read_only, transaction
from node.gateway.lease import Evidence, Lease

_COLUMNS = "id, pool, name, address, public_key, instance_id, state, weight, joined"
_HOLD = "hold_until"


@dataclass(frozen=True)
class Rest:
    """An address whose lease ended at ``ended`` (seconds since 1970); it was ``public_key``'s."""

    pool: str
    public_key: str
    ended: float


def _lease(row: Sequence[object]) -> Lease:
    ident, pool, name, address, key, instance, state, weight, joined = map(str, row)
    made = Lease(ident, pool, name, IPv4Address(int(address)), key, instance, "active", int(weight), float(joined))
    return made if state == "active" else replace(made, state="draining" if state == "draining" else "left")


class Ledger:
    """The leases in the database ``path``. Whoever changes it holds a lock; sqlite3.Error has changed nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self.was_made = False
        """Whether the database was made at this start: there was none, or its disk is lost."""
        self.by_key: dict[str, Lease] = {}
        self.by_address: dict[IPv4Address, Lease] = {}
        self.by_name: dict[str, Lease] = {}
        self.by_instance: dict[tuple[str, str], Lease] = {}
        self.by_pool: dict[str, dict[str, Lease]] = {}
        self.rests: dict[IPv4Address, Rest] = {}
        self.last: dict[str, tuple[IPv4Address, Rest]] = {}
        """Public key -> the address of its last lease that has ended, and since when it rests."""
        self.cursors: dict[str, IPv4Address] = {}
        """Pool -> the address that was given last."""
        self.hold_until = 0.0
        self.changed: set[str] = set()
        """The public keys whose leases came, went or changed since somebody emptied this."""
        self.version = 0
        """Another one after each change."""
        self.on_change: Callable[[], None] | None = None
        """Called after each change, in the thread that made it."""

    def open(self, *, read_only: bool) -> None:
        """Read the database; StateError. ``read_only`` neither makes nor migrates nor changes it."""
        if read_only:
            self._db = open_read_only(self._path)
        else:
            self._db, self.was_made = open_database(self._path)
        if self._db is None:
            return
        try:
            self._read(self._db)
        except (sqlite3.Error, ValueError) as error:
            raise StateError(self._path, str(error), REMEDY) from error

    def close(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    @property
    def db(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("the database is closed")
        return self._db

    def _read(self, db: sqlite3.Connection) -> None:
        for row in db.execute(
            "SELECT pool, public_key, address, ended FROM leases WHERE ended IS NOT NULL ORDER BY ended"
        ):
            pool, key, address, ended = map(str, row)
            self._note_end(pool, key, IPv4Address(int(address)), float(ended))
        for row in db.execute(f"SELECT {_COLUMNS} FROM leases WHERE ended IS NULL ORDER BY joined"):
            self._put(_lease(row))
        for pool, address in db.execute("SELECT pool, address FROM cursors"):
            self.cursors[str(pool)] = IPv4Address(int(address))
        for (moment,) in db.execute("SELECT time FROM moments WHERE name = ?", (_HOLD,)):
            self.hold_until = float(moment)

    # Asking.

    def is_known(self, ident: str) -> bool:
        """Whether a lease of this id was ever seen here, within the last day at least."""
        return self.db.execute("SELECT 1 FROM leases WHERE id = ?", (ident,)).fetchone() is not None

    def last_of(self, name: str) -> Lease | None:
        """The last lease of a name, ended or not, as far as it is remembered."""
        asked = f"SELECT {_COLUMNS} FROM leases WHERE name = ? ORDER BY joined DESC LIMIT 1"
        found = self.db.execute(asked, (name,)).fetchone()
        return _lease(found) if found else None

    def bound_key(self, machine: str) -> str | None:
        """The public key that the machine's document was first used with."""
        found = self.db.execute("SELECT public_key FROM bindings WHERE identity = ?", (machine,)).fetchone()
        return str(found[0]) if found else None

    # Changing: on disk first, then in memory.

    def keep(
        self, lease: Lease, gone: Sequence[Lease], evidence: Evidence | None, now: float, *, moves_cursor: bool
    ) -> None:
        """Begin ``lease`` and end ``gone`` in one step."""
        with transaction(self.db):
            self._mark_ended(gone, now)
            address = int(lease.address)
            row = (lease.id, lease.pool, lease.name, address, lease.public_key, lease.instance_id)
            self.db.execute(
                f"INSERT INTO leases ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, lease.state, lease.weight, lease.joined),
            )
            if moves_cursor:
                self.db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (lease.pool, address))
            if evidence and evidence.binds:
                row = (evidence.machine, lease.public_key)
                self.db.execute("INSERT OR IGNORE INTO bindings VALUES (?, ?)", row)
        for each in gone:
            self._drop(each, now)
        if moves_cursor:
            self.cursors[lease.pool] = lease.address
        self._put(lease)

    def end(self, leases: Sequence[Lease], now: float) -> None:
        """End leases, all in one step."""
        if not leases:
            return
        with transaction(self.db):
            self._mark_ended(leases, now)
        for each in leases:
            self._drop(each, now)

    def change(self, lease: Lease) -> None:
        """Give the live lease of this id the state and the weight of ``lease``."""
        with transaction(self.db):
            row = (lease.state, lease.weight, lease.id)
            self.db.execute("UPDATE leases SET state = ?, weight = ? WHERE id = ? AND ended IS NULL", row)
        self._put(lease)

    def hold(self, until: float) -> None:
        """Remember until when only machines with a ticket are let in."""
        with transaction(self.db):
            self.db.execute("INSERT OR REPLACE INTO moments VALUES (?, ?)", (_HOLD, until))
        self.hold_until = until

    def prune(self, pool: str, before: float) -> None:
        """Forget the leases of ``pool`` that ended before that."""
        with transaction(self.db):
            self.db.execute("DELETE FROM leases WHERE pool = ? AND ended < ?", (pool, before))
        for address in [a for a, rest in self.rests.items() if rest.pool == pool and rest.ended < before]:
            del self.rests[address]
        for key in [k for k, (_, rest) in self.last.items() if rest.pool == pool and rest.ended < before]:
            del self.last[key]

    def ended_pools(self) -> list[str]:
        """The pools that ended leases are remembered of."""
        return [str(pool) for (pool,) in self.db.execute("SELECT DISTINCT pool FROM leases WHERE ended IS NOT NULL")]

    def _mark_ended(self, leases: Iterable[Lease], now: float) -> None:
        self.db.executemany("UPDATE leases SET ended = ? WHERE id = ?", [(now, each.id) for each in leases])

    def _put(self, lease: Lease) -> None:
        self.by_key[lease.public_key] = lease
        self.by_address[lease.address] = lease
        self.by_name[lease.name] = lease
        self.by_instance[lease.pool, lease.instance_id] = lease
        self.by_pool.setdefault(lease.pool, {})[lease.id] = lease
        self.rests.pop(lease.address, None)
        self._note_change(lease)

    def _drop(self, lease: Lease, now: float) -> None:
        del self.by_key[lease.public_key], self.by_address[lease.address], self.by_name[lease.name]
        del self.by_instance[lease.pool, lease.instance_id], self.by_pool[lease.pool][lease.id]
        self._note_end(lease.pool, lease.public_key, lease.address, now)
        self._note_change(lease)

    def _note_change(self, lease: Lease) -> None:
        self.changed.add(lease.public_key)
        self.version += 1
        if self.on_change:
            self.on_change()

    def _note_end(self, pool: str, public_key: str, address: IPv4Address, ended: float) -> None:
        rest = Rest(pool, public_key, ended)
        self.rests[address] = rest
        self.last[public_key] = (address, rest)
