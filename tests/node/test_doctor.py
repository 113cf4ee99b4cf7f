"""What the doctor reads of the machine's tools, what it asks others, and how its command tells what it found."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node import config as machine_config
from node.command import doctor
from node.command.shape import CommandError
from node.control import Reply
from node.doctor import machine, probe
from node.doctor.facts import Facts, PeerFacts, Reach
from node.doctor.machine import Link
from node.doctor.rules import diagnose
from tests.node.support import key, wait_for
from tests.node.test_doctor_rules import ENDPOINT, GATEWAY, SILENCE, healthy

LINKS = """[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,"qdisc":"noqueue",\
"operstate":"UNKNOWN","group":"default","txqlen":1000,"link_type":"loopback","address":"00:00:00:00:00:00",\
"broadcast":"00:00:00:00:00:00","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host",\
"label":"lo","valid_life_time":4294967295,"preferred_life_time":4294967295},{"family":"inet6","local":"::1",\
"prefixlen":128,"scope":"host","valid_life_time":4294967295,"preferred_life_time":4294967295}]},{},\
{"ifindex":3,"ifname":"wg0","flags":["POINTOPOINT","NOARP"],"mtu":1420,"qdisc":"pfifo_fast","operstate":"DOWN",\
"group":"default","txqlen":500,"link_type":"none","addr_info":[{"family":"inet","local":"10.100.2.1","prefixlen":32,\
"scope":"global","label":"wg0","valid_life_time":4294967295,"preferred_life_time":4294967295}]}]"""
"""iproute2 6.1, shortened by an interface; the empty object is what it leaves of one that a filter takes out."""
UNITS = """\
MainPID=223
NRestarts=2
Id=hybridnet.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled

NRestarts=0
Id=wg-quick@wg0.service
LoadState=loaded
ActiveState=inactive
SubState=dead
UnitFileState=enabled

