"""Every command of every workflow, run exactly as it stands in the file.

What makes one cheap, or keeps it off real clouds, comes by its environment. The commands for real stacks are the CLI's
own: they run at the desk of a local cloud, where the same variables lead to a backend and to clouds of this machine.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scenes.scene import PREFIX
from tests.workflows.checkouts import checkout, git
from tests.workflows.steps import Runner, Step, commands, of_job

RUN_HERE = {*(("checks.yml", job) for job in ("check", "test", "cli", "preview")), ("stack.yml", "stack")}
"""The jobs whose commands the tests below run, all of them but these:"""
NEEDS_THE_CLI: Mapping[str, str] = {
    "stack.yml/stack/Preview": "real stacks are the pulumi CLI's, which `make test` does not bring",
    "stack.yml/stack/Look for drift": "real stacks are the pulumi CLI's, which `make test` does not bring",
    "stack.yml/stack/Show what policies say": "it replays the pulumi CLI's log of events with the CLI",
    "stack.yml/stack/Deploy": "real stacks are the pulumi CLI's, which `make test` does not bring",
}
"""Command -> why it runs only in the test that needs a CLI on PATH."""


def settings(tree: Path, change: Mapping[str, Any], *without: str) -> None:
    """Changes the dev stack's settings in a tree."""
    file = tree / "Pulumi.dev.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"].update({f"{PREFIX}{key}": value for key, value in change.items()})
    for key in without:
        del document["config"][f"{PREFIX}{key}"]
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def small(tree: Path) -> None:
    """The base: a gateway and one machine."""
    hetzner = yaml.safe_load((tree / "Pulumi.dev.yaml").read_text())["config"][f"{PREFIX}sites"]["hetzner"]
    settings(
        tree, {"sites": {"hetzner": hetzner}, "spokes": {"hetzner-1": {"site": "hetzner"}}}, "pools", "loadBalancer"
    )


def one_more(tree: Path) -> None:
    """The change: another machine."""
    settings(tree, {"spokes": {"hetzner-1": {"site": "hetzner"}, "hetzner-7": {"site": "hetzner"}}})


@contextmanager
def too_dear(tree: Path) -> Generator[None]:
    """What a policy forbids, while the block runs."""
    settings(tree, {"monthlyBudget": 1})
    try:
        yield
    finally:
        git(tree, "checkout", "Pulumi.dev.yaml")


