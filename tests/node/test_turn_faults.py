"""Clocks, disks, nodes and rosters are not as they should be while keys change."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from node.gateway.lease import Refusal
from node.gateway.rotation import Rotation
from node.network_document import Request, parse_document, request_body
from node.network_words import NO_KEYS, Keys, Report
from tests.node.keyed_tests import Made, ask, change, declared, keys, nothing_lost, world
from tests.node.keyed_world import GatewayBox, SpokeBox, World, follow_roster
from tests.node.support import key

__all__ = ["world"]


def gateway(there: World, name: str) -> GatewayBox:
    found = there.boxes[name]
    assert isinstance(found, GatewayBox)
    return found


def spoke(there: World, name: str) -> SpokeBox:
    found = there.boxes[name]
    assert isinstance(found, SpokeBox)
    return found


def told(there: World, name: str) -> list[str]:
    """Which rotations a gateway's log tells of."""
    log = (there.boxes[name].state / "audit.jsonl").read_text().splitlines()
    return [line for line in log if '"rotate"' in line]


def report(there: World, name: str, **changes: object) -> None:
    """A node says something of itself to its gateway, whatever its agent does."""
    home = gateway(there, there.gateway_of(there.roster.node(name)).name)
    newest = home.network.reports.of(name)
    assert newest
    said: Report = replace(newest, **{"stamp": newest.stamp + 1, **changes})  # type: ignore[arg-type]
    address = str(there.roster.node(name).address)
    there.time.go(10)
    asyncio.run(home.directory.ask(address, None, request_body(Request(name, None, said)), by_tunnel=True))


def heard_of(there: World) -> World:
    """The same, when every gateway has heard of everybody."""
    while any(len(each.network.reports.all()) < len(there.spokes()) for each in there.gateways()):
        there.step()
    return there


@pytest.mark.parametrize("phase", ["out", "back"])
def test_a_node_that_dies_while_its_key_changes_keeps_no_gateway_from_its_own(world: Made, phase: str) -> None:
    there = world()
    home, dead = gateway(there, "gw-a"), spoke(there, "a-1")
    ask(there, "a-1")
    while dead.own.is_back != (phase == "back") or not home.tunnels.book.turning():
        there.step()
    dead.is_up = False
    there.step()
    there.time.go(3600)
    there.step()
    there.step()
    assert not home.rotation.is_on, "or it looks at everything five times a second for ever"
    before = keys(there)["gw-a"]
    ask(there, "gw-a")
    for _ in range(60):
        there.step()
    assert keys(there)["gw-a"] != before
    dead.is_up = True
    dead.boot()
    there.settles(900)


@pytest.mark.parametrize("skew", [-3600, 3600, 86400 * 20_000])
def test_a_key_changes_once_each_time_that_is_asked_for_whatever_the_nodes_clock_says(world: Made, skew: float) -> None:
    there = world()
    spoke(there, "a-1").skew = skew
    for _ in range(2):
        change(there, "a-1")
    now = keys(there)["a-1"]
    for _ in range(100):
        there.step()
    assert keys(there)["a-1"] == now


def test_a_gateways_key_changes_when_asked_for_though_its_clock_was_set_back(world: Made) -> None:
    there = world()
    gateway(there, "gw-a").skew = 86400 * 400
    change(there, "gw-a")
    gateway(there, "gw-a").skew = 0
    change(there, "gw-a")


def test_the_machines_own_request_is_met_once(world: Made) -> None:
    there = heard_of(world())
    mine, before = spoke(there, "a-1"), keys(there)["a-1"]
    (mine.state / "rotate").touch()
    for _ in range(80):
        there.step()
    now = keys(there)["a-1"]
    assert now != before
    for _ in range(80):
        there.step()
    assert keys(there)["a-1"] == now


