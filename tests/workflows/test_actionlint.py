"""actionlint, with shellcheck on every script, says nothing of the workflows; and it would."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflows.steps import FOLDER, ROOT

ACTIONLINT = ROOT / ".venv" / "bin" / "actionlint"

pytestmark = [
    pytest.mark.skipif(not ACTIONLINT.exists(), reason="needs actionlint, which `make test` builds with Go"),
    pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck, which `make test` installs as root"),
]


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ACTIONLINT, "-no-color"], cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy that a test may break."""
    (tmp_path / ".git").mkdir()
    shutil.copytree(FOLDER, tmp_path / ".github" / "workflows")
    return tmp_path


def test_the_workflows_are_clean() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("checks.yml", "timeout-minutes:", "timeout-minuts:", "timeout-minuts"),
        ("checks.yml", "runs-on: ubuntu-24.04", "runs-on: ubuntu-2404", 'label "ubuntu-2404" is unknown'),
        ("checks.yml", '"$GITHUB_STEP_SUMMARY"', "$GITHUB_STEP_SUMMARY", "SC2086"),
        ("deploy.yml", "needs: prod-preview", "needs: prod-previews", "prod-previews"),
        ("drift.yml", "operation: drift", "operations: drift", "operations"),
        ("drift.yml", "17 3 * * *", "17 3 * *", "cron"),
        ("stack.yml", "inputs.stack }}", "inputs.stak }}", "stak"),
    ],
)
def test_a_broken_workflow_is_found(project: Path, file: str, right: str, wrong: str, said: str) -> None:
    assert lint(project).returncode == 0
    broken = project / ".github" / "workflows" / file
    text = broken.read_text()
    assert right in text
    broken.write_text(text.replace(right, wrong))
    done = lint(project)
    assert done.returncode == 1
    assert re.search(re.escape(said), done.stdout), done.stdout
