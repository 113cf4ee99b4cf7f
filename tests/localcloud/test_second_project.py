"""A stack of another project beside this project's own, in one instance of the local cloud."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from localcloud.cli.console import Console
from localcloud.cli.desk import Choice, chosen, stack_of
from localcloud.cli.parser import main
from localcloud.cli.stack import wait_for_first_boots
from localcloud.cloud import PROJECT, Cloud, LocalCloudError, write_private
from localcloud.driver import Driver, choose
from localcloud.fabric import Fabric
from localcloud.stacks import DriverError, Stack, is_made
from tests.localcloud.engine_world import PRELUDE, World, serving

READING = """
base = pulumi.StackReference("organization/toys/dev")
a = Box("a", size=2, key=base.require_output("key"))
pulumi.export("open", base.require_output("open"))
pulumi.export("key", a.key)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        world.program('Box("a", size=1)\npulumi.export("open", "seen")\npulumi.export("key", Output.secret("hush"))')
        yield world


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Another project, whose program reads the first one's outputs; its stack has the same name and no salt."""
    project = tmp_path / "second"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: consumer\nruntime: python\n")
    (project / "Pulumi.dev.yaml").write_text("config: {}\n")
    (project / "__main__.py").write_text(PRELUDE + READING)
    return project


def both(world: World, second: Path, path: str) -> tuple[Driver, Driver]:
    """Drivers of the two stacks, whose engine is what is on PATH."""
    instance = world.directory / "instance"
    first = Stack(world.project, "dev", instance, {**world.environment, "PATH": path})
    beside = replace(first, project=second, folder=instance / "projects" / "consumer")
    return choose(first, io.StringIO()), choose(beside, io.StringIO())


def live_together(world: World, second: Path, path: str) -> None:
    """Two stacks of one name through their lives: they read each other, and neither touches what is the other's."""
    one, other = both(world, second, path)
    assert not other.preview().succeeded, "there is nothing to refer to yet"
    assert one.up().succeeded
    assert (is_made(one.stack), is_made(other.stack)) == (True, False)
    files = {path.name: path.read_bytes() for path in second.iterdir() if path.is_file()}
    assert other.preview().changes
    assert other.up().succeeded
    assert is_made(other.stack)
    assert other.outputs() == {"open": "seen", "key": "[secret]"}
    assert other.outputs(show_secrets=True)["key"] == "hush"
    assert one.outputs() == {"open": "seen", "key": "[secret]"}
    for driver in (one, other):
        outcome = driver.up()
        assert outcome.succeeded
        assert not outcome.changes
    assert len(world.toy.boxes) == 2
    assert {path.name: path.read_bytes() for path in second.iterdir() if path.is_file()} == files
    assert other.destroy().succeeded
    assert len(world.toy.boxes) == 1
    assert not is_made(other.stack)
    assert one.preview().succeeded


def test_two_stacks_of_one_name_live_together(world: World, second: Path) -> None:
    live_together(world, second, "/usr/bin:/bin")


@pytest.mark.pulumi_cli
def test_two_stacks_of_one_name_live_together_under_the_real_cli(world: World, second: Path) -> None:
    found = shutil.which("pulumi")
    assert found
    live_together(world, second, f"{Path(found).parent}:{Path(sys.executable).parent}:/usr/bin:/bin")


def test_what_broke_off_is_told_to_the_stack_that_it_belongs_to(world: World, second: Path) -> None:
    one, other = both(world, second, "/usr/bin:/bin")
    assert one.up().succeeded
    assert other.up().succeeded
    state = other.stack.state / "consumer" / "dev.json"
    document = json.loads(state.read_text())
    salt = document["deployment"]["secrets_providers"]["state"]["salt"]
    base = {"base": document["localcloud"]["journal"], "salt": salt}
    urn = "urn:pulumi:dev::consumer::toy:index:Box::late"
    begun = {"begin": "creating", "urn": urn, "slot": 9}
    state.with_suffix(".journal").write_text(f"{json.dumps(base)}\n{json.dumps(begun)}\n")
    assert one.broken_off() == {}
    assert other.broken_off() == {urn: set()}
    assert other.up().succeeded
    assert other.broken_off() == {}


