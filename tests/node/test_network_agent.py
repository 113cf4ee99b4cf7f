"""A machine that follows the network: its peers, its gateway, and what is there again after a crash or a boot."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from node.network.agent import SETTLE_SECONDS, Myself
from node.wireguard import Change
from overlay.model import KEEPALIVE, LINK_KEEPALIVE
from overlay.roster import Roster
from tests.node.network_support import ADDRESSES, OVERLAY, Machine, public, three_sites
from tests.node.support import Stack, key

WIDE = {str(OVERLAY)}


@pytest.fixture
def machine(tmp_path: Path, stack: Stack) -> Machine:
    """``b-1``, which has followed a hub's roster."""
    made = Machine(tmp_path, stack)
    made.asker.turn()
    return made


def told(machine: Machine, roster: Roster) -> None:
    """The gateways have another roster, and the machine asks."""
    machine.gateways.roster = roster
    machine.asker.turn()


def moved(machine: Machine) -> Machine:
    """A machine that hangs on the gateway of its site."""
    told(machine, three_sites("sites", 2))
    machine.go(2, talking=["gw-b"])
    machine.asker.turn()
    assert machine.hangs_on() == "gw-b"
    return machine


def test_without_a_document_nothing_is_touched(tmp_path: Path, stack: Stack) -> None:
    machine = Machine(tmp_path, stack)
    before = dict(machine.wireguard.state)
    machine.gateways.deaf = set(ADDRESSES.values())
    machine.go(5)
    machine.asker.turn()
    machine.go(5)
    assert (machine.wireguard.calls, machine.wireguard.state) == ([], before)
    assert not (tmp_path / "network.json").exists()


def test_a_tunnel_that_is_right_is_not_touched(machine: Machine) -> None:
    machine.go(5, talking=["root"])
    assert machine.wireguard.calls == []
    assert machine.gateways.hosts() == [ADDRESSES["root"]]
    machine.asker.turn()
    assert machine.gateways.asked[-1][1].roster is not None, "the roster is sent to whoever has another one"


def test_what_others_do_to_the_interface_is_undone(machine: Machine) -> None:
    machine.wireguard.apply([Change(key("stranger"), allowed_ips=(), keepalive=1)])
    machine.wireguard.state[public("root")] = machine.wireguard.state[public("root")]._replace(keepalive=None)
    machine.wireguard.size = 1280
    machine.go(1)
    assert set(machine.wireguard.state) == {public("root")}
    assert machine.wireguard.state[public("root")].keepalive == KEEPALIVE
    assert machine.wireguard.size == 1420


def test_a_machine_goes_to_its_new_gateway_only_once_that_answers_and_the_gateways_know(machine: Machine) -> None:
    told(machine, three_sites("sites", 2))
    machine.go(30, talking=["root"])
    assert (machine.hangs_on(), machine.prefixes("gw-b")) == ("root", set())
    candidate = machine.wireguard.state[public("gw-b")]
    assert (candidate.endpoint, candidate.keepalive) == ("198.51.100.2:51820", LINK_KEEPALIVE)
    changes = machine.changes
    machine.gateways.takes_reports = False
    machine.go(1, talking=["gw-b"])
    assert machine.changes == changes + 1, "what is to be reported is reported at once"
    machine.asker.turn()
    machine.go(1, talking=["gw-b"])
    assert machine.gateways.asked[-1][1].report
    assert machine.gateways.asked[-1][1].report.gateway == "gw-b"
    assert machine.hangs_on() == "root", "no gateway would send anything the new way yet"
    machine.gateways.takes_reports = True
    machine.wireguard.calls.clear()
    machine.asker.turn()
    assert machine.hangs_on() == "gw-b"
    assert machine.prefixes("root") is None
    [call] = machine.wireguard.calls
    assert (call[0].public_key, call[-1]) == (public("gw-b"), Change(public("root"), remove=True))
    assert machine.wireguard.gaps == []
    assert machine.wireguard.state[public("gw-b")].keepalive == KEEPALIVE
    machine.asker.turn()
    assert machine.gateways.hosts()[-1] == ADDRESSES["gw-b"]


def test_and_back(machine: Machine) -> None:
    moved(machine)
    told(machine, three_sites("hub", 3))
    machine.go(2, talking=["root"])
    machine.asker.turn()
    assert (machine.hangs_on(), machine.prefixes("gw-b")) == ("root", None)
    assert machine.wireguard.gaps == []


