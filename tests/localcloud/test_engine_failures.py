"""What happens when things go wrong: the state keeps what was done, the next run repairs, the user is told plainly."""

from __future__ import annotations

import fcntl
import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcloud.engine_world import World, changes, serving


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        yield world


def test_a_refused_input_is_told_and_nothing_is_made(world: World) -> None:
    world.program('Box("a", refuse="blue")\nBox("b", O(depends_on=[Box("c")]))')
    for operation in ("preview", "up"):
        ran = world.engine(operation)
        assert ran.status == 1
        assert "toy:index:Box a: error: refuse: blue is not liked" in ran.text
        assert "Traceback" not in ran.text
        assert "Resource monitor" not in ran.text
    assert not world.toy.boxes or set(world.state()) <= {"toys-dev", "b", "c"}


def test_after_a_failure_the_rest_is_kept_and_the_next_run_goes_on(world: World) -> None:
    program = 'a = Box("a")\nb = Box("b", breaks={breaks}, other=a.serial)\nBox("c", other=b.serial)'
    world.program(program.format(breaks=True))
    ran = world.engine("up")
    assert ran.status == 1
    assert "no space left for it" in ran.text
    assert list(world.toy.boxes) == ["box-1"]
    assert {"a"} <= set(world.state())
    assert "b" not in world.state()
    document = world.json("up", program.format(breaks=False))
    assert changes(document) == {"b": "create", "c": "create"}
    assert [box["serial"] for box in world.toy.boxes.values()] == ["serial-1", "serial-2", "serial-3"]


def test_nothing_is_deleted_when_the_program_fails(world: World) -> None:
    world.up('Box("a")\npulumi.export("x", 1)')
    ran = world.program('raise ValueError("no such site")') or world.engine("up")
    assert ran.status == 1
    assert "ValueError: no such site" in ran.text
    assert "language_host" not in ran.text, "the traceback begins in the program"
    assert list(world.toy.boxes) == ["box-1"]
    assert world.outputs() == {"x": 1}


def test_a_run_error_is_told_without_a_traceback(world: World) -> None:
    world.program('raise pulumi.RunError("adminCidrs: 0.0.0.0/0 lets everybody in")')
    ran = world.engine("preview")
    assert ran.status == 1
    assert "error: adminCidrs: 0.0.0.0/0 lets everybody in" in ran.text
    assert "Traceback" not in ran.text


def test_an_exit_in_the_program_is_a_failure(world: World) -> None:
    world.program('Box("a")\nimport sys\nprint("giving up")\nsys.exit(3)')
    ran = world.engine("preview")
    assert (ran.status, "giving up" in ran.text) == (1, True), ran.text


def test_a_logged_error_is_a_failure(world: World) -> None:
    world.program('pulumi.log.error("that is wrong")')
    ran = world.engine("up")
    assert (ran.status, "that is wrong" in ran.text) == (1, True)


def test_a_failed_deletion_is_tried_again(world: World) -> None:
    world.up('a = Box("a", sticky=True)\nBox("b", other=a.serial)')
    ran = world.engine("destroy")
    assert ran.status == 1
    assert "it is stuck to the floor" in ran.text
    assert set(world.state()) == {"toys-dev", "a"}
    world.toy.boxes["box-1"]["sticky"] = False
    assert world.engine("destroy").status == 0


def test_a_failed_replacement_keeps_the_old_one(world: World) -> None:
    world.up('Box("a", shape="round")')
    world.program('Box("a", shape="square", breaks=True)')
    assert world.engine("up").status == 1
    assert list(world.toy.boxes) == ["box-1"]
    assert world.state()["a"]["id"] == "box-1"
    assert changes(world.json("up", 'Box("a", shape="square")')) == {"a": "replace"}
    assert list(world.toy.boxes) == ["box-2"]


def test_a_replacement_that_was_deleted_first_is_made_by_the_next_run(world: World) -> None:
    world.up('Box("a", shape="fixed-1")')
    world.program('Box("a", shape="fixed-2", breaks=True)')
    assert world.engine("up").status == 1
    assert not world.toy.boxes
    assert world.state()["a"]["pendingReplacement"] is True
    document = world.json("up", 'Box("a", shape="fixed-2")')
    assert changes(document) == {"a": "replace"}
    assert [call for call in world.toy.calls if call == "delete a"] == ["delete a"], "not deleted twice"
    assert list(world.toy.boxes) == ["box-2"]


