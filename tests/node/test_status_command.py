"""``hybridnet status``: the tables, what colours them, and that nobody's text reaches the terminal as a command."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from node import config as machine
from node.command import __main__ as command
from node.command import here, overview, status
from node.command.table import Cell, Paper, age, plain, rate, size, trip, width
from node.health.facts import SERVICE, Facts, Interface, Place, Unit
from node.wireguard import PeerState
from tests import statuses
from tests.node.support import Stack, key, write_config


class Terminal(io.StringIO):
    """A terminal that keeps what it is told."""

    def isatty(self) -> bool:
        return True


def lines(found: dict[str, Any], file: io.StringIO | None = None) -> list[str]:
    paper = Paper(file or io.StringIO())
    overview.write(paper, found)
    return paper.lines


def row(said: list[str], name: str) -> list[str]:
    """The columns of the first row of a table that begins with ``name``."""
    return re.split(r"\s{2,}", next(line for line in said if line.startswith(f"{name}  ")))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_everything_that_the_page_shows_is_there_and_the_worst_comes_first() -> None:
    said = lines(statuses.troubled())
    text = "\n".join(said)
    assert "gcp-1 in gcp does not answer through its tunnel" in text
    titles = next(at for at, line in enumerate(said) if line.startswith("NODE "))
    assert said[titles + 1].startswith("gcp-1 ")
    assert row(said, "gcp-1")[4:6] == ["silent", "74 s"]
    assert row(said, "hetzner-1")[:5] == ["hetzner-1", "hetzner", "spoke", "10.100.1.1", "answers"]
    assert row(said, "hetzner-2")[4] == "unwell"
    assert row(said, "aws-burst-91c2aa03")[4] == "draining"
    assert row(said, "gcp-burst-0d55e1f2")[4:6] == ["joining", "never"]
    assert row(said, "gcp-burst") == ["gcp-burst", "gcp", "1 of 4", "1 joining, 1 answers", "124 (0 rest)"]
    assert "LOAD BALANCER  serving, 4 of 5 machines get requests" in text
    assert "spot interruption notice" in text
    assert "this gateway changes its WireGuard key, waiting for gcp-1" in said
    assert "changing their WireGuard keys: aws-1" in said
    cut_off = row(said, "aws-burst-0badcafe")
    assert cut_off[2:] == ["i-0badcafe", "mined coins"]
    assert text.index("aws-burst-0badcafe") < text.index("hetzner-9"), "the newest first"
    found = statuses.status()
    assert not any("REVOKED" in line or "WireGuard key" in line for line in lines(found))
    for name in [each["name"] for each in (*found["peers"], *found["leases"])]:
        assert row(lines(found), name)[4] == "answers"


def test_colours_are_for_terminals_alone(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    found = statuses.troubled()
    assert "\x1b[31msilent\x1b[0m" in "\n".join(lines(found, terminal))
    assert "\x1b" not in "\n".join(lines(found))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "\n".join(lines(found, terminal))


def test_a_painted_table_is_as_straight_as_a_plain_one(terminal: Terminal) -> None:
    painted = [re.sub(r"\x1b\[\d*m", "", line) for line in lines(statuses.troubled(), terminal)]
    assert painted == lines(statuses.troubled())


def test_texts_of_those_who_mean_harm_turn_no_terminal() -> None:
    found = statuses.hostile()
    bell = "\x1b]0;owned\x07\x9b2J\r\n\x1b[2J"
    found["peers"].append(statuses.peer(bell, "aws", bell, rtt=None))
    found["alerts"].append(statuses.alert("NodeSilent", bell, "critical", bell))
    found["events"].append(statuses.event(bell, 1, node=bell, reason=bell))
    found["neighbours"][bell] = {"reachable": True, "age": 1.0, "leases": 0}
    found["sites"][bell] = {"cloud": bell, "region": bell, "subnet": bell}
    found["load_balancer"]["problem"] = bell
    found["gateway"]["name"] = bell
    found["revoked"] = [statuses.revoked(bell, 1, bell, bell)]
    found["rotation"] = {"phase": "out", "missing": [bell], "nodes": {bell: {"public_key": bell, "is_turning": True}}}
    text = "\n".join(lines(found))
    assert "\\u001b]0;owned\\u0007" in text
    assert {each for each in text if not each.isprintable()} == {"\n"}
    assert statuses.HOSTILE[:39] in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("aws-1", "aws-1"), ("\u202ex", "\\u202ex"), ("a\u200bb", "a\\u200bb"), ("\x00", "\\u0000"), ("é日", "é日")],
)
def test_a_text_is_shown_as_what_it_is(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_long_text_is_cut_and_a_wide_one_takes_its_room() -> None:
    assert plain("x" * 50, 10) == "xxxxxxxxx~"
    assert width("日本") == 4
    assert width("e\u0301") == 1
    paper = Paper(io.StringIO())
    paper.table(("A", "B"), [(Cell("日本"), Cell("1")), (Cell("x"), Cell("2"))])
    assert paper.lines == ["", "A     B", "日本  1", "x     2"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (age(None), "never"),
        (age(0), "0 s"),
        (age(119.6), "120 s"),
        (age(120), "2 min"),
        (age(7200), "2 h"),
        (age(172800), "2 d"),
        (trip(None), "-"),
        (trip(0.00042), "0.42 ms"),
        (trip(0.0042), "4.2 ms"),
        (trip(0.42), "420 ms"),
        (rate(0), "0 B/s"),
        (rate(999), "999 B/s"),
        (rate(1500), "1.5 kB/s"),
        (rate(25_000_000), "25 MB/s"),
        (rate(3e12), "3000.0 GB/s"),
        (size(1536), "1.5 KiB"),
    ],
)
def test_figures_are_short(value: str, said: str) -> None:
    assert value == said


def test_states_are_told_apart() -> None:
    found = statuses.status()
    node, lease = found["peers"][0], found["leases"][0]
    assert overview.state_of(found, node) == "answers"
    found["conditions"][node["name"]] = {"healthy": True, "problems": []}
    assert overview.state_of(found, node) == "answers"
    found["conditions"][node["name"]]["healthy"] = False
    assert overview.state_of(found, node) == "unwell"
    node["healthy"] = lease["healthy"] = False
    assert overview.state_of(found, node) == "silent"
    found["sites"]["aws"]["cloud"] = "external"
    assert overview.state_of(found, node) == "away", "a laptop may be closed"
    found["sites"]["aws"]["cloud"] = "aws"
    assert overview.state_of(found, lease) == "silent"
    lease.update(joined=statuses.NOW - 3, handshake_age=None)
    assert overview.state_of(found, lease) == "joining"
    assert overview.state_of(found, {**lease, "state": "left"}) == "leaving"


def test_many_who_were_cut_off_are_counted() -> None:
    found = statuses.status(revoked=[statuses.revoked(f"old-{number}", number, "") for number in range(30)])
    said = lines(found)
    shown = [line for line in said if line.startswith("old-")]
    assert len(shown) == overview.REVOKED
    assert f"and {30 - overview.REVOKED} before: hybridnet revoke --list" in said
    names = [f"n-{number}" for number in range(9)]
    found["rotation"]["nodes"] = {name: {"public_key": None, "is_turning": True} for name in names}
    assert "changing their WireGuard keys: n-0, n-1, n-2, n-3 and 5 more" in lines(found)


class Local:
    """A gateway whose service tells a status, and its command."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.asked: list[tuple[str, str]] = []

    def __call__(self, state: Path, method: str, path: str) -> dict[str, Any]:
        self.asked.append((method, path))
        return self.found


