"""Policy packs that break, or are none: what the user reads, and that no process is left."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.cli.parser import main
from localcloud.engine.__main__ import main as engine_main
from localcloud.fabric.process import wait_until
from tests.localcloud.engine_world import World, serving
from tests.localcloud.policy_packs import SIZES, judged, write_pack


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        yield world


BROKEN = {
    "raise ValueError('no such table')": (
        "ValueError: no such table", "did not start: its process ended with exit status 1",
    ),
    "import no_such_module": ("No module named 'no_such_module'", "install what it imports"),
    "print('hello')\n" + SIZES: ("printed 'hello' where its port was expected", "standard error"),
    "pass": ("did not start: its process ended with exit status 0", ""),
    "PolicyPack('p', [Each('e', 'E.', lambda args, report: os._exit(3))])": (
        "policy pack p died with exit status 3 while it looked at urn:pulumi:dev::toys::", "nothing more is done",
    ),
    "PolicyPack('p', [Each('e', 'E.', lambda args, report: args.nonsense)])": (
        "policy pack p failed while it looked at urn:pulumi:dev::toys::", "object has no attribute 'nonsense'",
    ),
    "PolicyPack('p', [Whole('e', 'E.', lambda args, report: os._exit(4))])": (
        "policy pack p died with exit status 4 while it looked at the stack", "",
    ),
}  # fmt: skip
"""A pack's program -> what the user reads."""


@pytest.mark.parametrize("source", BROKEN)
def test_a_pack_that_breaks_fails_the_preview_and_says_what_to_do(world: World, source: str) -> None:
    pack = write_pack(world.directory, source)
    world.program('Box("a")')
    ran = judged(world, "preview", pack)
    assert ran.status == 1
    for text in BROKEN[source]:
        assert text in ran.text, ran.text
    assert "Resource monitor" not in ran.text
    assert not world.toy.boxes


def test_what_a_pack_prints_once_it_serves_is_shown(world: World) -> None:
    world.program('Box("a")')
    source = "PolicyPack('p', [Each('e', 'E.', lambda args, report: print('looking at', args.name))])"
    assert "    looking at a\n" in judged(world, "preview", write_pack(world.directory, source)).text


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_no_pack_outlives_its_engine(world: World, how: str, tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    pack = write_pack(world.directory, f"open({str(noted)!r}, 'w').write(str(os.getpid()))\n{SIZES}")
    asked, free = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        free.wait(60)

    world.program('Box("a", size=1)')
    if how == "ends":
        assert judged(world, "preview", pack).status == 0
    else:
        world.toy.traps["check a"] = hold
        process = world.start("preview", "--policy-pack", str(pack))
        try:
            assert asked.wait(60)
            assert Path(f"/proc/{noted.read_text()}").exists()
        finally:
            process.kill()
            process.communicate()
            free.set()
    assert wait_until(lambda: not _runs(int(noted.read_text())), 30, interval=0.05)


UNWILLING = """
import signal
import subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
open({noted!r}, "w").write(str(child.pid))
"""


def test_a_pack_that_does_not_want_to_end_is_ended_with_all_that_it_has_started(world: World, tmp_path: Path) -> None:
    noted = tmp_path / "child"
    world.program('Box("a", size=1)')
    process = world.start(
        "preview", "--policy-pack", str(write_pack(world.directory, UNWILLING.format(noted=str(noted)) + SIZES))
    )
    try:
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, text
    assert wait_until(lambda: not _runs(int(noted.read_text())), 30, interval=0.05)


def _runs(pid: int) -> bool:
    """Whether a process is there and not only its exit status, which this host's first process may not collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_pack_that_does_not_answer_can_be_interrupted(world: World, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    world.program('Box("a")')
    source = f"""
    import threading
    def hang(args, report):
        open({str(asked)!r}, "w").close()
        threading.Event().wait()
    PolicyPack("p", [Each("e", "E.", hang)])
    """
    process = world.start("up", "--policy-pack", str(write_pack(world.directory, source)))
    try:
        assert wait_until(asked.exists, 60, interval=0.05)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, text
    assert "interrupted" in text
    assert "policy pack p failed" not in text
    assert not world.toy.boxes


STUMBLES: dict[str, str] = {
    "a resource": "Each('e', 'E.', lambda args, report: stumble(args))",
    "a remediation": "Each('e', 'E.', lambda args, report: None, Level.REMEDIATE, remediate=stumble)",
    "the stack": "Whole('e', 'E.', lambda args, report: [stumble(one) for one in args.resources] and None)",
}


@pytest.mark.parametrize("over", STUMBLES)
def test_a_pack_that_breaks_over_a_secret_does_not_tell_it(world: World, over: str) -> None:
    world.program('Box("a", key=Output.secret("rosebud"))')
    source = f"""
    def stumble(args):
        if args.name == "a":
            int(args.props["key"])
    PolicyPack("p", [{STUMBLES[over]}])
    """
    ran = judged(world, "preview", write_pack(world.directory, source))
    assert ran.status == 1
    assert "'[secret]'" in ran.text
    assert "rosebud" not in ran.text


def test_what_is_no_pack_is_refused_before_anything_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.program('Box("a")')
    empty = world.directory / "empty"
    empty.mkdir()
    assert f"error: {empty} is no policy pack: it has no PulumiPolicy.yaml" in judged(world, "up", empty).text
    pack = write_pack(world.directory, SIZES, "runtime: nodejs\n")
    assert "the runtime is 'nodejs'; the small engine runs packs in python only" in judged(world, "up", pack).text
    pack = write_pack(world.directory, SIZES, "runtime: {name: python, options: {virtualenv: venv}}\n")
    assert f"there is no {pack}/venv/bin/python" in judged(world, "up", pack).text
    pack = write_pack(world.directory, SIZES)
    ran = judged(world, "up", pack, "--policy-pack-config", "a.json", "--policy-pack-config", "b.json")
    assert "--policy-pack is there once, --policy-pack-config 2 times" in ran.text
    ran = judged(world, "up", pack, "--policy-pack-config", "/nowhere/a.json")
    assert "cannot read /nowhere/a.json: No such file or directory" in ran.text
    assert not world.toy.boxes
    with pytest.raises(SystemExit, match="2"):  # there is nothing to judge
        engine_main(["destroy", "--stack", "dev", "--state", "state", "--policy-pack", str(pack)])
    assert "--policy-pack is for preview and up" in capsys.readouterr().err

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["--dir", str(world.directory / "cloud"), "preview", "--policy-pack", str(empty)]) == 1
    assert f"{empty} is no policy pack: it has no PulumiPolicy.yaml" in capsys.readouterr().err
