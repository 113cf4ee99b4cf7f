"""Every way to tamper with the audit log is found: a changed byte, lines that are removed, moved or inserted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from node.audit.chain import made
from node.audit.verify import check
from node.gateway import audit as auditing
from node.gateway.audit import Audit

EVENTS = 10_000
CHANGES = 25


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten thousand events in several files."""
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "MAX_BYTES", 600_000)
        audit = Audit(path)
        for number in range(EVENTS):
            audit.write("connect", node=f"n-{number % 100}", address=f"10.100.2.{number % 250}", rtt=number / 7)
        audit.close()
    return path


@pytest.fixture
def copy(log: Path, tmp_path: Path) -> Path:
    for each in log.parent.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    return tmp_path / log.name


def files(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir())


def found(path: Path, head: str | None = None) -> list[str]:
    """The files in which something is wrong."""
    return [problem.file for problem in check(path, head=head).problems]


def test_a_whole_log_is_well(log: Path) -> None:
    outcome = check(log)
    assert outcome.problems == []
    assert (outcome.files, outcome.events, outcome.first, outcome.last) == (len(files(log)), EVENTS, 1, EVENTS)
    assert outcome.files > 3


def changed(path: Path, at: int, how: int) -> None:
    """Change the bits ``how`` of the byte ``at``."""
    content = bytearray(path.read_bytes())
    content[at] ^= how
    path.write_bytes(content)


def test_a_byte_that_is_changed_anywhere_is_found(copy: Path, log: Path) -> None:
    dice = random.Random(7)
    for _ in range(CHANGES):
        victim = dice.choice(files(copy))
        at, how = dice.randrange(victim.stat().st_size), dice.randrange(1, 256)
        changed(victim, at, how)
        problems = check(copy).problems
        line = victim.with_name(victim.name).read_bytes()[:at].count(b"\n")
        assert problems, f"byte {at} of {victim.name} with {how}"
        assert problems[0].file == victim.name
        assert abs(problems[0].line - 1 - line) <= 1
        changed(victim, at, how)
    assert check(copy).problems == [], "the changes were undone"
    assert log != copy


def test_every_byte_of_a_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    for number in range(3):
        audit.write("refuse", source="192.0.2.1", status=403, reason=f'it said "{number}"\n')
    audit.close()
    for at in range(path.stat().st_size):
        changed(path, at, 0x20)
        assert check(path).problems, f"byte {at}"
        changed(path, at, 0x20)


def edited(path: Path, edit: Callable[[list[bytes]], Sequence[bytes]]) -> None:
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))


def swapped(one: int, other: int) -> Callable[[list[bytes]], list[bytes]]:
    def edit(lines: list[bytes]) -> list[bytes]:
        lines[one], lines[other] = lines[other], lines[one]
        return lines

    return edit


EDITS: dict[str, Callable[[list[bytes]], Sequence[bytes]]] = {
    "one removed": lambda lines: lines[:700] + lines[701:],
    "the first removed": lambda lines: lines[1:],
    "many removed": lambda lines: lines[:700] + lines[900:],
    "neighbours swapped": swapped(500, 501),
    "far ones swapped": swapped(3, 1200),
    "the first moved": swapped(0, 1),
    "one there twice": lambda lines: [*lines[:600], lines[599], *lines[600:]],
    "one inserted": lambda lines: [*lines[:600], made("0" * 64, {"number": 5, "event": "join"})[0], *lines[600:]],
    "an empty one inserted": lambda lines: [*lines[:600], b"\n", *lines[600:]],
    "one without a hash inserted": lambda lines: [*lines[:600], b'{"event": "join"}\n', *lines[600:]],
    "all removed": lambda _: [],
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("victim", ["audit.jsonl.2", "audit.jsonl.1"])
def test_lines_that_are_removed_moved_or_inserted_are_found(
    copy: Path, victim: str, edit: Callable[[list[bytes]], Sequence[bytes]]
) -> None:
    edited(copy.with_name(victim), edit)
    assert found(copy)[0] in (victim, "audit.jsonl.1", "audit.jsonl")


@pytest.mark.parametrize("count", [1, 2, 500])
def test_last_lines_that_are_removed_are_found_by_the_head_and_by_the_journal(copy: Path, count: int) -> None:
    head = check(copy).head
    assert check(copy, {EVENTS: {head}}, head).problems == []
    edited(copy, lambda lines: lines[:-count])
    assert check(copy).problems == [], "nothing in the files says so"
    assert len(found(copy, head=head)) == 1
    [problem] = check(copy, {EVENTS: {head}}).problems
    assert str(EVENTS) in problem.text
    assert str(EVENTS - count) in problem.text


def test_a_chain_made_anew_is_found_by_the_journal(copy: Path, tmp_path: Path) -> None:
    before = check(copy).head
    for each in files(copy):
        each.unlink()
    audit = Audit(copy)
    for _ in range(3):
        audit.write("join")
    audit.close()
    told = {1: {"a" * 64, audit.recent[0]["hash"]}, EVENTS: {before}}
    texts = [problem.text for problem in check(copy, told).problems]
    assert len(texts) == 2
    assert "event 1" in texts[0]
    assert tmp_path == copy.parent


def test_a_head_of_before_holds_while_its_line_is_there(copy: Path, log: Path) -> None:
    head = check(log).head
    audit = Audit(copy)
    audit.write("join")
    audit.close()
    assert check(copy, head=head).problems == []


@pytest.mark.parametrize("victim", ["audit.jsonl.3", "audit.jsonl.2", "audit.jsonl.1"])
def test_a_file_that_is_removed_is_found(copy: Path, victim: str) -> None:
    copy.with_name(victim).unlink()
    assert found(copy)


def test_a_log_that_is_gone_is_found_by_the_journal(tmp_path: Path) -> None:
    outcome = check(tmp_path / "audit.jsonl", {7: {"a" * 64}})
    assert [problem.file for problem in outcome.problems] == [""]


def test_a_line_that_is_being_written_is_none_that_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    audit = Audit(path)
    audit.write("join")
    audit.write("leave")
    audit.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])

    def pause(_: float) -> None:
        with path.open("ab") as file:
            file.write(whole[-20:])

    monkeypatch.setattr("node.audit.verify.time.sleep", pause)
    assert check(path).problems == []