def test_an_old_handshake_is_no_answer(machine: Machine) -> None:
    told(machine, three_sites("sites", 2))
    machine.wireguard.shake(public("gw-b"), machine.time.wall - 200)
    machine.go(1)
    machine.asker.turn()
    assert machine.hangs_on() == "root"


def test_after_a_boot_a_machine_hangs_where_it_did_before_anybody_is_asked(machine: Machine) -> None:
    moved(machine)
    machine.gateways.asked.clear()
    machine.boot()
    assert machine.hangs_on() == "root", "wg-quick knows nothing of it"
    machine.agent.round()
    assert (machine.hangs_on(), machine.prefixes("root")) == ("gw-b", None)
    assert machine.gateways.asked == []
    assert machine.wireguard.gaps == []


def test_a_boot_in_the_middle_of_a_handover_is_one_before_it(machine: Machine) -> None:
    told(machine, three_sites("sites", 2))
    machine.go(2, talking=["gw-b"])
    machine.boot()
    machine.go(1, talking=["root"])
    assert (machine.hangs_on(), machine.prefixes("gw-b")) == ("root", set())
    machine.go(2, talking=["gw-b"])
    machine.asker.turn()
    assert machine.hangs_on() == "gw-b"


@pytest.mark.parametrize("is_boot", [True, False], ids=["boot", "new agent"])
def test_a_crash_before_the_interface_follows_is_made_up_for(machine: Machine, is_boot: bool) -> None:
    told(machine, three_sites("sites", 2))
    machine.go(2, talking=["gw-b"])

    def breaks() -> None:
        machine.wireguard.broken = True

    machine.gateways.on_ask = breaks
    machine.asker.turn()
    assert machine.hangs_on() == "root"
    machine.wireguard.broken = False
    if is_boot:
        machine.boot()
    else:
        machine.start()
    machine.agent.round()
    assert machine.hangs_on() == "gw-b", "the gateways send to it there since its report"


def test_a_new_agent_changes_nothing(machine: Machine) -> None:
    moved(machine)
    machine.go(2, talking=["gw-b"])
    machine.start()
    machine.go(3, talking=["gw-b"])
    assert machine.wireguard.calls == []
    assert machine.hangs_on() == "gw-b"


def test_a_report_is_newer_than_all_before_though_the_clock_went_back(machine: Machine) -> None:
    machine.asker.turn()
    assert machine.gateways.report
    before = machine.gateways.report.stamp
    machine.time.wall -= 3600
    machine.start()
    machine.go(1)
    machine.asker.turn()
    machine.asker.turn()
    assert machine.gateways.report.stamp > before
    assert machine.gateways.report.gateway == "root"
    told(machine, three_sites("sites", 2))
    machine.go(2, talking=["gw-b"])
    machine.asker.turn()
    assert machine.hangs_on() == "gw-b"


def test_a_gateway_that_the_roster_has_no_more_is_left_at_once(machine: Machine) -> None:
    moved(machine)
    roster = three_sites("sites", 3)
    told(machine, replace(roster, nodes=tuple(node for node in roster.nodes if node.name != "gw-b")))
    assert (machine.hangs_on(), machine.prefixes("gw-b")) == ("root", None)


def test_a_gateways_other_key_is_taken(machine: Machine) -> None:
    roster = three_sites("hub", 2)
    nodes = tuple(replace(node, public_key=key("anew")) if node.name == "root" else node for node in roster.nodes)
    told(machine, replace(roster, nodes=nodes))
    assert set(machine.wireguard.state) == {key("anew")}
    assert machine.wireguard.state[key("anew")].allowed_ips == WIDE
    assert machine.wireguard.gaps == []