@dataclass(frozen=True)
class PullRequest:
    """A checkout of a change, and a folder for a local cloud of its own."""

    tree: Path
    cloud: Path

    def localcloud(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "localcloud", "--dir", str(self.cloud), *words]
        return subprocess.run(command, cwd=self.tree, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pull_request(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PullRequest]:
    """A change that adds a machine. Its local cloud, once a step makes it, is taken down at the end."""
    place = tmp_path_factory.mktemp("request")
    (place / "tree").mkdir()
    found = PullRequest(checkout(place / "tree", small, one_more), place / "cloud")
    try:
        yield found
    finally:
        if found.cloud.exists():
            found.localcloud("down")


def done(runner: Runner, step: Step) -> str:
    """What a command that must succeed says on standard output."""
    result = runner.run(step)
    assert result.returncode == 0, f"{step.key}:\n{result.stdout}{result.stderr}"
    return result.stdout


def test_every_command_is_run_by_a_test_or_listed_with_why_not() -> None:
    keys = [step.key for step in commands()]
    assert len(set(keys)) == len(keys)
    assert {(step.workflow, step.job) for step in commands()} == RUN_HERE
    assert set(NEEDS_THE_CLI) <= set(keys)


def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    """In a checkout of one room: all the others are checked where the tests are run."""
    (tmp_path / "tree").mkdir()
    rooms = ("Makefile", "pyproject.toml", "requirements*.txt", "overlay")
    tree = checkout(tmp_path / "tree", lambda _: None, lambda _: None, *rooms)
    runner = Runner(tmp_path / "runner", tree)
    (check,) = of_job("checks.yml", "check")
    done(runner, check)
    (tree / "overlay" / "wrong.py").write_text('"""Has a type error, and nothing else."""\n\nCOUNT: int = "one"\n')
    result = runner.run(check)
    assert result.returncode != 0
    assert "reportAssignmentType" in result.stdout


def test_test_runs_what_the_project_has(pull_request: PullRequest, tmp_path: Path) -> None:
    only = {"PYTEST_ADDOPTS": "--collect-only --quiet tests/overlay"}
    (test,) = of_job("checks.yml", "test")
    said = done(Runner(tmp_path / "runner", pull_request.tree, only), test)
    assert "tests/overlay/test_peers.py::" in said
    assert re.search(r"\d+ tests collected", said)


def test_what_needs_the_cli_is_tested_with_it(pull_request: PullRequest, tmp_path: Path) -> None:
    (test,) = of_job("checks.yml", "cli")
    only = {"PYTEST_ADDOPTS": f"{test.environment['PYTEST_ADDOPTS']} --collect-only --quiet tests/workflows"}
    said = done(Runner(tmp_path / "runner", pull_request.tree, only), test)
    assert re.findall(r"::(\w+)", said) == ["test_a_real_stack_is_previewed_deployed_and_watched"]


@pytest.mark.localcloud
def test_a_pull_request_is_previewed_against_its_base(pull_request: PullRequest, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "runner", pull_request.tree, {"LOCALCLOUD_DIR": str(pull_request.cloud)})
    for step in of_job("checks.yml", "preview"):
        done(runner, step)
    assert git(pull_request.tree, "rev-parse", "HEAD") == git(pull_request.tree, "rev-parse", "change")
    summary = runner.summary.read_text()
    assert "hetzner-7" in summary
    assert "hetzner-1" in pull_request.localcloud("status").stdout
    assert "hetzner-7" not in pull_request.localcloud("status").stdout


@pytest.mark.localcloud
def test_what_real_stacks_need_besides_the_cli(pull_request: PullRequest, tmp_path: Path) -> None:
    """With the preview that the pull request's check left."""
    runner = Runner(
        tmp_path / "runner", pull_request.tree, values={"inputs.stack": "dev", "vars.PULUMI_BACKEND_URL": ""}
    )
    for step in of_job("stack.yml", "stack"):
        if step.key not in NEEDS_THE_CLI:
            runner.values["inputs.approved"] = hashlib.sha256(runner.summary.read_bytes()).hexdigest()
            done(runner, step)
    assert "hetzner-7" in runner.summary.read_text()


@pytest.mark.parametrize(("approved", "succeeds"), [("5e88", True), ("5e89", False), ("", False)])
def test_only_what_was_approved_is_deployed(
    pull_request: PullRequest, tmp_path: Path, approved: str, succeeds: bool
) -> None:
    values = {"inputs.stack": "prod", "inputs.operation": "up", "vars.PULUMI_BACKEND_URL": ""}
    values |= {"inputs.approved": approved, "steps.report.outputs.sha256": "5e88"}
    runner = Runner(tmp_path / "runner", pull_request.tree, values=values)
    (step,) = (step for step in of_job("stack.yml", "stack") if "inputs.approved" in step.condition)
    assert step.is_wanted(values)
    result = runner.run(step)
    assert (result.returncode == 0) is succeeds
    assert result.stdout.startswith("" if succeeds else "::error::")


@pytest.mark.localcloud
def test_a_change_that_a_policy_forbids_fails_and_the_report_says_which(
    pull_request: PullRequest, tmp_path: Path
) -> None:
    runner = Runner(tmp_path / "runner", pull_request.tree, {"LOCALCLOUD_DIR": str(pull_request.cloud)})
    steps = {step.name: step for step in of_job("checks.yml", "preview")}
    with too_dear(pull_request.tree):
        assert runner.run(steps["Preview the change"]).returncode == 1
        assert runner.run(steps["Report"]).returncode == 1
    assert "over-budget" in runner.summary.read_text()


@pytest.mark.localcloud
@pytest.mark.pulumi_cli
def test_a_real_stack_is_previewed_deployed_and_watched(pull_request: PullRequest, tmp_path: Path) -> None:
    """At the desk: `dev` is there what a real stack is elsewhere."""
    values = {
        "inputs.stack": "dev",
        "vars.PULUMI_BACKEND_URL": "",
        "secrets.HCLOUD_TOKEN": "none",
        "secrets.PULUMI_ACCESS_TOKEN": "",
        "secrets.PULUMI_CONFIG_PASSPHRASE": "the desk's own",
    }
    desk = (sys.executable, "-m", "localcloud", "--dir", str(pull_request.cloud), "run", "--")

    def results(operation: str, approved: str = "any") -> tuple[dict[str, bool], str]:
        """Whether each step that is run succeeds, and the summary."""
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        asked = {**values, "inputs.operation": operation, "inputs.approved": approved}
        runner = Runner(place, pull_request.tree, values=asked, prefix=desk)
        succeeds: dict[str, bool] = {}
        (pull_request.tree / "report.md").unlink(missing_ok=True)
        for step in of_job("stack.yml", "stack"):
            if step.is_wanted(asked) and (all(succeeds.values()) or step.runs_after_failures):
                succeeds[step.name] = runner.run(step).returncode == 0
        reports.append(asked.get("steps.report.outputs.sha256", ""))
        return succeeds, runner.summary.read_text()

    reports: list[str] = []

    said = {"Report": True, "Show what policies say": True}

    def stored() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (pull_request.cloud / "backend").rglob("*") if path.is_file()}

    before = stored()
    succeeds, summary = results("drift")
    assert succeeds == {"Install": True, "Look for drift": False, **said}
    assert "hetzner-7" in summary
    succeeds, summary = results("preview")
    assert succeeds == {"Install": True, "Preview": True, **said}
    assert "hetzner-7" in summary
    approved = reports[-1]
    with too_dear(pull_request.tree):
        succeeds, summary = results("preview")
    assert succeeds == {"Install": True, "Preview": False, "Report": False, "Show what policies say": True}
    assert "over-budget" in summary
    assert stored() == before, "who may only read the state could not have done this"

    seen = "See that it is what was approved"
    succeeds, _ = results("up", approved)
    assert succeeds == {"Install": True, "Preview": True, **said, seen: True, "Deploy": True}
    assert "hetzner-7" in pull_request.localcloud("status").stdout
    succeeds, _ = results("up", approved)
    assert succeeds == {"Install": True, "Preview": True, **said, seen: False}, "the machine is there by now"
    succeeds, summary = results("drift")
    assert succeeds == {"Install": True, "Look for drift": True, **said}
    assert "PRIVATE KEY" not in summary