def test_the_old_one_of_a_replacement_is_deleted_by_the_next_run(world: World) -> None:
    world.up('Box("a", shape="round", sticky=True)')
    world.program('Box("a", shape="square")')
    assert world.engine("up").status == 1
    assert list(world.toy.boxes) == ["box-1", "box-2"]
    world.toy.boxes["box-1"]["sticky"] = False
    assert changes(world.json("up")) == {"a": "delete"}
    assert list(world.toy.boxes) == ["box-2"]
    assert world.json("up")["changeSummary"] == {"same": 2}


def _kill_at(world: World, moment: str) -> None:
    """Kills the engine's process in the middle of `up`, when the provider is at a moment (`create b`, `created b`)."""
    process = world.start("up")

    def kill() -> None:
        del world.toy.traps[moment]
        process.kill()

    world.toy.traps[moment] = kill
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_while_creating_the_next_run_says_so_and_goes_on(world: World) -> None:
    world.program('a = Box("a")\nb = Box("b", other=a.serial)')
    _kill_at(world, "create a")
    ran = world.up()
    assert "Box a: warning: the last operation broke off while creating it" in ran.text
    assert world.json("up")["changeSummary"] == {"same": 3}
    assert "broke off" not in world.engine("up").text


def test_killed_after_a_step_nothing_of_it_is_lost(world: World) -> None:
    world.up('Box("x")')
    world.program('Box("x")\na = Box("a")\nb = Box("b", other=a.serial)')
    _kill_at(world, "create b")
    journal = world.state_file.with_suffix(".journal")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    document = world.json("up")
    assert changes(document) == {"b": "create"}, "a was made and recorded before the crash"


@pytest.mark.parametrize("after", [False, True])
def test_killed_while_updating_the_update_is_done_again(world: World, after: bool) -> None:
    world.up('Box("a", size=1)')
    world.program('Box("a", size=2)')
    _kill_at(world, "updated a" if after else "update a")
    assert changes(world.json("up")) == {"a": "update"}
    assert world.toy.boxes["box-1"]["size"] == 2.0


def test_killed_while_deleting_the_resource_is_still_in_the_state(world: World) -> None:
    world.up('Box("a")\nBox("b")')
    world.program('Box("b")')
    _kill_at(world, "delete a")
    assert changes(world.json("up")) == {"a": "delete"}
    assert len(world.toy.boxes) == 1


def test_an_unfinished_journal_line_never_happened(world: World) -> None:
    world.up('Box("a")')
    base = json.loads(world.state_file.read_text())
    journal = world.state_file.with_suffix(".journal")
    salt = base["deployment"]["secrets_providers"]["state"]["salt"]
    journal.write_text(json.dumps({"base": base["localcloud"]["journal"], "salt": salt}) + '\n{"drop": [0, 1')
    assert world.json("up")["changeSummary"] == {"same": 2}


def test_a_journal_of_an_older_state_is_ignored(world: World) -> None:
    world.up('Box("a")')
    journal = world.state_file.with_suffix(".journal")
    salt = json.loads(world.state_file.read_text())["deployment"]["secrets_providers"]["state"]["salt"]
    journal.write_text(json.dumps({"base": "older", "salt": salt}) + '\n{"drop": [0, 1]}\n')
    assert world.json("up")["changeSummary"] == {"same": 2}


@pytest.mark.parametrize(
    "text", ["{", '{"version": 2}', "[]", '{"version": 3, "deployment": {"resources": [{"x": 1}]}}']
)
def test_a_corrupt_state_is_refused_and_left_alone(world: World, text: str) -> None:
    world.up('Box("a")')
    world.state_file.write_text(text)
    ran = world.engine("up")
    assert ran.status == 1
    assert "error: " in ran.text
    assert "Traceback" not in ran.text
    assert world.state_file.read_text() == text
    assert list(world.toy.boxes) == ["box-1"]


