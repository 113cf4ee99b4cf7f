"""What a look at a machine finds, from the outputs of its tools; and what ``hybridnet health`` says of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from node import config as machine
from node import files, joining, pulse
from node.command import __main__ as command_line
from node.command import health
from node.config import Config, Membership
from node.health import facts, outcome
from node.health.facts import DNS, NGINX, SERVICE, TUNNEL, Interface, Machine, Unit, once_answered
from node.health.outcome import Outcome
from node.network_document import NetworkDocument, SignedRoster, document_body
from node.pool.system import SETUP
from overlay.model import Peer
from tests.node.health_place import GATEWAY, Place, shown
from tests.node.support import Stack, key, roster, signed


@pytest.fixture
def place(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, stack, monkeypatch, "spoke")


@pytest.fixture
def gateway(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, stack, monkeypatch, "gateway")


def test_a_spoke_without_a_roster_knows_its_place_from_first_boot(place: Place) -> None:
    found = place.look()
    assert found.place == (IPv4Address("10.100.1.1"), 1400, {"the gateway": GATEWAY})
    assert found.interface == Interface(True, frozenset({IPv4Address("10.100.1.1")}), 1400)
    assert 59 <= found.handshakes["the gateway"] <= 70
    assert (found.rtt, place.pinged) == (0.002, [GATEWAY])
    assert found.units == {SERVICE: Unit("active", "success", 7, 5.0), TUNNEL: Unit("active", "success", 7, 5.0)}
    assert (found.silence, found.has_rules, found.forwards, found.failed) == (None, True, None, None)


def test_a_spoke_with_a_roster_looks_for_the_gateway_that_it_hangs_on(place: Place, stack: Stack) -> None:
    body, signature = signed(stack, replace(roster(3), mtu=1380))
    document = document_body(NetworkDocument("-", "0" * 64, SignedRoster(body, signature), ())).decode()
    for gateway, name in (("gw", "gw"), ("gone", "the gateway")):
        endpoints: dict[str, str] = {}
        state = {"name": "spoke-1", "gateway": gateway, "endpoints": endpoints, "document": document}
        files.write(place.state / "network.json", state)
        found = place.look()
        assert (found.place.mtu, found.place.gateways) == (1380, {name: GATEWAY})


@pytest.mark.parametrize(("stamp", "allowed", "age"), [("0", "10.100.0.0/16", math.inf), ("5", "10.100.9.0/24", None)])
def test_a_gateway_that_never_shook_hands_is_not_one_that_is_no_peer(
    place: Place, stamp: str, allowed: str, age: float | None
) -> None:
    place.said["wg show wg0 latest-handshakes"] = f"{key('gw')}\t{stamp}\n"
    place.said["wg show wg0 allowed-ips"] = f"{key('gw')}\t{allowed}\n"
    assert place.look().handshakes.get("the gateway") == age


def test_while_a_key_changes_the_newer_handshake_of_both_interfaces_counts(place: Place) -> None:
    place.device("wg1")
    place.said["wg show wg0 latest-handshakes"] = f"{key('gw')}\t{int(time.time()) - 900}\n"
    place.said["wg show wg1 latest-handshakes"] = f"{key('new')}\t{int(time.time()) - 5}\n"
    place.said["wg show wg1 allowed-ips"] = f"{key('new')}\t10.100.0.0/16\n"
    assert place.look().handshakes["the gateway"] < 60


def test_without_its_interface_nothing_is_asked_of_it(place: Place) -> None:
    for file in (place.devices / "wg0").iterdir():
        file.unlink()
    (place.devices / "wg0").rmdir()
    found = place.look()
    assert (found.interface, found.handshakes, found.rtt) == (None, {}, None)
    assert not [line for line in place.ran if line.startswith("wg ")]


@pytest.mark.parametrize("said", ["", "[]", "[{}]", '[{"addr_info": []}]'])
def test_an_interface_that_has_lost_its_address_is_there(place: Place, said: str) -> None:
    place.said["ip -json -4 address show dev wg0"] = said
    assert place.look().interface == Interface(True, frozenset(), 1400)


def test_a_gateway_looks_at_the_others_and_at_what_only_it_has(gateway: Place, stack: Stack) -> None:
    body, signature = signed(stack, roster(3))
    files.write(gateway.state / "roster.json", {"body": body.decode(), "signature": signature})
    for path in ("nginx/nginx.conf", "dns/dnsmasq.conf"):
        (gateway.state / path).parent.mkdir()
        (gateway.state / path).touch()
    units = (SERVICE, TUNNEL, NGINX, DNS)
    gateway.said["systemctl show"] = "\n".join(map(shown, units))
    (gateway.proc / "sys/net/ipv4/ip_forward").write_text("0\n")
    del gateway.said["nft list chain"]
    gateway.config = replace(gateway.config, name="gw")
    found = gateway.look()
    assert (found.place.gateways, gateway.pinged) == ({}, [])
    assert set(found.units) == set(units)
    assert (found.has_rules, found.forwards) == (False, False)


def test_a_gateway_without_requests_needs_no_nginx(gateway: Place) -> None:
    assert set(gateway.look().units) == {SERVICE, TUNNEL}


def test_a_pools_machine_asks_for_nothing_before_it_has_joined(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, stack, monkeypatch, "pool")
    found = place.look()
    assert (found.is_member, found.interface, place.pinged) == (False, None, [])
    peers = (Peer(key("gw"), "198.51.100.1:51820", (roster().network.overlay,), 25),)
    lease = joining.Answer(
        "pool-1", IPv4Address("10.100.1.1"), roster().network.overlay, 1400, IPv4Address("10.100.0.9"), peers, "s", "t"
    )
    files.write(place.state / "lease.json", {"answer": joining.answer_body(lease).decode(), "ended": False})
    assert place.look().is_member
    assert place.pinged == [IPv4Address("10.100.0.9")]


@pytest.mark.parametrize(("state", "has_failed"), [("inactive", False), ("active", False), ("failed", True)])
def test_a_pools_machine_knows_whether_its_setup_failed_and_misses_none(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, state: str, has_failed: bool
) -> None:
    place = Place(tmp_path, stack, monkeypatch, "pool")
    place.said["systemctl show"] += f"\n{shown(SETUP, state, pid=0)}"
    found = place.look()
    assert (found.has_failed_setup, set(found.units)) == (has_failed, {SERVICE, TUNNEL})
    assert any(SETUP in line for line in place.ran)


def test_a_machine_that_others_made_has_no_rules_of_ours(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, stack, monkeypatch, "pool")
    place.config = replace(place.config, membership=Membership("external", key("gw")))
    assert place.look().has_rules is None


def test_a_release_is_silent_since_its_last_sign_and_never_for_longer_than_it_runs(place: Place) -> None:
    children = place.proc / "7/task/7/children"
    children.parent.mkdir(parents=True)
    sign, now = place.state / pulse.SIGN, time.monotonic()
    sign.write_text(f"{now - 50:.1f}\n")

    def silence(since: float) -> float | None:
        place.said["systemctl show"] = shown(SERVICE).replace("Monotonic=5", f"Monotonic={int(since)}")
        return place.look().silence

    assert silence(now - 500) is None, "without a release stage 0 waits, and does not hang"
    children.write_text("8 \n")
    started(place, 8, 600)
    assert 49 < (silence(now - 500) or 0) < 60
    assert (silence(now - 3) or 0) < 20
    sign.write_text(f"{now + 5000}\n")
    assert 499 < (silence(now - 500) or 0) < 520, "a sign of the boot before is none"
    sign.unlink()
    assert 499 < (silence(now - 500) or 0) < 520
    started(place, 8, 20)
    assert 19 < (silence(now - 500) or 0) < 40, "stage 0 has ended one that was silent, and started another"
    sign.write_text("")
    assert silence(now - 500) is None, "nobody knows: on a full disk nothing can be written"


def started(place: Place, pid: int, seconds: float) -> None:
    """Have a process that was started so long ago, whose name looks like something else."""
    (place.proc / str(pid)).mkdir(exist_ok=True)
    ticks = int((time.clock_gettime(time.CLOCK_BOOTTIME) - seconds) * os.sysconf("SC_CLK_TCK"))
    (place.proc / str(pid) / "stat").write_text(f"{pid} (a) b) S {' '.join('1' * 18)} {ticks} 1 1\n")


def test_a_pulse_leaves_its_sign_not_at_every_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    now = [100.0]
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: now[0]))
    line = pulse.Pulse(theirs, tmp_path / "beat")
    for now[0] in (100.0, 101.0, 104.9):
        line.beat()
    assert float((tmp_path / "beat").read_text()) == 100.0
    file = (tmp_path / "beat").stat()
    now[0] = 123456.7
    line.beat()
    assert float((tmp_path / "beat").read_text()) == 123456.7
    after = (tmp_path / "beat").stat()
    assert (after.st_ino, after.st_size) == (file.st_ino, file.st_size), "a full disk has no room for another"
    (tmp_path / "beat").unlink()
    tmp_path.joinpath("beat").mkdir()
    now[0] = 200000.0
    line.beat()
    assert os.read(ours, 64) == b"hhhhh"
    os.close(ours)
    os.close(theirs)


def test_somebody_who_answers_pings_is_heard_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_PINGS", 1)
    try:
        assert 0 <= (once_answered(IPv4Address("127.0.0.1")) or -1) < 1
    except PermissionError:
        pytest.skip("needs the right to send pings")
    assert once_answered(IPv4Address("127.255.255.255")) is None, "nothing goes out to a broadcast address"


# The command.


@pytest.fixture
def command(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    def machine_of(config: Config) -> Machine:
        assert config is place.config
        return place.machine()

    monkeypatch.setattr(health, "Machine", machine_of)
    monkeypatch.setattr(health, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(outcome, "PATH", place.state / "run" / "health.json")
    monkeypatch.setattr(machine, "load", lambda: place.config)
    return place


def kept(place: Place) -> Outcome:
    return cast("Outcome", outcome.read(place.state / "run" / "health.json"))


def test_one_line_says_that_a_machine_is_well(command: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["health"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("healthy: wg0 is up with 10.100.1.1, handshake with the gateway ")
    assert said.endswith(" s ago, ping 2.0 ms\n")
    assert command_line.main(["health", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["healthy"], found["problems"], found["rtt"]) == (True, [], 0.002)
    assert not (command.state / "run").exists(), "only the timer leaves its outcome"


def test_a_look_costs_no_other_commands_imports() -> None:
    """The timer's look is what every machine does all the time."""
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from node.command.__main__ import main, parser\n"
        "try:\n    main()\nfinally:\n"
        "    others = [name for name in sys.modules if name.startswith('node.command.')]\n"
        "    assert 'node.command.doctor' not in others and 'node.command.health' in others, others\n"
        "    parser()\n    assert 'node.command.doctor' in sys.modules\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script, root, "health", "--help"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_what_is_wrong_is_one_line_with_status_1(command: Place, capsys: pytest.CaptureFixture[str]) -> None:
    command.rtt = None
    (command.devices / "wg0" / "mtu").write_text("8921\n")
    assert command_line.main(["health"]) == 1
    assert capsys.readouterr().out == (
        "unhealthy: wg0 has the MTU 8921 and not 1400; "
        "the gateway at 10.100.0.1 does not answer pings through the tunnel\n"
    )
    assert "systemctl restart" not in " ".join(command.ran)


