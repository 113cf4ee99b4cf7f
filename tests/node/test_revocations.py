"""Who was revoked: kept on disk, told among gateways, and left out of everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node import files
from node.gateway.lease import Refusal
from node.gateway.revocations import Revocations
from node.joining import Request
from node.neighbour_document import Neighbour, Revocation, neighbour_body, parse_neighbour
from tests.node.gateways import SPOKE_KEYS, Trio, three_sites
from tests.node.support import Stack, key

STOLEN = Revocation("burst-i1", 1_800_000_000_000, (key("stolen"), key("its next")), "i-1", "ab" * 32, "stolen")
SPOKE = Revocation("a-1", 1_800_000_000_001, (SPOKE_KEYS["a"][1],))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revocations.json"


@pytest.fixture
def trio(tmp_path: Path, stack: Stack) -> Iterator[Trio]:
    made = Trio(tmp_path, stack)
    yield made
    made.close()


def kept(path: Path) -> Revocations:
    """The revocations after a restart."""
    found = Revocations(path)
    found.load()
    return found


def test_what_was_revoked_is_on_the_disk_for_root_alone(path: Path) -> None:
    revocations = kept(path)
    assert revocations.all == ()
    revocations.add(STOLEN)
    revocations.add(SPOKE)
    assert kept(path).all == (STOLEN, SPOKE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_read_is_loud(path: Path) -> None:
    kept(path).add(STOLEN)
    whole = path.read_text()
    for broken in (whole[:-5], whole.replace("stolen", "x", 1).replace('"keys"', '"key"'), "[]", "{}"):
        path.write_text(broken)
        with pytest.raises(files.StateError, match="revoked again"):
            kept(path)


STEPS = ("open", "fsync", "replace", "close")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("at", range(3))
def test_a_crash_at_any_step_leaves_the_old_or_the_new(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, at: int
) -> None:
    kept(path).add(STOLEN)
    revocations, count = kept(path), iter(range(100))
    where: Any = Path if step == "replace" else os
    real = getattr(where, step)

    def crashing(*args: Any, **named: Any) -> Any:
        if next(count) == at:
            raise KeyboardInterrupt
        return real(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, step, crashing)
        try:
            revocations.add(SPOKE)
            was_answered = True
        except KeyboardInterrupt:
            was_answered = False
    found = kept(path).all
    assert found == (STOLEN, SPOKE) or (not was_answered and found == (STOLEN,))
    again = kept(path)
    again.add(SPOKE)
    assert kept(path).all == (STOLEN, SPOKE)


def test_a_disk_that_does_not_take_it_lets_nobody_in_and_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    revocations = kept(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(OSError, match="No space"):
            revocations.add(STOLEN)
        revocations.merge([SPOKE])
    assert "No space left" in capsys.readouterr().err
    assert {*STOLEN.keys, *SPOKE.keys} == revocations.keys
    assert kept(path).all == ()
    revocations.save()
    assert kept(path).all == (STOLEN, SPOKE)


def test_gateways_have_the_same_whoever_told_what_first(tmp_path: Path) -> None:
    one, other = kept(tmp_path / "one.json"), kept(tmp_path / "other.json")
    again = replace(STOLEN, at=STOLEN.at + 5, keys=(key("third"),))
    one.add(STOLEN)
    other.add(SPOKE, again)
    one.merge(other.all)
    other.merge(one.all)
    version = other.version
    other.merge(one.all)
    assert one.all == other.all == (STOLEN, SPOKE, again)
    assert other.version == version, "what is known changes nothing"
    assert one.of_name("burst-i1") == again


def test_a_neighbour_tells_all_that_it_knows() -> None:
    told = (STOLEN, replace(STOLEN, at=STOLEN.at + 1, keys=(key("third"),)), SPOKE)
    assert parse_neighbour(neighbour_body(Neighbour("gw-a", "1", (), {}, {}, revocations=told))).revocations == told


@pytest.mark.parametrize(
    ("public_key", "instance", "says"),
    [(key("stolen"), "i-9", "public_key"), (key("its next"), "i-9", "public_key"), (key("new"), "i-1", "instance_id")],
)
def test_neither_its_keys_nor_its_instance_join_again(path: Path, public_key: str, instance: str, says: str) -> None:
    revocations = kept(path)
    revocations.add(STOLEN)
    with pytest.raises(Refusal, match=says) as refused:
        revocations.check(Request("burst", public_key, instance))
    assert refused.value.status == 403
    revocations.check(Request("burst", key("new"), "i-2"))


def test_every_gateway_leaves_a_declared_node_out_whatever_is_pushed(trio: Trio) -> None:
    a, b = trio.gateways["gw-a"], trio.gateways["gw-b"]
    public = SPOKE_KEYS["a"][1]
    assert public in a.peers()
    b.network.revocations.add(SPOKE)
    trio.exchange()
    trio.push(three_sites(number=2))
    for gateway in trio.gateways.values():
        assert public not in gateway.peers()
        assert "a-1" not in gateway.network.hanging_here()
        assert "a-1" not in [node.name for node in gateway.network.declared()]
    with pytest.raises(Refusal, match="revoked"):
        a.ask(trio.node("a-1"))
    fresh = replace(trio.node("a-1"), public_key=key("a-1 anew"))
    nodes = tuple(fresh if node.name == "a-1" else node for node in trio.roster.nodes)
    trio.push(three_sites(number=3, nodes=nodes))
    assert fresh.public_key in a.peers()
    assert a.ask(fresh).roster is not None


def test_a_restart_of_a_gateway_lets_nobody_back(trio: Trio) -> None:
    a = trio.gateways["gw-a"]
    lease = a.join(1)
    trio.exchange()
    a.network.revocations.add(SPOKE, replace(STOLEN, keys=(lease.public_key,)))
    a.network.leases.close()
    later = trio.gateways["gw-a"] = trio.made("a")
    later.network.reconcile()
    assert SPOKE_KEYS["a"][1] not in later.peers()
    assert lease.public_key not in later.peers()


def test_a_gateway_whose_revocations_were_moved_away_has_them_of_the_others_again(trio: Trio) -> None:
    trio.gateways["gw-b"].network.revocations.add(SPOKE)
    trio.exchange()
    a = trio.gateways["gw-a"]
    a.network.leases.close()
    (a.network.config.state / "revocations.json").unlink()
    later = trio.gateways["gw-a"] = trio.made("a")
    later.network.reconcile()
    assert SPOKE_KEYS["a"][1] not in later.peers(), "also while nobody answers"
    assert kept(a.network.config.state / "revocations.json").all == (SPOKE,)


def test_a_gateway_that_was_off_learns_it_when_it_is_back(trio: Trio) -> None:
    c = trio.gateways["gw-c"]
    lease = trio.gateways["gw-b"].join(1)
    trio.exchange()
    trio.gateways["gw-a"].network.revocations.add(
        replace(STOLEN, keys=(lease.public_key,)), replace(SPOKE, keys=(SPOKE_KEYS["c"][1],))
    )
    trio.exchange("gw-c")
    assert SPOKE_KEYS["c"][1] in c.peers()
    c.network.leases.close()
    c = trio.gateways["gw-c"] = trio.made("c")
    trio.exchange()
    assert SPOKE_KEYS["c"][1] not in c.peers()
    assert lease.public_key not in c.network.whole.members
    assert lease.public_key not in trio.gateways["gw-b"].peers()