@pytest.fixture
def local(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Local:
    write_config(tmp_path, stack, "gateway", "10.100.0.1:8443")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    made = Local(statuses.status())
    monkeypatch.setattr(status, "ask", made)
    return made


def test_the_exit_status_says_whether_somebody_has_to_be_woken(
    local: Local, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["status"]) == 0
    assert "no alerts" in capsys.readouterr().out
    local.found["alerts"] = [statuses.alert("CertificateEnding", "serving", "warning", "it ends soon")]
    assert command.main(["status"]) == 0
    local.found["alerts"] = [statuses.alert("NodeSilent", "aws-1", "critical", "aws-1 is silent")]
    assert command.main(["status"]) == 1
    local.found.update(alerts=[], healthy=False)
    assert command.main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == local.found
    assert set(local.asked) == {("GET", "/v1/status")}


def test_watching_goes_on_until_it_is_ended_and_when_nobody_answers(
    local: Local, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, status.CommandError("the service does not answer"), None])

    def ask(*_: object) -> dict[str, Any]:
        found = next(looks, KeyboardInterrupt())
        if found is not None:
            raise found
        return statuses.status()

    monkeypatch.setattr(status, "ask", ask)
    monkeypatch.setattr(status, "WATCH_SECONDS", 0.0)
    assert command.main(["status", "--watch"]) == 0
    said = capsys.readouterr().out
    assert said.count("LOAD BALANCER") == 2
    assert said.index("the service does not answer") > said.index("LOAD BALANCER")
    assert "\x1b" not in said