def test_what_is_over_at_the_second_look_was_no_problem(command: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([None, 0.002])

    def answer(address: IPv4Address) -> float | None:
        del address
        return next(answers)

    monkeypatch.setattr(command, "ping", answer)
    assert command_line.main(["health"]) == 0


def test_the_timer_restarts_what_may_mend_leaves_the_outcome_and_says_only_what_is_new(
    command: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (command.devices / "wg0" / "flags").write_text("0x90\n")
    command.said[f"systemctl restart {TUNNEL}"] = ""
    assert command_line.main(["health", "--repair"]) == 1
    assert command.ran.count(f"systemctl restart {TUNNEL}") == 1
    assert kept(command).problems == (f"{TUNNEL} was restarted", "wg0 is down")
    said = capsys.readouterr()
    assert said.out == ""
    assert f"unhealthy: {TUNNEL} was restarted; wg0 is down" in said.err
    command.device("wg0")
    assert command_line.main(["health", "--repair"]) == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert command_line.main(["health", "--repair"]) == 0
    assert capsys.readouterr().err == ""
    assert (kept(command).healthy, kept(command).problems) == (True, ())


def test_while_the_machine_shuts_down_nothing_is_restarted(command: Place) -> None:
    (command.devices / "wg0" / "flags").write_text("0x90\n")
    command.said["systemctl show --property=SystemState"] = "stopping\n"
    assert command_line.main(["health", "--repair"]) == 1
    assert not [line for line in command.ran if line.startswith("systemctl restart")]


def test_what_systemd_is_about_to_start_is_not_restarted(command: Place) -> None:
    (command.devices / "wg0" / "flags").write_text("0x90\n")
    command.said["systemctl show"] = "\n".join([shown(SERVICE), shown(TUNNEL, "activating", job=88)])
    assert command_line.main(["health", "--repair"]) == 1
    assert kept(command).problems == ("wg0 is down",)
    assert not [line for line in command.ran if line.startswith("systemctl restart")]


def test_a_machine_that_cannot_be_looked_at_is_not_well(command: Place, capsys: pytest.CaptureFixture[str]) -> None:
    del command.said["systemctl show"]
    assert command_line.main(["health"]) == 1
    assert not (command.state / "run").exists()
    assert command_line.main(["health", "--repair"]) == 1
    assert "this machine cannot be looked at: systemctl show" in capsys.readouterr().err
    assert not kept(command).healthy


def test_an_old_or_broken_outcome_is_none(tmp_path: Path) -> None:
    path, now = tmp_path / "run" / "health.json", time.monotonic()
    assert outcome.read(path) is None
    made = Outcome(False, ("x" * 300, *("y" for _ in range(20))), 5.0)
    outcome.write(made, path)
    assert outcome.read(path) == made
    assert outcome.read(path, now + outcome.STALE_SECONDS + 5) is None
    assert outcome.read(path, now - 5) is None, "of another boot"
    assert [len(each) for each in made.document()["problems"]] == [200, *(1 for _ in range(9))]
    path.write_text('{"healthy": true}')
    assert outcome.read(path) is None
