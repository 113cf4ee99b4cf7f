"""Whom a machine asks: its gateway through the tunnel, every gateway on the internet when it hears nothing there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from node.network.asker import ASK_SECONDS, SILENCE_SECONDS, Asker
from node.network.bell import Bell
from node.network_document import NUDGE, NetworkDocument, Request
from node.wireguard import PeerState
from tests.node.network_support import ADDRESSES, OVERLAY, PUBLIC, Gateways, Machine, private, public, three_sites
from tests.node.support import Stack, key, wait_for

LOOPBACK = IPv4Address("127.0.0.1")


@pytest.fixture
def machine(tmp_path: Path, stack: Stack) -> Machine:
    return Machine(tmp_path, stack)


def silent(machine: Machine) -> Machine:
    """Nothing comes through the tunnel any more, for so long that a machine looks elsewhere."""
    machine.gateways.deaf |= set(ADDRESSES.values())
    machine.go(SILENCE_SECONDS + 1)
    machine.gateways.asked.clear()
    machine.asker.turn()
    return machine


def test_the_gateway_is_asked_every_ten_seconds_or_so(machine: Machine) -> None:
    waits = {machine.asker.turn() for _ in range(20)}
    assert len(waits) > 1, "not all machines may ask at once"
    assert all(0.8 * ASK_SECONDS <= each <= 1.2 * ASK_SECONDS for each in waits)
    assert set(machine.gateways.hosts()) == {ADDRESSES["root"]}


def test_one_that_does_not_answer_is_asked_again_soon_and_nobody_else_for_a_while(machine: Machine) -> None:
    machine.asker.turn()
    machine.gateways.deaf.add(ADDRESSES["root"])
    machine.go(SILENCE_SECONDS - 1)
    assert machine.asker.turn() < ASK_SECONDS / 2
    assert set(machine.gateways.hosts()) == {ADDRESSES["root"]}


def test_before_any_roster_a_silent_machine_asks_first_boots_gateway_on_the_internet(machine: Machine) -> None:
    silent(machine)
    assert machine.gateways.hosts() == [ADDRESSES["root"], PUBLIC["root"]]
    assert machine.prefixes("root") == {str(OVERLAY)}
    machine.gateways.roster = three_sites("sites", 2)
    machine.asker.turn()
    assert machine.prefixes("gw-b") == set()


def test_a_machine_that_missed_its_handover_finds_its_gateway_on_the_internet(machine: Machine) -> None:
    machine.asker.turn()
    machine.gateways.roster = three_sites("sites", 2)
    silent(machine)
    assert machine.gateways.hosts()[:2] == [ADDRESSES["root"], PUBLIC["root"]]
    assert machine.hangs_on() == "root", "the gateways do not know yet that it comes"
    machine.asker.turn()
    host, request = machine.gateways.asked[-1]
    assert host == PUBLIC["gw-b"], "the one where it should be comes first"
    assert request.report
    assert request.report.gateway == "gw-b"
    assert machine.hangs_on() == "gw-b"
    assert machine.wireguard.gaps == []
    machine.gateways.deaf.clear()
    machine.asker.turn()
    assert machine.gateways.hosts()[-1] == ADDRESSES["gw-b"]


def test_every_gateway_is_asked_until_one_answers(machine: Machine) -> None:
    machine.asker.turn()
    machine.gateways.deaf.add(PUBLIC["root"])
    machine.gateways.roster = three_sites("sites", 2)
    silent(machine)
    assert machine.gateways.hosts() == [ADDRESSES["root"], PUBLIC["root"], PUBLIC["gw-b"]]
    assert machine.prefixes("gw-b") == set()


@pytest.mark.parametrize(
    ("own", "of_gateway", "host"),
    [
        ({"only6": True}, {"endpoint6": "[2001:db8::2]:51820"}, "2001:db8::2"),
        ({"lan": True}, {"lan_endpoint": "10.0.0.2:51820"}, "10.0.0.2"),
    ],
)
def test_a_gateway_is_asked_where_the_machine_calls_it_and_then_where_others_do(
    machine: Machine, own: dict[str, bool], of_gateway: dict[str, str], host: str
) -> None:
    made = three_sites("sites")
    changes: dict[str, dict[str, Any]] = {"b-1": own, "gw-b": of_gateway}
    nodes = tuple(replace(node, **changes.get(node.name, {})) for node in made.nodes)
    machine.gateways.roster = replace(made, nodes=nodes)
    machine.asker.turn()
    machine.gateways.deaf |= {host, *PUBLIC.values()}
    silent(machine)
    asked = machine.gateways.hosts()
    assert asked[1] == host
    assert set(asked[2:]) == set(PUBLIC.values())


def test_one_that_a_push_has_not_reached_is_not_the_last_that_is_asked(machine: Machine, bell: Bell) -> None:
    old = Gateways(machine.stack, three_sites("hub", 1))
    machine.gateways.roster = three_sites("hub", 2)
    asker = Asker(
        machine.agent,
        bell,
        lambda host: (old if host == PUBLIC["root"] else machine.gateways).connect(host),
        lambda: machine.doorway,
        threading.Event(),
        machine.time.ticks,
    )
    asker.turn()
    machine.gateways.deaf.add(ADDRESSES["root"])
    machine.go(SILENCE_SECONDS + 1)
    machine.gateways.roster = three_sites("sites", 3)
    asker.turn()
    assert old.hosts() == [PUBLIC["root"]]
    assert machine.prefixes("gw-b") == set()


def test_only_the_nodes_own_key_opens_the_door(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.asker.turn()
    machine.doorway = replace(machine.doorway, private_key=private("c-1"))
    machine.gateways.roster = three_sites("sites", 2)
    silent(machine)
    assert machine.prefixes("gw-b") is None
    said = capfd.readouterr().err
    assert "status 403" in said
    assert private("c-1") not in said


def test_a_gateway_that_stands_elsewhere_now_is_called_there(machine: Machine) -> None:
    machine.asker.turn()
    roster = three_sites("hub", 2)
    nodes = tuple(
        replace(node, endpoint="198.51.100.77:51820") if node.name == "root" else node for node in roster.nodes
    )
    machine.gateways.roster = replace(roster, nodes=nodes)
    silent(machine)
    assert machine.wireguard.state[public("root")].endpoint == "198.51.100.77:51820"


def test_an_endpoint_that_wireguard_has_learned_stays(machine: Machine) -> None:
    machine.asker.turn()
    there = machine.wireguard.state[public("root")]
    machine.wireguard.state[public("root")] = there._replace(endpoint="198.51.100.99:4")
    machine.gateways.roster = three_sites("hub", 2)
    machine.asker.turn()
    machine.go(2, talking=["root"])
    assert machine.wireguard.state[public("root")].endpoint == "198.51.100.99:4"


def test_a_gateway_whose_release_tells_nothing_is_left_in_peace(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.gateways.status = 404
    for _ in range(5):
        machine.go(SILENCE_SECONDS)
        assert machine.asker.turn() >= 0.8 * ASK_SECONDS
    assert set(machine.gateways.hosts()) == {ADDRESSES["root"]}
    assert machine.wireguard.calls == []
    assert capfd.readouterr().err.count("tells nothing of the network") == 1


def test_a_roster_that_is_left_out_though_another_one_is_kept_is_asked_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.asker.turn()
    whole = machine.gateways.document

    def without_roster(request: Request) -> NetworkDocument:
        return replace(whole(request), roster=None)

    monkeypatch.setattr(machine.gateways, "document", without_roster)
    machine.gateways.roster = three_sites("sites", 2)
    machine.asker.turn()
    monkeypatch.undo()
    machine.asker.turn()
    assert machine.gateways.asked[-1][1].roster is None
    assert machine.prefixes("gw-b") == set()


@pytest.fixture
def bell() -> Iterator[Bell]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((str(LOOPBACK), 0))
        port = free.getsockname()[1]
    made = Bell(port)
    made.listen(LOOPBACK, [LOOPBACK])
    yield made
    made.close()


def nudge(bell: Bell, text: bytes = NUDGE, source: str = str(LOOPBACK)) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        sender.sendto(text, (str(LOOPBACK), bell.port))


def test_a_nudge_and_a_ring_wake_and_nothing_else_does(bell: Bell) -> None:
    nudge(bell)
    assert bell.wait(20)
    bell.ring()
    bell.ring()
    assert bell.wait(20)
    assert not bell.wait(0.01)
    nudge(bell, b"something else")
    nudge(bell, b"")
    assert not bell.wait(0.05)
    nudge(bell, source="127.0.0.2")
    assert not bell.wait(0.05), "no gateway's"
    for _ in range(3):
        nudge(bell, b"")
    nudge(bell)
    assert bell.wait(20)
    assert not bell.wait(0)


def test_nudges_come_to_an_address_that_is_not_there_yet_and_to_another_one_later(
    bell: Bell, capfd: pytest.CaptureFixture[str]
) -> None:
    bell.listen(IPv4Address("192.0.2.55"))
    bell.listen(None)
    bell.listen(LOOPBACK, [LOOPBACK])
    nudge(bell)
    assert bell.wait(20)
    assert capfd.readouterr().err == ""


def test_where_no_nudge_can_come_it_is_said_once(bell: Bell, capfd: pytest.CaptureFixture[str]) -> None:
    other = Bell(bell.port)
    other.listen(LOOPBACK)
    other.listen(LOOPBACK)
    assert capfd.readouterr().err.count("no nudges come to 127.0.0.1") == 1
    other.ring()
    assert other.wait(20)
    other.close()


def test_a_nudged_machine_asks_at_once(machine: Machine, bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.network.asker.ASK_SECONDS", 3600.0)
    gateway = "127.0.0.3"
    monkeypatch.setattr(machine.agent, "controls", lambda: [IPv4Address(gateway)])
    machine.myself = machine.myself and machine.myself._replace(name="b-1", address=LOOPBACK)
    stop = threading.Event()
    beats: list[float] = []
    asker = Asker(machine.agent, bell, machine.gateways.connect, lambda: None, stop)
    thread = threading.Thread(target=asker.run, args=(lambda: beats.append(time.monotonic()),))
    thread.start()
    try:
        wait_for("the first question", lambda: len(machine.gateways.asked) == 1)
        for count in (2, 3):
            nudge(bell, source=gateway)
            wait_for("another question", lambda count=count: len(machine.gateways.asked) == count)
    finally:
        stop.set()
        bell.ring()
        thread.join(20)
    assert not thread.is_alive()
    assert beats


def test_groups_and_names_of_an_answer_are_there_before_the_next_question(
    machine: Machine, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.network.asker.ASK_SECONDS", 3600.0)
    machine.gateways.roster = three_sites("hub")
    stop = threading.Event()
    asker = Asker(machine.agent, bell, machine.gateways.connect, lambda: None, stop)
    thread = threading.Thread(target=asker.run)
    thread.start()
    try:
        wait_for("the groups", lambda: bool(machine.segments.kept))
        wait_for("the names", lambda: bool(machine.names.servers))
        assert len(machine.gateways.asked) == 1
    finally:
        stop.set()
        bell.ring()
        thread.join(20)


def test_a_peer_state_of_a_stranger_is_no_gateway(machine: Machine) -> None:
    """A machine whose tunnel leads to nobody it knows hangs where the topology says."""
    machine.wireguard.state = {
        key("stranger"): PeerState(key("stranger"), None, frozenset({str(OVERLAY)}), 1, 0, 0, 25)
    }
    machine.gateways.roster = three_sites("sites")
    machine.asker.turn()
    assert machine.hangs_on() == "gw-b"
    assert machine.wireguard.gaps == []