NRestarts=0
Id=hybridnet-dns.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
"""
"""systemd 252."""
NETSTAT = """\
TcpExt: SyncookiesSent SyncookiesRecv IPReversePathFilter TCPTimeouts
TcpExt: 0 3 17 2
IpExt: InNoRoutes InTruncatedPkts
IpExt: 5 0
"""


def test_interfaces_are_read() -> None:
    found = machine.parse_links(LINKS)
    assert found["wg0"] == Link("wg0", False, 1420, (IPv4Address("10.100.2.1"),))
    assert found["lo"].is_up
    assert machine.parse_links("[]") == {}


def test_units_are_read() -> None:
    found = machine.parse_units(UNITS)
    own = found["hybridnet"]
    assert (own.load, own.active, own.sub, own.enabled, own.restarts) == ("loaded", "active", "running", "enabled", 2)
    assert found["wg-quick@wg0"].active == "inactive"
    assert found["hybridnet-dns"].load == "not-found"


def test_routes_are_read() -> None:
    text = '[{"dst":"198.18.1.1","gateway":"172.28.0.1","dev":"eth0","prefsrc":"172.28.0.4","flags":[],"uid":0}]'
    assert machine.parse_route(text) == ("eth0", "172.28.0.4")
    assert machine.parse_route("") == (None, None)


def test_filtered_packets_are_read() -> None:
    assert machine.parse_netstat(NETSTAT) == 17
    assert machine.parse_netstat("TcpExt: TCPTimeouts\nTcpExt: 2\n") == 0


def test_servers_of_names_are_read() -> None:
    assert machine.parse_servers("Link 3 (wg0): 10.100.0.1 10.100.1.254\n") == ("10.100.0.1", "10.100.1.254")
    assert machine.parse_servers("Link 3 (wg0):\n") == ()


def test_releases_on_disk_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def running(role: str) -> int:
        return 3

    monkeypatch.setattr(machine, "running", running)
    assert machine.releases(tmp_path, "spoke").newest == 0
    for number in (3, 12):
        (tmp_path / "releases" / str(number)).mkdir(parents=True)
    (tmp_path / "releases" / "new").mkdir()
    assert machine.releases(tmp_path, "spoke").newest == 12
    assert machine.releases(tmp_path, "spoke").failed is None
    (tmp_path / "releases" / "12" / "bad").write_text("it ended with status 1\n")
    assert machine.releases(tmp_path, "spoke").failed == "it ended with status 1"


def test_a_tool_that_fails_or_is_missing_says_which(tmp_path: Path) -> None:
    with pytest.raises(machine.ToolError, match="no-such-tool"):
        machine.run("no-such-tool")
    with pytest.raises(machine.ToolError, match=r"sh -c .*: broken"):
        machine.run("sh", "-c", "echo broken >&2; exit 3")


def test_a_disk_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.disk(tmp_path)
    assert found.refusal is None
    assert 0 < found.free <= found.total
    assert list(tmp_path.iterdir()) == []

    def refuse(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    assert machine.disk(tmp_path).refusal == "No space left on device"


# What is asked of others.


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_a_port_without_a_listener_refuses_and_wireguards_is_silent(bound: socket.socket) -> None:
    port = bound.getsockname()[1]
    assert probe.poke("127.0.0.1", port, 0.1) == "silent"
    bound.close()
    assert probe.poke("127.0.0.1", port, 5) == "refused"


ANSWER = bytes.fromhex(
    "beef85800001000100000000026777076865747a6e657202776708696e7465726e616c0000010001c00c000100010000000500040a640001"
)
"""dnsmasq's to a question for gw.hetzner.wg.internal: one address, its name a pointer to the question's."""


def test_an_address_is_found_in_a_dns_answer() -> None:
    question = len(b"\x02gw\x07hetzner\x02wg\x08internal\x00\x00\x01\x00\x01")
    assert probe.address_in(ANSWER, question) == "10.100.0.1"
    nobody = ANSWER[:6] + b"\0\0" + ANSWER[8 : 12 + question]
    assert probe.address_in(nobody, question) == "unknown"
    assert probe.address_in(ANSWER[: 12 + question], question) == "unknown"


@pytest.mark.parametrize(("ahead", "least", "most"), [(0, 0, 0), (-600, 597, 602), (600, -602, -597)])
def test_how_far_the_clock_is_off_is_told_by_the_gateways_date(
    monkeypatch: pytest.MonkeyPatch, ahead: int, least: int, most: int
) -> None:
    class Gateway:
        def __init__(self, *_: object) -> None: ...

        def ask(self, *_: object, **__: object) -> Reply:
            return Reply(200, {"date": formatdate(probe.time.time() + ahead, usegmt=True)}, b"{}")

    monkeypatch.setattr(probe, "ControlPlane", Gateway)
    told = probe.ask(probe.ssl.create_default_context(), "gw", 8443)
    assert told.skew is not None
    assert least <= told.skew <= most


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_RAW")


@needs_root
def test_pings_of_any_size_come_back_and_what_is_too_large_does_not() -> None:
    echo = probe.Echo()
    try:
        assert echo.first(["127.0.0.1"], 5, 0.5) == {"127.0.0.1"}
        small, odd, huge = echo.ping(
            [probe.Target("127.0.0.1", 5), probe.Target("127.0.0.1", 3, 1421), probe.Target("127.0.0.1", 2, 65600)],
            interval=0.01,
            wait=0.3,
        )
    finally:
        echo.close()
    assert (small.sent, small.lost, odd.lost) == (5, 0, 0)
    assert (huge.sent, huge.answers) == (2, False)


class Late:
    """A socket that gives each packet when three others have come after it."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def recvfrom(self, size: int) -> tuple[bytes, object]:
        packet, source = self._real.recvfrom(size)
        self._waiting.append(packet)
        return (self._waiting.pop(0) if len(self._waiting) > 3 else packet[:20]), source


