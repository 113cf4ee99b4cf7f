"""The driver chooses an engine, keeps the engines' states apart, and reads what they did."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.driver import PulumiCli, SmallEngine, choose, counts_in, exports_change_in
from localcloud.fabric.process import wait_until
from localcloud.stacks import DriverError, Stack, copy_config
from tests.localcloud.engine_world import SALT, World, serving

FAKE_CLI = """#!/bin/sh
echo "$@" >> "$FAKE_LOG"
case "$1 $2" in
  "version ") echo v9.9.9 ;;
  "stack ls") echo "${FAKE_STACKS:-[]}" ;;
  "stack init") echo "encryptionsalt: made" > "$5/Pulumi.dev.yaml" ;;
  "stack output") echo '{"serial": "s"}' ;;
  *)
    printf 'doing\\nResources:\\n    + 2 created\\n    +-1 replaced\\n    3 unchanged\\n\\nDuration: 1s\\n'
    exit "${FAKE_STATUS:-0}" ;;
esac
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        world.program('a = Box("a", size=1, key=Output.secret("hush"))\npulumi.export("key", a.key)')
        yield world


@pytest.fixture
def stack(world: World) -> Stack:
    environment = {**world.environment, "PATH": "/usr/bin:/bin"}
    return Stack(world.project, "dev", world.directory / "instance", environment)


