"""The audit log as it is written: its chain, its files, the journal, and what it does with what it finds."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.audit.chain import ORIGIN
from node.audit.verify import check, events
from node.gateway import audit as auditing
from node.gateway.audit import Audit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audit(path: Path) -> Iterator[Audit]:
    made = Audit(path, lambda: 1_800_000_000.123)
    yield made
    made.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, audit: Audit) -> Audit:
    """A log whose files have room for some ten events."""
    monkeypatch.setattr(auditing, "MAX_BYTES", 2000)
    return audit


def again(audit: Audit, path: Path) -> Audit:
    """The log after a restart."""
    audit.close()
    return Audit(path, lambda: 1_800_000_000.123)


def never(_: float) -> None:
    """Nobody is writing."""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def nodes(path: Path) -> list[object]:
    """What the events of all files say of ``node``."""
    return [each["node"] for each in events(path)]


def test_each_line_is_tied_to_the_one_before_by_what_anybody_can_compute(audit: Audit, path: Path) -> None:
    audit.write("join", node="a", reason=None)
    audit.write("leave", node="a", weight=3)
    first, second = path.read_bytes().splitlines()
    assert json.loads(first) == {
        "number": 1,
        "time": "2027-01-15T08:00:00.123Z",
        "event": "join",
        "version": 1,
        "previous": ORIGIN,
        "oldest": 1,
        "node": "a",
        "hash": json.loads(first)["hash"],
    }
    body, _, _ = second.rpartition(b", ")
    expected = hashlib.sha256(json.loads(first)["hash"].encode() + b"\n" + body + b"}").hexdigest()
    assert json.loads(second)["hash"] == expected == audit.head
    assert audit.events == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_restart_goes_on_with_the_chain(audit: Audit, path: Path) -> None:
    audit.write("join", node="a")
    head = audit.head
    later = again(audit, path)
    assert (later.events, later.head) == (1, head)
    later.write("leave", node="a")
    assert [line["number"] for line in later.recent] == [1, 2]
    later.close()
    assert check(path).problems == []
    assert "previous" not in lines(path)[1]


def test_files_go_on_with_the_chain_and_the_oldest_go(
    small: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "KEEP", 3)
    for number in range(200):
        before = path.read_bytes() if path.exists() else b""
        small.write("join", node=f"n-{number}")
        assert path.read_bytes().startswith(before) or path.with_name("audit.jsonl.1").read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["audit.jsonl"] + [
        f"audit.jsonl.{n}" for n in (1, 2, 3)
    ]
    outcome = check(path)
    assert outcome.problems == []
    assert (outcome.files, outcome.last, outcome.events) == (4, 200, 201 - outcome.first)
    assert outcome.first > 1
    assert nodes(path) == [f"n-{number - 1}" for number in range(outcome.first, 201)]


def test_a_file_that_rotation_has_not_removed_is_missed(
    small: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "KEEP", 3)
    for number in range(200):
        small.write("join", node=f"n-{number}")
    oldest = path.with_name("audit.jsonl.3")
    first = lines(oldest)[0]["number"]
    oldest.unlink()
    [problem] = check(path).problems
    assert problem.text.startswith(f"events {first} to ")


def test_files_that_somebody_removed_are_missed_after_further_ones_were_begun(
    small: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "KEEP", 3)

    def write_files(count: int) -> None:
        for _ in range(count):
            before = path.stat().st_ino if path.exists() else None
            while not path.exists() or path.stat().st_ino == before:
                small.write("join", node="x")

    write_files(4)
    assert check(path).problems == []
    path.with_name("audit.jsonl.3").unlink()
    path.with_name("audit.jsonl.2").unlink()
    for _ in range(2):
        write_files(1)
        [problem] = check(path).problems
        assert "their files were still kept" in problem.text
    write_files(3)
    assert check(path).problems == [], "what told of them was rotated out"


@pytest.mark.parametrize("at", range(12))
def test_a_crash_while_files_are_renamed_loses_no_event(
    small: Audit, path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(auditing, "KEEP", 3)
    replace, unlink, steps = Path.replace, Path.unlink, iter(range(10**6))
    state = {"armed": False}

    def crashing(real: Any) -> Any:
        def call(self: Path, *args: Any) -> Any:
            if state["armed"] and next(steps) == at:
                raise KeyboardInterrupt
            return real(self, *args)

        return call

    for number in range(60):
        small.write("join", node=f"n-{number}")
    monkeypatch.setattr(Path, "replace", crashing(replace))
    monkeypatch.setattr(Path, "unlink", crashing(unlink))
    state["armed"] = True
    written = 60
    try:
        for _ in range(60):
            small.write("join", node=f"n-{written}")
            written += 1
    except KeyboardInterrupt:
        pass
    state["armed"] = False
    later = again(small, path)
    for number in range(written, written + 30):
        later.write("join", node=f"n-{number}")
    later.close()
    outcome = check(path)
    assert outcome.problems == []
    assert later.events == outcome.last
    numbers = sorted({int(str(node)[2:]) for node in nodes(path)})
    assert numbers == list(range(numbers[0], written + 30))


def test_a_line_that_a_power_cut_tore_is_cut_off_and_told(
    audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.audit.verify.time.sleep", never)
    audit.write("join", node="a")
    audit.write("join", node="b")
    audit.close()
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in range(len(whole) - 1):
        path.write_bytes(whole[:cut])
        has_first = cut >= second
        torn = cut - second if has_first else cut
        assert bool(check(path).problems) == bool(torn), f"{cut} bytes"
        later = Audit(path)
        later.write("leave", node="c")
        later.close()
        assert check(path).problems == [], f"{cut} bytes"
        told = lines(path)
        assert [line["event"] for line in told] == ["join"] * has_first + ["repaired"] * bool(torn) + ["leave"]
        if torn:
            assert told[-2]["dropped"] == torn


def test_lines_behind_the_chain_are_left_and_told(audit: Audit, path: Path) -> None:
    audit.write("join", node="a")
    audit.close()
    with path.open("a") as file:
        file.write('{"event": "from an older release"}\n')
    later = Audit(path)
    later.close()
    assert json.loads(path.read_text().splitlines()[-1])["strange"] == 1
    assert [(each.file, each.line) for each in check(path).problems] == [("audit.jsonl", 2)]


def test_what_an_older_release_wrote_is_put_aside(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        path.write_text('{"time": "2026-11-01T00:00:00.000Z", "event": "join"}\n')
        made = Audit(path)
        made.write("join", node="a")
        made.close()
        path.with_name("kept").write_bytes(path.read_bytes())
    aside = path.with_name("unchained-audit.jsonl")
    assert aside.read_text().count("\n") == path.with_name("unchained-2-audit.jsonl").read_text().count("\n") == 1
    assert str(aside) in capsys.readouterr().err
    assert [line["event"] for line in lines(path)] == ["join"]
    assert check(path).problems == []


def test_a_log_that_cannot_be_written_stops_nobody_and_counts_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nowhere"
    audit = Audit(folder / "audit.jsonl")
    audit.write("join", node="a")
    audit.write("join", node="b")
    folder.mkdir()
    audit.write("join", node="c")
    audit.write("join", node="d")
    audit.close()
    assert capsys.readouterr().err.count("the audit log cannot be written") == 1
    assert [(line["node"], line.get("lost")) for line in lines(folder / "audit.jsonl")] == [("c", 2), ("d", None)]
    assert check(folder / "audit.jsonl").problems == []


def test_a_full_disk_leaves_whole_lines(audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit.write("join", node="a")
    write = os.write

    def little(descriptor: int, line: bytes) -> int:
        return write(descriptor, line[:10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", little)
        audit.write("join", node="b")
    audit.write("join", node="c")
    assert [(line["node"], line.get("lost")) for line in lines(path)] == [("a", None), ("c", 1)]
    assert check(path).problems == []


def test_the_journal_has_each_line_when_it_is_on_the_disk(
    audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synced: list[int] = []

    def sync(_: int) -> None:
        synced.append(path.read_bytes().count(b"\n"))

    monkeypatch.setattr(os, "fdatasync", sync)
    audit.write("join", node="a", reason="two\nlines \x1b[31m\x7f", weight=3)
    audit.write("leave", node="b")
    audit.close()
    heads = [line["hash"] for line in lines(path)]
    assert capsys.readouterr().err.splitlines() == [
        f'audit 1 {heads[0]} join node=a reason="two\\nlines \\u001b[31m\\u007f" weight=3',
        f"audit 2 {heads[1]} leave node=b",
    ]
    assert synced[-1] == 2


def test_the_logs_own_fields_are_nobody_elses(audit: Audit) -> None:
    with pytest.raises(ValueError, match="number"):
        audit.write("roster", number=3)


def test_a_node_whose_address_changes_all_the_time_has_few_lines(audit: Audit) -> None:
    for number in range(100):
        audit.endpoint("spoke-1", f"198.51.100.1:{number}", f"198.51.100.1:{number + 1}")
    audit.endpoint("spoke-2", "198.51.100.2:1", "198.51.100.2:2")
    assert [line["node"] for line in audit.recent].count("spoke-1") == 10
    assert audit.recent[-1]["node"] == "spoke-2"