@needs_root
def test_an_answer_that_takes_longer_than_the_next_ping_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = probe.Echo()
    monkeypatch.setattr(echo, "_socket", Late(echo._socket))  # pyright: ignore[reportPrivateUsage]
    try:
        assert echo.first(["127.0.0.1"], 5, 0.01) == {"127.0.0.1"}
    finally:
        echo.close()


def test_what_pings_came_to() -> None:
    reach = Reach(10, (0.03, 0.01, 0.02))
    assert (reach.lost, reach.middle, reach.loss) == (7, 0.02, 0.7)
    assert reach.text() == "3 of 10 pings answered, 20.0 ms in the middle"
    assert Reach(4).text() == "none of 4 pings answered"


# The command.


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Facts]:
    """What the machine is found to be: the last of them."""
    found = [healthy()]
    files = {"schema_version": 1, "role": "spoke", "name": "spoke-1", "control": "10.100.0.1:8443"}
    (tmp_path / "config.json").write_text(json.dumps({**files, "signing_public_key": key("stack")}))
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))

    def observe(config: machine_config.Config, say: object) -> Facts:
        return found[-1]

    monkeypatch.setattr(doctor, "observe", observe)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 0)
    return found


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add(parser.add_subparsers())
    args = parser.parse_args(["doctor", *words])
    return args.run(args)


def test_a_machine_that_is_well_is_told_so(facts: list[Facts], capsys: pytest.CaptureFixture[str]) -> None:
    laptop = PeerFacts("laptop", "spoke", IPv4Address("10.100.9.1"), key("laptop"), may_be_off=True)
    facts.append(replace(healthy(), peers=(*healthy().peers, laptop)))
    assert run() == 0
    assert capsys.readouterr().out == "spoke-1 is well: 1 of 1 peers answer\n"
    assert run("--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["healthy"], document["causes"], document["node"]) == (True, [], "spoke-1")


def test_causes_are_told_in_their_order_with_evidence_and_command(
    facts: list[Facts], capsys: pytest.CaptureFixture[str]
) -> None:
    facts.append(replace(SILENCE(healthy()), tunnel=None))
    causes = diagnose(facts[-1])
    assert run() == 1
    said = capsys.readouterr().out
    assert said.startswith(f"1. {causes[0].summary} (interface-down, 100 %)")
    for cause in causes:
        assert f"mend:  {cause.command}" in said
        for line in cause.evidence:
            assert f"seen:  {line}" in said
    assert run("--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert [cause["cause"] for cause in document["causes"]] == [cause.cause for cause in causes]
    assert "\x1b" not in said


def test_what_could_not_be_looked_at_is_told(facts: list[Facts], capsys: pytest.CaptureFixture[str]) -> None:
    facts.append(replace(healthy(), lacking=("nft: FileNotFoundError",)))
    assert run() == 0
    assert "not looked at: nft: FileNotFoundError" in capsys.readouterr().out


def test_only_root_is_answered(facts: list[Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="sudo"):
        run()


def test_a_machine_without_first_boots_files_is_told_so(facts: list[Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    (machine_config.load().files / "config.json").unlink()
    with pytest.raises(CommandError, match=r"config\.json"):
        run()


def test_what_takes_long_says_what_it_is_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ""

    def tells(words: str) -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return words in said

    monkeypatch.setattr(doctor, "PATIENCE", 0.01)
    progress = doctor.Progress()
    wait_for("the first word", lambda: tells("looking"))
    progress.say("asking whether the peers answer")
    progress.end()
    assert tells("asking whether the peers answer")


def test_progress_is_silent_while_it_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    progress = doctor.Progress()
    progress.say("looking at the machine")
    progress.end()
    assert capsys.readouterr().err == ""


def test_a_peer_of_two_looks_is_lossy_only_if_both_lost() -> None:
    peer = PeerFacts("gw", "gateway", GATEWAY, key("gw"), ENDPOINT, reach=Reach(20, (0.1,) * 15))
    assert not replace(peer, again=Reach(20, (0.1,) * 20)).is_lossy
    assert replace(peer, again=Reach(20, (0.1,) * 18)).is_lossy
    assert not peer.is_lossy