def test_a_key_that_cannot_be_written_keeps_nobody_from_reporting(world: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    there = heard_of(world())
    mine = spoke(there, "a-1")

    def full() -> None:
        raise OSError(28, "No space left on device")

    ask(there, "a-1")
    mine.start()
    monkeypatch.setattr(mine.own, "begin", full)
    there.time.go(10)
    home, body = gateway(there, "gw-a"), request_body(Request("a-1"))
    answer = asyncio.run(home.directory.ask(str(mine.node.address), None, body, by_tunnel=True))
    mine.turn.hear(parse_document(answer))
    mine.tick()
    request = mine.agent.request()
    assert request
    assert request.report
    monkeypatch.undo()
    before = keys(there)["a-1"]
    for _ in range(80):
        there.step()
    assert keys(there)["a-1"] != before


@pytest.mark.parametrize("whose", ["b-1", "gw-b", "gw-a"])
def test_no_node_takes_the_key_that_another_has_rotated_to(world: Made, whose: str) -> None:
    there = heard_of(world())
    change(there, whose)
    right = dict(gateway(there, "gw-a").rotation.keys)
    stolen = keys(there)[whose]
    for claim in (Keys(stolen), Keys(None, stolen)):
        report(there, "a-1", keys=claim, identity=there.roster.node("a-1").public_key)
        gateway(there, "gw-a").tick()
        assert gateway(there, "gw-a").rotation.keys == right
    there.settles()


def test_who_claims_anothers_key_to_another_gateway_takes_it_from_nobody(world: Made) -> None:
    there = heard_of(world())
    change(there, "b-1")
    home = gateway(there, "gw-b")
    newest = home.network.reports.of("a-1")
    assert newest
    mine = there.roster.node("a-1").public_key
    claim = replace(newest, stamp=newest.stamp + 1, keys=Keys(keys(there)["b-1"]), identity=mine)
    home.network.take_reports([claim])
    home.tick()
    assert home.rotation.keys.keys() == {"b-1"}


def test_with_another_enrolment_key_the_rotated_one_is_worth_nothing(world: Made) -> None:
    there = heard_of(world())
    change(there, "a-1")
    stolen, old = keys(there)["a-1"], there.roster
    anew = replace(old.node("a-1"), public_key=key("anew"))
    roster = replace(old, number=2, nodes=tuple(anew if node.name == "a-1" else node for node in old.nodes))
    home = gateway(there, "gw-a")
    assert stolen in home.first.state
    there.push(roster)
    follow_roster(home)
    assert stolen not in home.first.state
    assert anew.public_key in home.first.state
    home.close()
    home.start()
    home.tick()
    assert stolen not in home.first.state
    assert anew.public_key in home.first.state


def test_a_newer_release_in_the_middle_of_a_gateways_change_waits_for_everybody_still(world: Made) -> None:
    there = heard_of(world())
    home, before = gateway(there, "gw-a"), keys(there)["gw-a"]
    nothing_lost(there)
    there.boxes["a-1"].second.refuses = True
    ask(there, "gw-a")
    while not home.own.is_turning:
        there.step()
    home.close()
    home.start()
    for _ in range(100):
        there.step()
    assert not home.own.is_back
    there.boxes["a-1"].second.refuses = False
    for _ in range(100):
        there.step()
    assert keys(there)["gw-a"] != before
    there.settles()


@pytest.mark.parametrize("who", ["b-1", "gw-b", "gw-a"])
def test_with_another_topology_in_the_middle_everybody_gets_over_and_ends_on_one_key(world: Made, who: str) -> None:
    there = world()
    ask(there, who)
    changing = there.boxes[who]
    while not changing.own.is_turning:
        there.step()
    there.push(declared("hub", 2))
    there.settles(900)
    change(there, "b-1", "gw-a")


def test_where_it_never_works_a_machine_tries_by_itself_ever_more_seldom_and_at_once_when_asked(world: Made) -> None:
    there = world()
    home, mine, before = gateway(there, "gw-a"), spoke(there, "a-1"), keys(there)["a-1"]
    home.second.refuses = True
    mine.skew = 86 * 86400

    def tries(hours: int) -> int:
        found = 0
        for _ in range(hours * 60):
            was = mine.own.is_turning
            there.time.go(60)
            mine.turn.step(home.node, may_begin=True)
            found += mine.own.is_turning and not was
        return found

    there.step()
    there.time.go(1)
    there.step()
    first = tries(12)
    assert 0 < tries(48) < first
    home.second.refuses = False
    there.time.go(600)
    ask(there, "a-1")
    for _ in range(60):
        there.step()
    assert keys(there)["a-1"] != before


def test_keys_that_were_there_before_a_start_are_not_told_again(world: Made) -> None:
    there = world()
    change(there, "a-1")
    home, before = gateway(there, "gw-a"), told(there, "gw-a")
    assert before
    home.close()
    home.start()
    for _ in range(5):
        there.step()
    assert home.rotation.keys
    assert told(there, "gw-a") == before


def test_a_report_of_the_farthest_future_is_not_taken(world: Made) -> None:
    """Whatever has to count for more, as when its machine joins anew, could not be told to other gateways."""
    there = heard_of(world())
    home = gateway(there, "gw-a")
    report(there, "a-1", stamp=2**53 - 1, keys=Keys(key("x")), identity=there.roster.node("a-1").public_key)
    home.rotation.forget(home.network, "a-1")
    other = gateway(there, "gw-b")
    other.exchange()
    newest = other.network.reports.of("a-1")
    assert newest
    assert newest.keys == NO_KEYS


def test_who_is_cut_off_while_its_key_changes_is_so_by_both_interfaces_at_once(world: Made) -> None:
    there = heard_of(world())
    home, bad = gateway(there, "gw-a"), spoke(there, "a-1")
    ask(there, "a-1")
    while not home.tunnels.view.on_second:
        there.step()
    assert any(state.allowed_ips for state in home.second.state.values())
    rest = tuple(node for node in there.roster.nodes if node.name != "a-1")
    there.push(replace(there.roster, number=2, nodes=rest))
    follow_roster(home)
    assert not there.passes(bad, home)


def test_a_gateway_whose_rules_know_no_second_interface_is_asked_for_nobodys_change(world: Made) -> None:
    there = heard_of(world())
    home = gateway(there, "gw-a")
    unable = Rotation(home.tunnels, "gw-a", home.state, is_able=False)
    for name in ("a-1", "gw-a"):
        with pytest.raises(Refusal, match="raise this gateway's `revision`"):
            unable.ask(home.network, [name])


@pytest.mark.parametrize("seed", [0, 4])
def test_whatever_happens_meanwhile_everybody_is_reached_in_the_end_and_its_key_can_be_changed(
    world: Made, seed: int
) -> None:
    there = world(seed)
    chance = there.random
    for number in range(2, 9):
        for _ in range(chance.randrange(40)):
            there.step()
        with contextlib.suppress(Refusal):
            # One that goes over to another gateway just now.
            ask(there, *chance.sample(list(there.boxes), 2))
        box = chance.choice(list(there.boxes.values()))
        match chance.choice(["restarts", "boots", "loses its disk", "clock", "topology", "time"]):
            case "clock":
                box.skew = chance.choice([-4000, 4000, -90 * 86400])
            case "topology":
                there.push(declared(chance.choice(["hub", "sites"]), number))
            case "time":
                there.time.go(chance.choice([30, 700, 4000]))
            case what:
                if isinstance(box, GatewayBox):
                    box.close()
                for file in box.state.iterdir() if what == "loses its disk" else ():
                    if file.name != "roster.json":
                        file.unlink()
                (box.start if what == "restarts" else box.boot)()
    there.settles(3000)
    for name in ("b-1", "gw-a"):
        before = keys(there)[name]
        ask(there, name)
        for _ in range(4000):
            there.step()
            if keys(there)[name] != before:
                break
        assert keys(there)[name] != before
        there.settles(3000)