def test_a_kill_after_a_kill_loses_nothing_either(world: World) -> None:
    world.up('z = Box("z")\na = Box("a", O(depends_on=[z]))\nb = Box("b")')
    world.program(
        'a = Box("a")\nc = Box("c", size=1, O(depends_on=[a]))\nd = Box("d", other=c.serial)'.replace(
            ", size=1, O(depends_on=[a])", ", O(depends_on=[a]), size=1"
        )
    )
    _kill_at(world, "create d")
    world.program('a = Box("a")\nc = Box("c", O(depends_on=[a]), size=2)\ne = Box("e", other=c.serial)')
    _kill_at(world, "create e")
    document = world.json("up")
    assert changes(document) == {"e": "create", "z": "delete", "b": "delete"}
    assert {name: one["id"] for name, one in world.state().items() if "id" in one} == {
        "a": "box-2" if world.toy.boxes.get("box-2") else "box-3",
        "c": "box-4",
        "e": "box-7",
    }
    assert world.toy.boxes["box-4"]["size"] == 2.0


def test_two_operations_at_once_are_refused(world: World) -> None:
    world.up('Box("a")')
    lock = world.state_file.with_suffix(".lock")
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = world.engine("up")
    assert ran.status == 1
    assert "another operation is running on this stack" in ran.text


def test_an_interrupt_ends_the_program_and_keeps_what_was_made(world: World) -> None:
    world.program("""
        import time
        a = Box("a")
        a.serial.apply(lambda serial: print("made", serial, flush=True))
        b = Box("b", other=a.serial.apply(lambda serial: time.sleep(600)))
    """)
    process = world.start("up")
    assert process.stdout is not None
    for line in process.stdout:
        if "made serial-1" in line:
            break
    process.send_signal(signal.SIGINT)
    text = process.stdout.read()
    process.communicate()
    assert process.returncode == 130, text
    assert "interrupted; what was done so far is recorded" in text
    assert world.state()["a"]["id"] == "box-1"


def test_the_state_is_for_its_owner_only(world: World) -> None:
    world.up('Box("a")')
    for path in world.state_file.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(world.state_file.parent.stat().st_mode) == 0o700


def test_an_unattached_provider_is_told(world: World) -> None:
    world.program('Box("a")')
    ran = world.engine("preview", PULUMI_DEBUG_PROVIDERS="tls:1")
    assert ran.status == 1
    assert "no provider for package 'toy' is attached (PULUMI_DEBUG_PROVIDERS has: tls)" in ran.text


def test_a_provider_that_is_gone_is_told(world: World) -> None:
    world.program('Box("a")')
    ran = world.engine("preview", PULUMI_DEBUG_PROVIDERS="toy:1")
    assert ran.status == 1
    assert "the provider of toy does not answer" in ran.text


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ('import pulumi\np = pulumi.ProviderResource("toy", "p")', "pulumi:providers:toy"),
        ('Box("a", O(transforms=[lambda args: None]))', "transforms"),
        ("pulumi.runtime.register_resource_transform(lambda args: None)", "transforms"),
        ('Box("a", O(replace_with=[Box("b")]))', "replace_with"),
        ('Box("a", O(hide_diffs=["x"]))', "hide_diffs"),
        (
            'Box("a", O(hooks=pulumi.ResourceHookBinding(after_create=[pulumi.ResourceHook("h", lambda args: None)])))',
            "hooks",
        ),
        ('Box("a", asset=pulumi.StringAsset("x"))', "assets"),
        ('pulumi.runtime.call("toy:index:Box/method", {}, Box("a"))', "remote components"),
        ('pulumi.ComponentResource("toy:index:Far", "f", {}, None, True)', "remote components"),
        ('pulumi.runtime.settings.require_pulumi_version(">=3.0.0")', "the small engine is none"),
    ],
    ids=lambda value: value if len(value) < 30 else None,
)
def test_what_the_engine_does_not_do_is_an_error(world: World, program: str, said: str) -> None:
    world.program(program)
    ran = world.engine("up")
    assert ran.status == 1, ran.text
    assert said in ran.text
