"""The leases' database: one SQLite file, where a lease is kept for good before anybody is told of it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path

from node.files import StateError

SCHEMA_VERSION = 1
"""``PRAGMA user_version`` of a database that this code made or migrated; 0 is an empty one."""
REMEDY = (
    "The peers stay as they are until the interface goes down. Move leases.db, leases.db-wal and leases.db-shm away "
    "and `systemctl restart hybridnet`: the pools' machines join again within a minute, with the addresses they had."
)
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE leases (id TEXT PRIMARY KEY, pool TEXT NOT NULL, name TEXT NOT NULL, address INTEGER NOT NULL,
        public_key TEXT NOT NULL, instance_id TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('active', 'draining', 'left')),
        weight INTEGER NOT NULL, joined REAL NOT NULL, ended REAL) WITHOUT ROWID""",
        # What may be only once among the live leases, whatever the code above this file does.
        "CREATE UNIQUE INDEX live_address ON leases (address) WHERE ended IS NULL",
        "CREATE UNIQUE INDEX live_key ON leases (public_key) WHERE ended IS NULL",
        "CREATE UNIQUE INDEX live_name ON leases (name) WHERE ended IS NULL",
        "CREATE UNIQUE INDEX live_instance ON leases (pool, instance_id) WHERE ended IS NULL",
        "CREATE TABLE bindings (identity TEXT PRIMARY KEY, public_key TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE cursors (pool TEXT PRIMARY KEY, address INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE moments (name TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID",
    ),
)
"""Each brings a database of the version that is its index to the next one."""


def _checked(path: Path, db: sqlite3.Connection) -> int:
    """The version of a sound database; StateError for another."""
    found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise StateError(path, " ".join("; ".join(found).split()), REMEDY)
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        why = f"version {version} is a newer release's, and this one knows {SCHEMA_VERSION}"
        raise StateError(path, why, "Push the newer release again with `pulumi up`. " + REMEDY)
    return version


def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
    """The database in ``path``, made or migrated when needed, and whether it was made now; StateError."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with _opening(path, "rwc") as db:
        # WAL and a sync at every commit: what was answered survives a power cut, and reading waits for nobody.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        version = _checked(path, db)
        with transaction(db):
            for statements in _MIGRATIONS[version:]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return db, version == 0


def open_read_only(path: Path) -> sqlite3.Connection | None:
    """The database as it is, or None when there is none yet; StateError when it cannot be used."""
    if not path.exists():
        return None
    with _opening(path, "ro") as db:
        if _checked(path, db):
            return db
    db.close()
    return None


@contextlib.contextmanager
def _opening(path: Path, mode: str) -> Generator[sqlite3.Connection]:
    """A connection that stays open unless something fails; what SQLite finds wrong is a StateError."""
    with contextlib.ExitStack() as stack:
        try:
            where = f"{path.absolute().as_uri()}?mode={mode}"
            db = sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False)
            stack.callback(db.close)
            yield db
        except sqlite3.Error as error:
            raise StateError(path, str(error), REMEDY) from error
        stack.pop_all()


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """Everything inside is kept for good, or nothing of it; sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