@pytest.fixture
def fake(stack: Stack, tmp_path: Path) -> Stack:
    """The stack with a `pulumi` on PATH that writes down what it is asked."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "pulumi").write_text(FAKE_CLI)
    (directory / "pulumi").chmod(0o755)
    log = {"FAKE_LOG": str(tmp_path / "log"), "PATH": f"{directory}:/usr/bin:/bin"}
    return replace(stack, environment={**stack.environment, **log})


def asked(fake: Stack) -> list[str]:
    return Path(fake.environment["FAKE_LOG"]).read_text().splitlines()


def test_the_cli_is_chosen_where_it_is_on_path(stack: Stack, fake: Stack) -> None:
    assert isinstance(choose(stack), SmallEngine)
    assert "small engine" in choose(stack).description
    chosen = choose(fake)
    assert isinstance(chosen, PulumiCli)
    assert "pulumi CLI v9.9.9" in chosen.description


def test_the_small_engine_does_all_operations(world: World, stack: Stack) -> None:
    output = io.StringIO()
    engine = choose(stack, output)
    before = {path.name: path.read_bytes() for path in world.project.iterdir()}
    assert (engine.preview().counts, engine.preview().changes) == ({"create": 2}, True)
    assert engine.up().counts == {"create": 2}
    assert engine.up().counts == {"unchanged": 2}
    assert not engine.preview().changes
    assert engine.outputs() == {"key": "[secret]"}
    assert engine.outputs(show_secrets=True) == {"key": "hush"}
    world.toy.boxes["box-1"]["size"] = 3
    assert engine.refresh().counts == {"refresh": 1, "unchanged": 1}
    assert engine.destroy().counts == {"delete": 2}
    assert not world.toy.boxes
    assert "toy:index:Box a created" in output.getvalue()
    assert "hush" not in output.getvalue()
    assert {path.name: path.read_bytes() for path in world.project.iterdir() if path.is_file()} == before


def test_a_failure_is_an_outcome(world: World, stack: Stack) -> None:
    output = io.StringIO()
    world.program('Box("a", refuse="red")')
    assert not choose(stack, output).up().succeeded
    assert "red is not liked" in output.getvalue()


def test_commands_run_behind_the_prefix(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "prefix-log"
    wrapper = tmp_path / "enter"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec "$@"\n')
    wrapper.chmod(0o755)
    engine = choose(replace(stack, prefix=(str(wrapper),)), io.StringIO())
    assert engine.preview().succeeded
    assert "localcloud.engine preview" in log.read_text()


def test_the_cli_gets_the_configuration_copy_and_a_stack(fake: Stack) -> None:
    outcome = choose(fake, io.StringIO()).up()
    assert outcome.counts == {"create": 2, "replace": 1, "unchanged": 3}
    listed, made, up = asked(fake)
    assert listed == "stack ls --json"
    assert made.startswith("stack init dev --cwd ")
    assert str(fake.project) not in made, "stack init writes into the project it is given"
    assert f"--config-file {fake.config_file}" in up
    assert "--yes" in up
    assert "--non-interactive" in up
    assert fake.owner_file.read_text() == "pulumi"


def test_the_cli_makes_no_stack_twice(fake: Stack) -> None:
    known = replace(fake, environment={**fake.environment, "FAKE_STACKS": '[{"name": "organization/toys/dev"}]'})
    choose(known, io.StringIO()).preview()
    assert not [line for line in asked(known) if line.startswith("stack init")]


def test_a_failure_of_the_cli_is_an_outcome(fake: Stack) -> None:
    failing = replace(fake, environment={**fake.environment, "FAKE_STATUS": "255"})
    assert not choose(failing, io.StringIO()).up().succeeded
    assert choose(failing, io.StringIO()).outputs() == {"serial": "s"}


def test_each_engine_refuses_the_others_state(world: World, stack: Stack, fake: Stack) -> None:
    assert choose(stack, io.StringIO()).up().succeeded
    for act in ("preview", "up", "destroy", "outputs"):
        with pytest.raises(DriverError, match="make down"):
            getattr(choose(fake, io.StringIO()), act)()
    assert choose(stack, io.StringIO()).destroy().succeeded
    assert choose(fake, io.StringIO()).up().succeeded
    with pytest.raises(DriverError, match="was made with the pulumi CLI"):
        choose(stack, io.StringIO()).up()


def test_what_the_cli_made_by_hand_is_the_clis(stack: Stack) -> None:
    checkpoint = stack.backend / ".pulumi" / "stacks" / "toys" / "dev.json"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text(json.dumps({"checkpoint": {"latest": {"resources": [{}]}}}))
    with pytest.raises(DriverError, match="was made with the pulumi CLI"):
        choose(stack, io.StringIO()).up()
    checkpoint.write_text(json.dumps({"checkpoint": {"latest": {}}}))
    assert choose(stack, io.StringIO()).preview().succeeded


def test_a_creation_that_broke_off_is_told_with_the_ids_that_are_known(world: World, stack: Stack, fake: Stack) -> None:
    small = choose(stack, io.StringIO())
    assert small.up().succeeded
    assert small.broken_off() == {}
    state = next(stack.state.glob("*/dev.json"))
    document = json.loads(state.read_text())
    (urn,) = (one["urn"] for one in document["deployment"]["resources"] if one["urn"].endswith("::a"))
    base = {
        "base": document["localcloud"]["journal"],
        "salt": document["deployment"]["secrets_providers"]["state"]["salt"],
    }
    begun = {"begin": "creating", "urn": urn, "slot": 7}
    state.with_suffix(".journal").write_text(f"{json.dumps(base)}\n{json.dumps(begun)}\n")
    assert small.broken_off() == {urn: {"box-1"}}
    checkpoint = fake.backend / ".pulumi" / "stacks" / "toys" / "dev.json"
    checkpoint.parent.mkdir(parents=True)
    pending = [{"type": "creating", "resource": {"urn": "u"}}, {"type": "deleting", "resource": {"urn": "v"}}]
    listed = [{"urn": "u", "id": "1"}, {"urn": "v", "id": "2"}, {"urn": "component"}]
    checkpoint.write_text(json.dumps({"checkpoint": {"latest": {"pending_operations": pending, "resources": listed}}}))
    assert choose(fake, io.StringIO()).broken_off() == {"u": {"1"}}


class Interrupted(io.StringIO):
    """The user interrupts when the first line is shown."""

    def write(self, text: str) -> int:
        if not self.tell():
            super().write(text)
            raise KeyboardInterrupt
        return super().write(text)


def test_an_interrupted_engine_ends_what_it_has_begun_and_only_then_the_command_ends(
    fake: Stack, tmp_path: Path
) -> None:
    slow = """#!/bin/sh
[ "$1" = up ] || { echo '[{"name": "dev"}]'; exit; }
trap 'echo "1 signal"; exit 1' INT
echo begun
while :; do sleep 0.02; done
"""
    output = Interrupted()
    (tmp_path / "bin/pulumi").write_text(slow)
    with pytest.raises(KeyboardInterrupt):
        choose(fake, output).up()
    assert output.getvalue() == "begun\n1 signal\n"


def test_an_engine_that_was_left_alone_ends_what_it_has_begun(fake: Stack, tmp_path: Path) -> None:
    """Nobody reads what it says any more, which must not be its end."""
    slow = """#!/bin/sh