def test_one_engine_makes_the_stacks_of_all_projects(world: World, second: Path, tmp_path: Path) -> None:
    one, _ = both(world, second, "/usr/bin:/bin")
    assert one.up().succeeded
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pulumi").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "pulumi").chmod(0o755)
    _, other = both(world, second, f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(DriverError, match="was made with the small engine, but the pulumi CLI"):
        other.preview()


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """An instance with a stack of this project that is up."""
    cloud = Cloud(tmp_path / "cloud")
    cloud.claim()
    Choice("dev", None).remember(cloud)
    write_private(cloud.outputs, "{}")
    return cloud


def test_each_project_has_its_own_choice(cloud: Cloud, second: Path) -> None:
    with pytest.raises(LocalCloudError, match=r"no stack of .*second is up.*--cwd"):
        chosen(cloud, second)
    choice = Choice("qa", second / "Pulumi.dev.yaml", second)
    choice.remember(cloud)
    assert chosen(cloud, second) == choice
    assert chosen(cloud) == Choice("dev", None)
    stack = stack_of(cloud, choice, {})
    assert stack.config_file == cloud.directory / "projects" / "consumer" / "Pulumi.qa.yaml"
    assert (stack.backend, stack.state) == (cloud.backend, cloud.directory / "state")


def test_another_stack_of_the_second_project_is_refused_once_the_first_has_made_something(
    cloud: Cloud, second: Path
) -> None:
    one, other = Choice("dev", None, second), Choice("qa", None, second)
    one.remember(cloud)
    other.check_fits(cloud)
    state = cloud.directory / "state" / "consumer"
    state.mkdir(parents=True)
    (state / "dev.json").write_text("{}")
    one.check_fits(cloud)
    with pytest.raises(LocalCloudError, match=r"what stack dev of .* made: .* down"):
        other.check_fits(cloud)


@pytest.mark.parametrize("command", ["up", "preview"])
def test_the_second_project_needs_the_first(
    command: str, second: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main(["--dir", str(tmp_path / "cloud"), command, "--cwd", str(second)]) == 1
    assert "own, which is not up: `python -m localcloud up` makes that first" in capsys.readouterr().err
    assert not (tmp_path / "cloud").exists()


def test_a_misspelt_option_is_answered_with_the_usage_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["preview", "--cdw", "examples/consumer"])
    said = capsys.readouterr().err
    assert said.startswith("usage: python -m localcloud preview ")
    assert "unrecognized arguments: --cdw" in said


def test_a_folder_that_is_no_other_project_is_refused(cloud: Cloud, second: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LocalCloudError, match=r"there is no .*/nosuch/Pulumi\.yaml: give the folder of a Pulumi program"
    ):
        Choice("dev", None, tmp_path / "nosuch").check()
    (tmp_path / "Pulumi.yaml").write_text("runtime: python\n")
    with pytest.raises(LocalCloudError, match="does not name a project: give the folder of a Pulumi program"):
        Choice("dev", None, tmp_path).check()
    with pytest.raises(LocalCloudError, match=r"there is no .*Pulumi\.qa\.yaml"):
        Choice("qa", None, second).check()
    (second / "Pulumi.yaml").write_text("name: hybrid-wireguard\nruntime: python\n")
    with pytest.raises(LocalCloudError, match="a project of the same name"):
        Choice("dev", None, second).check()
    Choice("dev", None, PROJECT).check()


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--stack", "qa"], "there is no stack qa here: dev is up"), (["--write", "x"], "take --json for another's")],
)
def test_outputs_of_another_stack_or_as_files_are_refused(
    words: list[str],
    says: str,
    cloud: Cloud,
    second: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    Choice("dev", None, second).remember(cloud)
    assert main(["--dir", str(cloud.directory), "outputs", "--cwd", str(second), *words]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("errors", "well"), [(dict[str, list[str]](), True), ({"monitor": ["runcmd ended with status 1"]}, False)]
)
def test_a_first_boot_that_went_wrong_is_told_and_counts(
    errors: dict[str, list[str]], well: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    fabric = create_autospec(Fabric, instance=True)
    fabric.machines.return_value = []
    fabric.first_boot_errors.return_value = errors
    assert wait_for_first_boots(fabric, Console()) is well
    assert ("monitor: the first boot went wrong: runcmd ended with status 1" in capsys.readouterr().out) is not well
