"""The rules that every workflow keeps, whoever edits it: who may do what, with which code, in which order."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.workflows.steps import FOLDER, ROOT, commands, jobs, of_job, workflows

FILES = sorted(workflows())
CALLERS = ("preview.yml", "deploy.yml", "drift.yml")
READ = {"contents": "read"}
ON = "vars.REAL_STACKS == 'true'"
SIGN_IN = {"contents": "read", "id-token": "write"}


def uses() -> list[tuple[str, str]]:
    """(file, what stands after `uses:`) of every action and reusable workflow, comment included."""
    return [
        (file, found)
        for file in FILES
        for found in re.findall(r"^\s*(?:- )?uses: *(.+)$", (FOLDER / file).read_text(), re.MULTILINE)
    ]


def calls(file: str) -> dict[str, Any]:
    """A caller's jobs."""
    return {job: body for (name, job), body in jobs().items() if name == file}


def stacks(file: str) -> list[str]:
    """The stacks of a caller in the file's order, each once."""
    named: list[str] = []
    for body in calls(file).values():
        named += body["strategy"]["matrix"]["stack"] if "strategy" in body else [body["with"]["stack"]]
    return list(dict.fromkeys(named))


def test_every_action_is_pinned_by_commit_and_names_its_version() -> None:
    assert uses()
    for file, what in uses():
        if what.startswith("./"):
            assert (ROOT / what).is_file(), f"{file} calls {what}"
        else:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", what), f"{file}: {what}"


def test_an_action_is_of_one_version_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for _, what in uses():
        if not what.startswith("./"):
            action, version = what.split("@")
            versions.setdefault(action, set()).add(version)
    assert {action: found for action, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_permitted_but_by_the_job(file: str) -> None:
    assert workflows()[file]["permissions"] == {}
    allowed = READ if file == "checks.yml" else SIGN_IN
    assert {job: body["permissions"] for job, body in calls(file).items()} == dict.fromkeys(calls(file), allowed)


def test_pull_requests_of_strangers_run_without_secrets_and_without_rights() -> None:
    assert list(workflows()["checks.yml"]["on"]) == ["pull_request"]
    assert not re.search(r"\b(?:secrets|vars)\b\.|environment:", (FOLDER / "checks.yml").read_text())
    for file, document in workflows().items():
        assert "pull_request_target" not in document["on"], file
        assert "workflow_run" not in document["on"], file


def test_credentials_are_for_branches_of_this_repository_alone() -> None:
    (job,) = calls("preview.yml").values()
    assert job["if"].split(" && ") == [
        ON,
        "github.event.pull_request.head.repo.full_name == github.repository",
        "github.event.pull_request.user.login != 'dependabot[bot]'",
    ]


def test_real_stacks_are_left_alone_until_it_is_said_and_deployed_from_main_alone() -> None:
    assert [job["if"] for job in calls("drift.yml").values()] == [ON]
    first, *_ = calls("deploy.yml").values()
    assert first["if"].split(" && ") == [ON, "github.ref == 'refs/heads/main'"]
    assert workflows()["deploy.yml"]["on"] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}


@pytest.mark.parametrize("file", FILES)
def test_no_checkout_leaves_its_token_behind(file: str) -> None:
    for job in calls(file).values():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_every_job_ends() -> None:
    endless = [job for job, body in jobs().items() if "steps" in body and "timeout-minutes" not in body]
    assert endless == []


def test_commands_stop_at_the_first_error_and_hold_no_text_of_others() -> None:
    assert commands()
    for step in commands():
        assert step.shell == "bash -euo pipefail {0}", step.key
        assert "${{" not in step.run, f"{step.key}: an expression is put into the script before the shell reads it"


def test_a_change_is_previewed_with_what_it_requires() -> None:
    """The environment is the base's until then; in the tests that run these commands both require the same."""
    runs = [step.run for step in of_job("checks.yml", "preview")]
    change = next(at for at, run in enumerate(runs) if "$GITHUB_SHA" in run)
    assert runs[change + 1].endswith("make .venv/run.stamp")
    assert "localcloud preview" in runs[change + 2]


def test_what_needs_root_keeps_its_environment() -> None:
    """sudo drops the variables that lead to Python, the CLI and the summary, unless it is told otherwise."""
    assert any("sudo " in step.run for step in commands())
    for step in commands():
        for command in re.findall(r"\bsudo .*", step.run):
            assert command.startswith('sudo --preserve-env --set-home env "PATH=$PATH" '), step.key