[ "$1" = up ] || { echo '[{"name": "dev"}]'; exit; }
trap 'for n in 1 2 3; do /bin/echo line || exit; done; mv "$LEFT.begun" "$LEFT"; exit' TERM
echo $$ > "$LEFT.begun"
while :; do sleep 0.02; done
"""
    (tmp_path / "bin/pulumi").write_text(slow)
    left = tmp_path / "left"
    stack = replace(
        fake, environment={**fake.environment, "LEFT": str(left)}, prefix=("setpriv", "--pdeathsig", "TERM")
    )
    child = os.fork()
    if not child:
        choose(stack, io.StringIO()).up()
        os._exit(1)
    assert wait_until(left.with_suffix(".begun").exists, 30)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert wait_until(left.exists, 30)


def test_locks_of_dead_processes_are_dropped_and_those_of_living_ones_kept(fake: Stack) -> None:
    locks = fake.backend / ".pulumi" / "locks" / "organization" / "toys" / "dev"
    locks.mkdir(parents=True)
    (locks / "dead.json").write_text(json.dumps({"pid": 2**22 + 1}))
    (locks / "alive.json").write_text(json.dumps({"pid": os.getpid()}))
    choose(fake, io.StringIO()).preview()
    assert [path.name for path in locks.iterdir()] == ["alive.json"]


def test_the_configuration_copy_keeps_its_own_salt_and_nothing_else(world: World, stack: Stack) -> None:
    world.config("config: {toys:a: 1}\n")
    stack.instance.mkdir()
    stack.config_file.write_text("encryptionsalt: own\nconfig: {toys:a: 0}\n")
    copy_config(stack)
    assert stack.config_file.read_text() == "encryptionsalt: own\nconfig: {toys:a: 1}\n"
    assert stat.S_IMODE(stack.config_file.stat().st_mode) == 0o600
    world.config(f"encryptionsalt: {SALT}\n")
    copy_config(stack)
    assert stack.config_file.read_text() == f"encryptionsalt: {SALT}\n"


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Resources:\n    + 5 to create\n", {"create": 5}),
        ("Resources:\n    ~ 1 updated\n    - 2 deleted\n    7 unchanged\n\nDuration: 3s\n",
         {"update": 1, "delete": 2, "unchanged": 7}),
        ("x\nResources:\n    1 unchanged\n\nagain\nResources:\n    +-3 to replace\n    4 changes. 2 unchanged\n",
         {"replace": 3, "unchanged": 2}),
        ("error: no such thing\n", {}),
    ],
)  # fmt: skip
def test_counts_are_read_from_the_summary(text: str, counts: dict[str, int]) -> None:
    assert counts_in(text) == counts


def test_an_export_that_changes_alone_is_a_change(world: World, stack: Stack) -> None:
    output = io.StringIO()
    small = choose(stack, output)
    assert small.up().succeeded
    assert not small.preview().changes
    world.program('a = Box("a", size=1, key=Output.secret("hush"))\npulumi.export("key", a.key)\npulumi.export("n", 1)')
    outcome = small.preview()
    assert (outcome.changes, outcome.counts) == (True, {"unchanged": 2}), output.getvalue()
    outcome = small.up()
    assert (outcome.changes, outcome.counts) == (True, {"unchanged": 2}), output.getvalue()
    assert not small.up().changes


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("    --outputs:--\n  + n: 1\nResources:\n    2 unchanged\n", True),
        ("Outputs:\n  ~ n: 1 => 2\n\nResources:\n    2 unchanged\n", True),
        ("Outputs:\n    a: 1\n  ~ n: 1 => 2\n\nResources:\n    2 unchanged\n", True),
        ("Outputs:\n    a: {\n        b: 1\n    }\n  + n: 1\n\nResources:\n    2 unchanged\n", True),
        ("Outputs:\n    n: 1\n\nResources:\n    2 unchanged\n", False),
        ("Outputs:\n    n: a text\n        - of several\n\nResources:\n  ~ 2 of another kind\n", False),
        ("Resources:\n    2 unchanged\n", False),
    ],
)
def test_changed_exports_are_read_from_either_engines_words(text: str, change: bool) -> None:
    assert exports_change_in(text) is change


@pytest.mark.pulumi_cli
def test_the_real_cli_does_all_operations_and_changes_no_file_of_the_project(world: World, stack: Stack) -> None:
    found = shutil.which("pulumi")
    assert found
    path = f"{Path(found).parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
    real = replace(stack, environment={**stack.environment, "PATH": path})
    (world.project / "__pycache__").mkdir(exist_ok=True)
    before = {path.name: path.read_bytes() for path in world.project.iterdir() if path.is_file()}
    output = io.StringIO()
    cli = choose(real, output)
    assert isinstance(cli, PulumiCli)
    assert cli.preview().counts == {"create": 2}
    assert cli.up().counts == {"create": 2}, output.getvalue()
    assert cli.up().counts == {"unchanged": 2}
    assert cli.outputs() == {"key": "[secret]"}
    assert cli.outputs(show_secrets=True) == {"key": "hush"}
    with pytest.raises(DriverError, match="make down"):
        choose(stack, output).up()
    assert cli.destroy().counts == {"delete": 2}
    assert not world.toy.boxes
    assert {path.name: path.read_bytes() for path in world.project.iterdir() if path.is_file()} == before
    assert choose(stack, output).up().succeeded
