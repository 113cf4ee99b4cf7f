"""How leases are kept: the database, what is wrong with one, and the tickets that outlive it."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.files import StateError
from node.gateway.leases import Leases
from node.gateway.tickets import Seal, Ticket, load_seal
from tests.node.ledgers import Pools
from tests.node.pools import SEAL_KEY, pool_roster
from tests.node.support import key


@pytest.fixture
def pools(tmp_path: Path) -> Iterator[Pools]:
    made = Pools(tmp_path)
    made.leases.follow(pool_roster())
    yield made
    made.leases.close()


def test_the_database_itself_takes_no_second_live_lease_of_one_address_key_name_or_instance(pools: Pools) -> None:
    lease = pools.join(1)
    db = sqlite3.connect(pools.path)
    columns = ["pool", "name", "address", "public_key", "instance_id"]
    for same in columns[1:]:
        values = {"pool": "burst", "name": "n", "address": 1, "public_key": "k", "instance_id": "i"}
        values[same] = int(lease.address) if same == "address" else getattr(lease, same)
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(
                "INSERT INTO leases VALUES ('x', :pool, :name, :address, :public_key, :instance_id,"
                " 'active', 1, 0, NULL)",
                values,
            )
    db.close()


def test_the_database_is_for_root_alone(pools: Pools) -> None:
    pools.join(1)
    assert {stat.S_IMODE(path.stat().st_mode) for path in pools.path.parent.glob("leases.db*")} == {0o600}


@pytest.mark.parametrize("damage", ["text", "zeros in the middle", "newer"])
def test_a_database_that_cannot_be_used_is_refused_with_the_way_out(pools: Pools, damage: str) -> None:
    for number in range(8):
        pools.join(number)
    pools.leases.close()
    if damage == "newer":
        with sqlite3.connect(pools.path) as db:
            db.execute("PRAGMA user_version = 9")
        db.close()
    else:
        size = pools.path.stat().st_size
        with pools.path.open("r+b") as file:
            file.seek(0 if damage == "text" else 4096)
            file.write(b"{}" * 2048 if damage == "text" else bytes(size - 4096))
    content = pools.path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(StateError, match=r"leases\.db cannot be used .*systemctl restart hybridnet"):
            Leases(pools.path, pools.clock).open(read_only=read_only)
    assert pools.path.read_bytes() == content, "the evidence is gone"


def test_looking_makes_and_changes_nothing(tmp_path: Path) -> None:
    Leases(tmp_path / "leases.db").open(read_only=True)
    assert list(tmp_path.iterdir()) == []
    made = Pools(tmp_path)
    made.leases.follow(pool_roster())
    made.join(1)
    looking = Leases(made.path)
    looking.open(read_only=True)
    assert len(looking.live()) == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        looking.end([lease.id for lease in looking.live()])
    looking.close()
    made.leases.close()


def test_what_the_disk_does_not_take_is_not_in_memory_either(pools: Pools) -> None:
    first = pools.join(1)
    db = sqlite3.connect(pools.path)
    db.execute("CREATE TRIGGER full BEFORE INSERT ON leases BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    db.commit()
    db.close()
    with pytest.raises(sqlite3.Error, match="disk full"):
        pools.join(2)
    assert pools.leases.live() == [first]
    assert pools.on_disk() == pools.in_memory()


def test_a_ticket_is_opened_by_its_seal_only_and_as_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    assert load_seal(path) is None
    path.write_text(SEAL_KEY + "\n")
    seal = load_seal(path)
    assert seal
    ticket = Ticket("0" * 32, "burst", key("a"), "i-1", "127.0.1.128", "burst-1")
    text = seal.seal(ticket)
    assert seal.open(text) == ticket
    assert seal.seal(ticket) == text
    assert Seal(bytes(32)).open(text) is None
    for wrong in (
        "",
        "AAAA",
        "%",
        text[:-8],
        "A" + text[1:],
        text[:40] + ("B" if text[40] != "B" else "C") + text[41:],
    ):
        assert seal.open(wrong) is None
    assert seal.secret("1", key("a")) != seal.secret("2", key("a")) != seal.secret("2", key("b"))
    for unusable in ("", "AAAA", "%%%", "\x00"):
        path.write_text(unusable)
        assert load_seal(path) is None