def test_a_screen_has_as_many_lines_as_it_has_and_says_what_is_left_out() -> None:
    listed = [str(number) for number in range(10)]
    assert list(overview.shortened(listed, 10)) == listed
    assert list(overview.shortened(listed, 4)) == ["0", "1", "2", "... and 7 more lines"]


def facts(**changes: Any) -> Facts:
    found: dict[str, Any] = {
        "role": "spoke",
        "is_member": True,
        "place": Place(IPv4Address("10.100.1.1"), 1380, {"hetzner-gw": IPv4Address("10.100.0.1")}),
        "interface": Interface(is_up=True, addresses=frozenset(), mtu=1380),
        "handshakes": {"hetzner-gw": 12.0},
        "rtt": 0.0012,
        "units": {SERVICE: Unit("active")},
        "silence": 1.0,
        "has_rules": True,
        "forwards": None,
        "failed": None,
        **changes,
    }
    return Facts(**found)


def peers() -> Iterator[PeerState]:
    yield PeerState(key("gw"), "198.18.1.2:51820", frozenset({"10.100.0.0/16"}), 1_800_000_000 - 12, 2048, 4096, 25)
    yield PeerState(key("new"), None, frozenset(), 0, 0, 0, 4)


def test_a_spoke_tells_its_gateway_its_way_there_and_its_peers(tmp_path: Path, stack: Stack) -> None:
    config = machine.Config(
        "spoke", "hetzner-1", (IPv4Address("10.100.0.1"), 8443), stack.public_key, tmp_path, tmp_path
    )
    observed = {each.public_key: each for each in peers()}
    found = here.told(config, facts(), observed, statuses.NOW)
    paper = Paper(io.StringIO())
    here.write(paper, found)
    assert here.is_well(found)
    assert "hetzner-gw answers through the tunnel in 1.2 ms" in paper.lines
    assert row(paper.lines, "hetzner-gw")[:5] == ["hetzner-gw", "198.18.1.2:51820", "12 s", "2.0 KiB", "4.0 KiB"]
    for changes, told in (({"rtt": None}, "does not answer"), ({"interface": None}, "is not up")):
        worse = here.told(config, facts(**changes), {}, statuses.NOW)
        paper = Paper(io.StringIO())
        here.write(paper, worse)
        assert not here.is_well(worse)
        assert any(told in line for line in paper.lines)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    script = (
        "import sys; from node.command import status, __main__ as command; from tests import statuses;"
        "status._gateway = lambda _: (x := statuses.crowd(3000), True, lambda p: status.overview.write(p, x));"
        "status.machine.load = lambda: type('C', (), {'role': 'gateway'});"
        "sys.exit(command.main(['status']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) in (1, -signal.SIGPIPE)


def test_one_who_reads_nothing_at_all_is_none_either(tmp_path: Path) -> None:
    script = (
        "import sys; from node.command import status, __main__ as command;"
        "status._gateway = lambda _: ({}, True, lambda p: p.say('x'));"
        "status.machine.load = lambda: type('C', (), {'role': 'gateway'});"
        "sys.stdin.read(); sys.exit(command.main(['status']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdout
        process.stdout.close()
        process.stdout = None
        assert process.communicate()[1] == b""
        assert process.returncode == 1


def test_a_configuration_that_is_damaged_is_told_and_an_interruption_is_no_fault(
    local: Local, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "ask", interrupted)
    assert command.main(["status"]) == 130
    (tmp_path / "config.json").write_text("{")
    assert command.main(["status"]) == 1
    assert re.match(r"hybridnet: .*config\.json cannot be used", capsys.readouterr().err)