def test_an_older_roster_is_refused(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    told(machine, three_sites("sites", 5))
    machine.gateways.links = frozenset({"a-1"})
    told(machine, three_sites("hub", 4))
    machine.go(2, talking=["gw-b"])
    assert machine.prefixes("gw-b") == set()
    assert "number 4 is older than 5" in capfd.readouterr().err


def test_a_roster_of_somebody_else_is_refused(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.gateways.stack = Stack()
    told(machine, three_sites("sites", 2))
    machine.go(1)
    assert machine.prefixes("gw-b") is None
    assert "the stack's key did not sign it" in capfd.readouterr().err


def test_a_machine_that_the_network_does_not_have_keeps_its_tunnel(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    roster = three_sites("sites", 2)
    told(machine, replace(roster, nodes=tuple(node for node in roster.nodes if node.name != "b-1")))
    machine.go(3)
    assert machine.wireguard.calls == []
    assert capfd.readouterr().err.count("the network has no b-1") == 1


@pytest.mark.parametrize("damage", ["", "{}", '{"schema_version": 1}', "no JSON", "cut", "forged"])
def test_state_that_cannot_be_read_is_put_aside_and_the_gateway_asked(
    machine: Machine, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    moved(machine)
    path = machine.folder / "network.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    if damage == "forged":
        state = json.loads(text)
        document = json.loads(state["document"])
        document["roster"]["signature"] = "c2ln"
        damage = json.dumps({**state, "document": json.dumps(document)})
    path.write_text(text[:-50] if damage == "cut" else damage)
    machine.boot()
    machine.go(1)
    assert machine.wireguard.calls == []
    assert f"{path} cannot be used" in capfd.readouterr().err
    assert path.with_name("network.json.corrupt").exists()
    machine.asker.turn()
    machine.go(1)
    assert machine.prefixes("gw-b") == set()


def test_a_full_disk_keeps_no_machine_from_its_gateway(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node.files.write", full)
    moved(machine)
    machine.go(40, talking=["gw-b"])
    assert capfd.readouterr().err.count("No space left on device") == 1


def test_what_another_machine_left_on_a_copied_disk_is_forgotten(machine: Machine) -> None:
    moved(machine)
    machine.myself = Myself("a-1", IPv4Address("10.100.1.1"), IPv4Address(ADDRESSES["root"]))
    machine.boot()
    machine.go(2)
    assert machine.wireguard.calls == []
    assert not (machine.folder / "network.json").exists()


def test_without_a_tunnel_nothing_is_done(machine: Machine) -> None:
    me, machine.myself = machine.myself, None
    machine.gateways.roster = three_sites("sites", 2)
    machine.wireguard.state.clear()
    machine.asker.turn()
    machine.go(2)
    assert (machine.wireguard.calls, len(machine.gateways.asked)) == ([], 1)
    machine.myself = me
    machine.asker.turn()
    assert machine.prefixes("root") is not None


def test_ipv6_groups_and_names_follow(tmp_path: Path, stack: Stack) -> None:
    roster = three_sites("hub", 2)
    overlay6 = IPv6Network("fd00:0:0:1::/64")
    network = replace(roster.network, overlay6=overlay6)
    machine = Machine(tmp_path, stack, replace(roster, network=network))
    machine.asker.turn()
    old = IPv6Interface("fd00::1/64")
    machine.addresses6.addresses.add(old)
    machine.go(1)
    assert machine.addresses6.addresses == {IPv6Interface("fd00:0:0:1::a64:201/64")}
    assert machine.prefixes("root") == {str(OVERLAY), "fd00::1:0:0:a64:0/112"}
    assert machine.segments.kept[-1] == (network, "b-1")
    assert machine.names.servers == [IPv4Address(ADDRESSES["root"]), IPv4Address(ADDRESSES["gw-b"])]
    told(machine, three_sites("sites", 3))
    machine.go(2, talking=["gw-b"])
    machine.asker.turn()
    machine.go(1)
    assert machine.addresses6.addresses == set()
    assert machine.names.servers == [IPv4Address(ADDRESSES["gw-b"]), IPv4Address(ADDRESSES["root"])]


def test_a_machine_without_ipv6_has_everything_else(
    tmp_path: Path, stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    roster = three_sites("hub", 2)
    machine = Machine(
        tmp_path, stack, replace(roster, network=replace(roster.network, overlay6=IPv6Network("fd00::/96")))
    )
    machine.addresses6.refuses = True
    machine.asker.turn()
    machine.go(3)
    assert machine.names.servers
    assert machine.segments.kept
    assert capfd.readouterr().err.count("IPv6 cannot be kept") == 1


def test_what_is_beside_the_peers_is_looked_at_now_and_then_and_at_once_for_another_roster(machine: Machine) -> None:
    machine.go(1)
    assert len(machine.segments.kept) == 1
    machine.go(SETTLE_SECONDS - 1)
    assert len(machine.segments.kept) == 1
    machine.go(1)
    assert len(machine.segments.kept) == 2, "others may have changed it"
    told(machine, three_sites("sites", 2))
    machine.go(1)
    assert len(machine.segments.kept) == 3