def test_secrets_are_known_only_to_the_steps_that_need_them() -> None:
    for key, body in jobs().items():
        assert "secrets." not in str(body.get("env", {})), key
        for step in body.get("steps", []):
            if "secrets." in str(step):
                assert step["run"].startswith("pulumi "), f"{key}: {step.get('name')}"


@pytest.mark.parametrize("file", CALLERS)
def test_callers_hand_over_the_names_of_all_secrets(file: str) -> None:
    declared = workflows()["stack.yml"]["on"]["workflow_call"]["secrets"]
    for job in calls(file).values():
        assert job["uses"] == "./.github/workflows/stack.yml"
        assert job["secrets"] == {name: f"${{{{ secrets.{name} }}}}" for name in declared}


def test_every_real_stack_is_previewed_deployed_and_watched() -> None:
    assert stacks("deploy.yml")
    assert stacks("preview.yml") == stacks("drift.yml") == stacks("deploy.yml")


def test_a_stack_is_deployed_only_when_the_one_before_it_is() -> None:
    deploys = calls("deploy.yml")
    order = list(deploys)
    for before, job in pairwise(order):
        assert deploys[job]["needs"] == before
        assert "if" not in deploys[job], "it would run although the one before failed"
    assert workflows()["deploy.yml"]["concurrency"] == {"group": "deploy", "cancel-in-progress": False}
    assert deploys["prod"]["needs"] == "prod-preview"


def test_prod_gets_what_was_approved() -> None:
    prod = calls("deploy.yml")["prod"]["with"]
    assert prod["approved"] == "${{ needs.prod-preview.outputs.report }}"
    output = workflows()["stack.yml"]["on"]["workflow_call"]["outputs"]["report"]
    assert output["value"] == "${{ jobs.stack.outputs.report }}"
    assert jobs()["stack.yml", "stack"]["outputs"] == {"report": "${{ steps.report.outputs.sha256 }}"}


def test_what_the_cli_is_told() -> None:
    found = {step.name: step.run.split() for step in commands() if step.run.startswith("pulumi ")}
    assert list(found) == ["Preview", "Look for drift", "Deploy"]
    for name, words in found.items():
        assert words[2:5] == ["--stack", '"$STACK"', "--non-interactive"], name
        assert ("--policy-pack" in words) is (name != "Look for drift"), "a policy is for changes"
    assert {"preview", "--refresh", "--expect-no-changes"} <= set(found["Look for drift"])


def test_reports_are_shown_of_what_fails_and_nothing_else_runs_then() -> None:
    shown: list[str] = []
    for step in commands():
        if step.runs_after_failures:
            (file,) = re.findall(r"^\$\{\{ !cancelled\(\) && hashFiles\('([\w.]+)'\) != '' \}\}$", step.condition)
            assert f" {file} " in step.run, step.key
            shown.append(step.key)
        else:
            assert not re.search(r"\b(?:always|failure|cancelled)\(", step.condition), step.key
    assert shown == ["checks.yml/preview/Report", "stack.yml/stack/Report", "stack.yml/stack/Show what policies say"]


def test_only_deploys_use_the_environments_that_may_change_clouds() -> None:
    for file in CALLERS:
        for name, job in calls(file).items():
            wanted = job["with"]["stack"] + ("" if job["with"]["operation"] == "up" else "-preview")
            assert job["with"]["environment"] == wanted, f"{file}/{name}"
            assert job["with"]["operation"] in ("up", "preview", "drift")
            assert job["with"]["operation"] != "up" or file == "deploy.yml"


def test_a_preview_may_be_cancelled_and_a_deploy_may_not() -> None:
    cancelled = {
        file: body["concurrency"]["cancel-in-progress"] for file, body in workflows().items() if file != "stack.yml"
    }
    assert cancelled == {"checks.yml": True, "preview.yml": True, "deploy.yml": False, "drift.yml": False}


def test_the_cli_is_of_the_sdks_version() -> None:
    (sdk,) = re.findall(r"^pulumi==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert (ROOT / ".pulumi.version").read_text().strip() == sdk
    installs = [
        step for body in jobs().values() for step in body.get("steps", []) if "pulumi/actions@" in step.get("uses", "")
    ]
    assert len(installs) == 3
    assert all(step["with"] == {"pulumi-version-file": ".pulumi.version"} for step in installs), (
        "it installs, and no more"
    )
