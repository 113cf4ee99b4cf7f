"""The rules of leases, on a database of their own: addresses, names, time, the roster, and what survives."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from node.gateway.lease import Evidence, Lease, Refusal
from node.gateway.leases import Leases
from tests.node.ledgers import Pools, ticket_of
from tests.node.pools import pool, pool_roster
from tests.node.support import key


@pytest.fixture
def pools(tmp_path: Path) -> Iterator[Pools]:
    made = Pools(tmp_path)
    made.leases.follow(pool_roster())
    yield made
    made.leases.close()


def test_addresses_are_given_in_turn_and_as_late_as_possible_again(pools: Pools) -> None:
    first = [pools.join(number) for number in range(3)]
    assert [str(lease.address) for lease in first] == ["127.0.1.128", "127.0.1.129", "127.0.1.130"]
    pools.leases.end([first[0].id])
    pools.clock.now += 10_000
    assert str(pools.join(3).address) == "127.0.1.131", "the free one before it has had the shorter rest"
    pools.again()
    assert str(pools.join(4).address) == "127.0.1.132"


def test_an_address_rests_before_another_machine_gets_it(pools: Pools) -> None:
    pools.leases.follow(pool_roster(2, pools=(pool(addresses=IPv4Network("127.0.1.128/31"), limit=1),)))
    one = pools.join(1)
    pools.leases.end([one.id])
    two = pools.join(2)
    pools.leases.end([two.id])
    pools.clock.now += 599
    with pytest.raises(Refusal, match="taken or rests"):
        pools.join(3)
    assert pools.leases.resting(pool()) == 2
    pools.clock.now += 1
    assert pools.join(3).address == one.address
    assert pools.leases.resting(pool()) == 0


def test_a_machine_gets_its_own_address_back_while_it_rests(pools: Pools) -> None:
    one = pools.join(1)
    pools.leases.end([one.id])
    pools.again()
    back = pools.join(1)
    assert (back.address, back.name) == (one.address, one.name)
    assert back.id != one.id, "an old lease's secret opens nothing"


def test_silent_and_draining_machines_do_not_count_against_the_limit(pools: Pools) -> None:
    members = [pools.join(number) for number in range(8)]
    with pytest.raises(Refusal, match="full"):
        pools.join(8)
    pools.silent.add(members[0].address)
    pools.join(8)
    with pytest.raises(Refusal, match="full"):
        pools.join(9)
    pools.leases.change(members[1].id, "draining", None)
    pools.join(9)
    assert len(pools.leases.live()) == 10


def test_names_that_end_alike_are_told_apart(pools: Pools) -> None:
    ids = ("i-1111222233334444", "i-5555222233334444", "i_5555222233334444")
    names = [pools.join(number, instance_id=ident).name for number, ident in enumerate(ids)]
    assert names == ["burst-33334444", "burst-233334444", "burst-2233334444"]


def test_a_drained_machine_does_not_work_again_and_one_that_left_stays_so(pools: Pools) -> None:
    lease = pools.join(1)
    assert pools.leases.change(lease.id, "draining", 10)
    changed = pools.leases.change(lease.id, "active", None)
    assert changed
    assert (changed.state, changed.weight) == ("draining", 10)
    assert pools.leases.change(lease.id, "left", None)
    assert pools.leases.change(lease.id, "draining", 50) is None
    pools.again()
    assert [each.state for each in pools.leases.live()] == ["left"]
    again = pools.join(1)
    assert (again.state, again.address) == ("active", lease.address), "who left may come again at once"
    assert len(pools.leases.live()) == 1


def test_a_ticket_gives_everything_again_after_the_disk_is_lost(pools: Pools) -> None:
    before = [pools.join(number) for number in range(3)]
    pools.lose_the_disk()
    pools.again(roster_number=7)
    with pytest.raises(Refusal, match="lost its disk") as caught:
        pools.join(9)
    assert caught.value.status == 503
    assert caught.value.retry_after == 61
    back = [pools.join(number, ticket_of(before[number])) for number in (2, 0, 1)]
    told = [(lease.id, lease.address, lease.name, lease.public_key) for lease in back]
    assert told == [(each.id, each.address, each.name, each.public_key) for each in (before[2], before[0], before[1])]
    pools.again(roster_number=7)
    with pytest.raises(Refusal, match="lost its disk"):
        pools.join(9)
    pools.clock.now += 61
    assert pools.join(9).address not in {lease.address for lease in before}


def test_a_ticket_whose_address_is_taken_gets_another(pools: Pools) -> None:
    before = pools.join(1)
    pools.lose_the_disk()
    pools.again(roster_number=1)
    other = pools.join(2)
    assert other.address == before.address, "a new network holds nobody back"
    back = pools.join(1, ticket_of(before))
    assert back.address != before.address
    assert back.id == before.id
    outside = replace(ticket_of(before), lease="0" * 32, address="127.0.2.200", public_key=key("m3"))
    assert pools.join(3, outside).address in IPv4Network("127.0.1.128/25")


def test_a_ticket_of_a_lease_that_ended_makes_a_new_one(pools: Pools) -> None:
    old = pools.join(1)
    pools.leases.end([old.id])
    new = pools.join(1, ticket_of(old))
    assert new.id != old.id
    assert new.address == old.address


def test_a_new_network_and_one_that_had_no_pools_hold_nobody_back(tmp_path: Path) -> None:
    made = Pools(tmp_path)
    made.leases.follow(pool_roster(5, pools=()))
    made.leases.follow(pool_roster(6))
    made.join(1)
    made.leases.close()


def test_a_binding_is_for_ever(pools: Pools) -> None:
    document = Evidence("aws:1:eu:i-1", binds=True)
    request = pools.request(1)
    lease = pools.leases.join(request, None, document, pools.is_working).lease
    pools.leases.end([lease.id])
    pools.clock.now += 86400 * 30
    pools.leases.prune()
    pools.again()
    with pytest.raises(Refusal, match="used with another key"):
        pools.leases.join(pools.request(2, instance_id=request.instance_id), None, document, pools.is_working)
    pools.leases.join(request, None, document, pools.is_working)


def test_what_the_roster_no_longer_has_room_for_ends(pools: Pools) -> None:
    kept, moved, revoked, declared = (pools.join(number) for number in range(4))
    assert pools.leases.change(moved.id, None, 50)
    elsewhere = pools.leases.join(pools.request(9, pool="other"), None, None, pools.is_working).lease
    narrow = pool(addresses=IPv4Network("127.0.1.128/26"))
    wide = pools.join(5, address=IPv4Address("127.0.1.240"))
    made = pool_roster(2, pools=(narrow,), revoked_keys=(revoked.public_key,))
    nodes = tuple(
        replace(node, public_key=declared.public_key) if node.name == "spoke-1" else node for node in made.nodes
    )
    ended = dict(pools.leases.follow(replace(made, nodes=nodes)))
    assert {lease.name: reason for lease, reason in ended.items()} == {
        revoked.name: "key revoked",
        declared.name: "a declared node has its key, address or name",
        elsewhere.name: "pool removed",
        wide.name: "the pool has another range",
    }
    assert {lease.name for lease in pools.leases.live()} == {kept.name, moved.name}
    assert pools.on_disk() == pools.in_memory()
    assert pools.join(5).address in narrow.addresses


def test_ended_leases_are_forgotten_after_a_day(pools: Pools) -> None:
    old = pools.join(1)
    pools.leases.end([old.id])
    pools.clock.now += 86399
    pools.leases.prune()
    assert pools.join(1, ticket_of(old)).id != old.id
    pools.leases.end([pools.join(1).id])
    pools.clock.now += 86401
    pools.leases.prune()
    with sqlite3.connect(pools.path) as db:
        assert db.execute("SELECT count(*) FROM leases").fetchone() == (0,)
    db.close()
    pools.leases.follow(pool_roster(2, pools=(pool(rest=86400 * 7),)))
    pools.leases.end([pools.join(2).id])
    pools.clock.now += 86401
    pools.leases.prune()
    assert pools.leases.resting(pool(rest=86400 * 7)) == 1, "it rests still"


def test_threads_that_join_at_once_share_nothing(pools: Pools) -> None:
    pools.leases.follow(pool_roster(2, pools=(pool(limit=120),)))
    refusals: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 15):
                pools.join(number)
        except BaseException as error:
            refusals.append(error)

    threads = [threading.Thread(target=work, args=(15 * index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals == []
    live = pools.leases.live()
    assert len(live) == len({lease.address for lease in live}) == len({lease.name for lease in live}) == 120
    assert pools.on_disk() == pools.in_memory()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_no_address_is_shared_and_none_is_given_too_soon(tmp_path: Path, seed: int) -> None:
    """A random history of joins, leaves, silence, time, restarts and rosters, checked against the rules after each."""
    chance, pools = random.Random(seed), Pools(tmp_path)
    small = pool(addresses=IPv4Network("127.0.1.128/28"), limit=8, rest=100)
    roster = pool_roster(1, pools=(small,))
    pools.leases.follow(roster)
    ended: dict[IPv4Address, tuple[float, str]] = {}
    statuses: set[int] = set()

    def note(gone: list[Lease]) -> None:
        ended.update({lease.address: (pools.clock.now, lease.public_key) for lease in gone})

    for _ in range(150):
        before = {lease.id: lease for lease in pools.leases.live()}
        match chance.randrange(6):
            case 0 | 1 | 2:
                number = chance.randrange(24)
                with_ticket = next((each for each in before.values() if each.public_key == key(f"m{number}")), None)
                try:
                    lease = pools.join(number, ticket_of(with_ticket) if with_ticket else None)
                except Refusal as refusal:
                    statuses.add(refusal.status)
                    continue
                left = [each for each in before.values() if pools.leases.of_key(each.public_key) is None]
                note(left)
                if lease.id not in before:
                    since, owner = ended.get(lease.address, (float("-inf"), ""))
                    assert owner == lease.public_key or pools.clock.now - since >= 100
            case 3:
                for lease in chance.sample(list(before.values()), min(2, len(before))):
                    state = chance.choice(("draining", "left"))
                    pools.leases.change(lease.id, "draining" if state == "draining" else "left", None)
            case 4:
                gone = pools.leases.end(chance.sample(list(before), min(3, len(before))))
                note(gone)
                pools.clock.now += chance.choice((1, 50, 120))
            case _:
                pools.leases.close()
                pools.leases = Leases(pools.path, pools.clock)
                pools.leases.open()
                pools.leases.follow(roster)
        live = pools.leases.live()
        assert len({lease.address for lease in live}) == len(live) == len({lease.name for lease in live})
        assert sum(map(pools.is_working, live)) <= small.limit
        assert all(lease.address in small.addresses for lease in live)
        assert pools.on_disk() == pools.in_memory()
    assert statuses <= {503}
    pools.leases.close()
