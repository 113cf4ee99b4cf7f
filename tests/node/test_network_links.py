"""A machine's direct links in a mesh: whom it tries, what carries packets, and what it reports."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node.links import PERIOD_SECONDS, TRY_SECONDS
from node.network_words import Member
from overlay.model import LINK_KEEPALIVE
from tests.node.network_support import Machine, public, three_sites
from tests.node.support import Stack, key

A1 = {"10.100.1.1/32"}


@pytest.fixture
def machine(tmp_path: Path, stack: Stack) -> Machine:
    """``b-1`` in a mesh; it hangs on the gateway of its site, and ``a-1`` can be called."""
    made = Machine(tmp_path, stack, three_sites("mesh"))
    made.asker.turn()
    made.go(2, talking=["gw-b"])
    made.asker.turn()
    assert made.hangs_on() == "gw-b"
    made.wireguard.calls.clear()
    return made


def linked(machine: Machine) -> Machine:
    """Its link with ``a-1`` is active."""
    machine.go(2, talking=["gw-b", "a-1"])
    machine.gateways.links = frozenset({"a-1"})
    machine.asker.turn()
    assert machine.prefixes("a-1") == A1
    return machine


def reported(machine: Machine) -> tuple[str, ...]:
    machine.asker.turn()
    assert machine.gateways.report
    return machine.gateways.report.links


def test_a_link_is_tried_at_once_and_carries_nothing_before_both_ends_have_it(machine: Machine) -> None:
    assert machine.prefixes("a-1") == set()
    tried = machine.wireguard.state[public("a-1")]
    assert (tried.endpoint, tried.keepalive) == ("203.0.113.1:51820", LINK_KEEPALIVE)
    assert reported(machine) == ()
    changes = machine.changes
    machine.go(1, talking=["gw-b", "a-1"])
    assert machine.changes == changes + 1, "it is reported at once"
    assert reported(machine) == ("a-1",)
    assert machine.prefixes("a-1") == set(), "the other end does not have it yet"
    machine.gateways.links = frozenset({"a-1"})
    machine.asker.turn()
    assert machine.prefixes("a-1") == A1
    machine.go(60, talking=["gw-b", "a-1"])
    assert machine.prefixes("a-1") == A1
    assert machine.wireguard.gaps == []


def test_nobody_is_tried_whom_nobody_could_call(machine: Machine) -> None:
    machine.go(2 * PERIOD_SECONDS, talking=["gw-b"])
    tried = {change.public_key for call in machine.wireguard.calls for change in call}
    assert public("c-1") not in tried, "both are behind address translation"
    assert public("a-1") in tried
    machine.gateways.seen = {"c-1": "192.0.2.9:51820"}
    machine.asker.turn()
    machine.go(1)
    assert machine.wireguard.state[public("c-1")].endpoint == "192.0.2.9:51820"


def test_a_partner_that_does_not_answer_is_tried_again_and_again_but_not_always(machine: Machine) -> None:
    machine.go(TRY_SECONDS, talking=["gw-b"])
    there: list[bool] = []
    for _ in range(4 * PERIOD_SECONDS):
        machine.go(1, talking=["gw-b"])
        there.append(machine.prefixes("a-1") is not None)
    assert there.count(True) == 4 * TRY_SECONDS
    assert machine.hangs_on() == "gw-b"


def test_a_link_that_goes_silent_gives_its_packets_back_to_the_gateway_at_once(machine: Machine) -> None:
    linked(machine)
    machine.go(9, talking=["gw-b"])
    assert machine.prefixes("a-1") == A1
    machine.go(2, talking=["gw-b"])
    assert machine.prefixes("a-1") in (set(), None), "no gateway has to say so"
    assert reported(machine) == ()
    machine.go(PERIOD_SECONDS, talking=["gw-b", "a-1"])
    assert reported(machine) == ("a-1",)
    assert machine.prefixes("a-1") == A1


def test_a_link_that_the_other_end_lost_carries_nothing_though_it_looks_well_here(machine: Machine) -> None:
    linked(machine)
    machine.gateways.links = frozenset()
    machine.asker.turn()
    assert machine.prefixes("a-1") == set()
    assert reported(machine) == ("a-1",)


def test_a_new_agent_keeps_links_that_are_at_work(machine: Machine) -> None:
    linked(machine)
    machine.start()
    machine.go(20, talking=["gw-b", "a-1"])
    changed = {change.public_key for call in machine.wireguard.calls for change in call}
    assert not changed & {public("gw-b"), public("a-1")}


def test_after_a_boot_a_link_has_to_show_itself_first(machine: Machine) -> None:
    linked(machine)
    machine.boot()
    machine.go(1, talking=["gw-b"])
    assert (machine.hangs_on(), machine.prefixes("a-1")) == ("gw-b", set())
    machine.go(1, talking=["gw-b", "a-1"])
    assert machine.prefixes("a-1") == A1


def test_a_partner_that_moved_is_followed_and_remembered(machine: Machine) -> None:
    """c-1 cannot be called, and calls; WireGuard knows from where."""
    machine.gateways.seen = {"b-1": "192.0.2.2:51820"}
    machine.asker.turn()
    machine.go(1, talking=["gw-b"])
    assert machine.wireguard.state[public("c-1")].endpoint is None
    machine.wireguard.state[public("c-1")] = machine.wireguard.state[public("c-1")]._replace(endpoint="192.0.2.3:7")
    machine.wireguard.shake(public("c-1"), machine.time.wall)
    machine.go(40, talking=["gw-b", "c-1"])
    assert machine.wireguard.state[public("c-1")].endpoint == "192.0.2.3:7"
    machine.boot()
    machine.go(1, talking=["gw-b"])
    assert machine.wireguard.state[public("c-1")].endpoint == "192.0.2.3:7"


def test_machines_of_pools_are_partners_like_others(machine: Machine) -> None:
    member = Member("pool-1", "pool", "c", IPv4Address("10.100.3.200"), key("member"), "", lan=False)
    stray = Member("stray", "pool", "no-site", IPv4Address("10.100.9.1"), key("stray"), "", lan=False)
    machine.gateways.members = (member, stray)
    machine.gateways.seen = {"pool-1": "192.0.2.77:51820"}
    machine.asker.turn()
    machine.go(1, talking=["gw-b"])
    assert machine.wireguard.state[key("member")].endpoint == "192.0.2.77:51820"
    assert key("stray") not in machine.wireguard.state


def test_in_other_topologies_there_are_no_links(machine: Machine) -> None:
    linked(machine)
    machine.gateways.roster = three_sites("sites", 2)
    machine.asker.turn()
    machine.go(PERIOD_SECONDS, talking=["gw-b", "a-1"])
    assert set(machine.wireguard.state) == {public("gw-b")}
    assert reported(machine) == ()
    assert machine.wireguard.gaps == []
