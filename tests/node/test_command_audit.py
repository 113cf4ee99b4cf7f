"""``hybridnet audit`` on a gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.command.__main__ import main
from node.gateway.audit import Audit
from tests.node.support import Stack, write_config

JOURNALCTL = """#!/bin/sh
echo "$@" >"$0.asked"
cat "$0.says" 2>/dev/null
cat "$0.fails" >&2 2>/dev/null
true
"""


class Machine:
    """A gateway with a log, and the journal that it tells."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
        self.state, self.files, self.bin = folder / "state", folder / "config", folder / "bin"
        self.state.mkdir()
        self.bin.mkdir()
        write_config(self.files, stack, "gateway", "10.100.0.1:8443")
        self.tool = self.bin / "journalctl"
        self.tool.write_text(JOURNALCTL)
        self.tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setenv("STATE_DIRECTORY", str(self.state))
        monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(self.files))
        self.path = self.state / "audit.jsonl"
        self.audit = Audit(self.path, lambda: 1_800_000_000.0)

    def journal(self, *messages: object) -> None:
        text = "".join(json.dumps({"MESSAGE": message}) + "\n" for message in messages)
        (self.bin / "journalctl.says").write_text(text)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: Stack) -> Machine:
    return Machine(tmp_path, monkeypatch, stack)


def write(gateway: Machine, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Three events: what the journal gets of them."""
    gateway.audit.write("join", node="burst-1", address="10.100.2.130")
    gateway.audit.write("refuse", source="192.0.2.1", reason="no\x1b[2J\x7f\u202etoken\nNOT: there")
    gateway.audit.write("leave", node="burst-1")
    gateway.audit.close()
    return capsys.readouterr().err.splitlines()


def test_a_whole_log_is_said_to_be(gateway: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.journal("offered roster: 201", [1, 2], *write(gateway, capsys))
    assert main(["audit", "verify"]) == 0
    said = capsys.readouterr()
    assert "3 events, 1 to 3, in 1 file;" in said.out
    assert gateway.audit.head in said.out
    assert "the service's own head was not compared" in said.err
    assert "--unit=hybridnet" in (gateway.bin / "journalctl.asked").read_text()
    assert main(["audit", "verify", "--head", gateway.audit.head, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["whole"], told["compared"], told["head"]) == (True, 3, gateway.audit.head)


def test_names_and_everybody_are_not_asked_for_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rotate", "--all", "spoke-1"]) == 2
    assert "either names or --all" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["", "abc", "F" * 64])
def test_what_is_no_hash_is_wrong_usage_and_no_alarm(head: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--head", head]) == 2
    said = capsys.readouterr()
    assert (said.out, "--head: a hash is 64 digits" in said.err) == ("", True)


def test_what_is_wrong_is_told_with_file_and_line(gateway: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    write(gateway, capsys)
    gateway.path.write_text(gateway.path.read_text().replace("192.0.2.1", "192.0.2.2"))
    assert main(["audit", "verify"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("audit.jsonl line 2: event 2")
    assert said[-1].startswith("NOT as it was written")
    assert main(["audit", "verify", "--json"]) == 1
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["file"], problem["line"]) == ("audit.jsonl", 2)


def test_a_last_line_that_is_gone_is_found(gateway: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    lines = write(gateway, capsys)
    gateway.path.write_text("".join(gateway.path.read_text().splitlines(keepends=True)[:-1]))
    gateway.journal()
    assert main(["audit", "verify"]) == 0
    assert main(["audit", "verify", "--head", gateway.audit.head]) == 1
    gateway.journal(*lines)
    assert main(["audit", "verify"]) == 1
    assert "the journal was told events up to 3, and the log ends with 2" in capsys.readouterr().out


def test_without_a_journal_the_files_are_checked(gateway: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    write(gateway, capsys)
    (gateway.bin / "journalctl.fails").write_text("No journal files were found.\n")
    assert main(["audit", "verify"]) == 0
    assert "the journal was not compared: No journal files were found." in capsys.readouterr().err


def test_a_journal_that_is_broken_in_part_is_compared_as_far_as_it_goes(
    gateway: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = write(gateway, capsys)
    (gateway.bin / "journalctl.fails").write_text("Journal file system@1.journal is truncated, ignoring file.\n")
    gateway.journal(*lines)
    gateway.path.write_text("".join(gateway.path.read_text().splitlines(keepends=True)[:-1]))
    assert main(["audit", "verify"]) == 1
    said = capsys.readouterr()
    assert "the journal was told events up to 3" in said.out
    assert "only as far as it can be read compared: Journal file system@1.journal is truncated" in said.err


def test_many_problems_are_counted(gateway: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(100):
        gateway.audit.write("join", node=f"n-{number}")
    gateway.audit.close()
    gateway.path.write_text(gateway.path.read_text().replace('"join"', '"left"'))
    capsys.readouterr()
    assert main(["audit", "verify"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 22
    assert said[20] == "and 80 more"


def test_events_are_shown_on_one_line_each_without_control_characters(
    gateway: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    write(gateway, capsys)
    assert main(["audit", "show"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert said.isascii()
    assert all(character == "\n" or character.isprintable() for character in said)
    assert [line.split()[1] for line in lines] == ["join", "refuse", "leave"]
    assert lines[0].endswith("node=burst-1 address=10.100.2.130")
    assert lines[0].startswith("2027-01-15T08:00:00.000Z ")


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["-n", "1"], [3]),
        (["--event", "join"], [1]),
        (["--node", "burst-1"], [1, 3]),
        (["--node", "burst-1", "-n", "1"], [3]),
        (["--node", "nobody"], []),
    ],
)
def test_what_is_shown_can_be_chosen(
    gateway: Machine, capsys: pytest.CaptureFixture[str], words: list[str], numbers: list[int]
) -> None:
    write(gateway, capsys)
    assert main(["audit", "show", "--json", *words]) == 0
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == numbers


def test_who_asks_for_what_is_not_there_is_told_what_there_is(
    gateway: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    write(gateway, capsys)
    assert main(["audit", "show", "--event", "joined"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no such event; the log has events of these kinds: join, leave, refuse\n")


def test_who_cannot_be_answered_is_told_why(
    gateway: Machine, stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.path.unlink(missing_ok=True)
    assert main(["audit", "verify"]) == 1
    assert "there is no audit log" in capsys.readouterr().err
    assert main(["audit", "show", "-n", "0"]) == 2
    assert "-n" in capsys.readouterr().err

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("node.command.audit.events", denied)
    assert main(["audit", "show"]) == 1
    assert "sudo" in capsys.readouterr().err
    write_config(gateway.files, stack, "spoke", "10.100.0.1:8443")
    assert main(["audit", "show"]) == 1
    assert "only gateways" in capsys.readouterr().err
