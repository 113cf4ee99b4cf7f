"""How `make` gets actionlint: nothing is left outside .venv, and a registry that fails keeps no test from running."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflows.steps import ROOT

VERSION = re.findall(r"rhysd/actionlint (\S+)", (ROOT / "tests" / "workflows" / "actionlint" / "go.mod").read_text())[0]
GO = """\
#!/bin/sh
# Go's build, as far as it matters here: it writes where these variables say, and makes what -o says.
for folder in "$GOPATH" "$GOMODCACHE" "$GOCACHE" "$XDG_CONFIG_HOME/go/telemetry"; do mkdir -p "$folder"; done
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho VERSION\\n' >"$2"
chmod +x "$2"
"""
INDEX = """\
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/go/bin" && cp go "$2/go/bin/go"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile and what it reads, with an environment that has everything but actionlint."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "tests" / "workflows" / "actionlint", tree / "tests" / "workflows" / "actionlint")
    for name in ("Makefile", "requirements.txt", "requirements-policy.txt"):
        shutil.copy(ROOT / name, tree / name)
    (tree / ".venv" / "bin").mkdir(parents=True)
    for name in ("bin/pip", "run.stamp"):
        (tree / ".venv" / name).touch()
    (tree / "go").write_text(GO.replace("VERSION", VERSION))
    (tree / "go").chmod(0o755)
    (tree / "index").write_text(INDEX)
    return tree


def make(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    home = project.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run(
        ["make", *words], cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_actionlint_is_built_once_and_leaves_nothing_else(project: Path) -> None:
    done = make(project, "actionlint", "PIP=sh index")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "building actionlint\n"
    built = subprocess.run([project / ".venv" / "bin" / "actionlint"], capture_output=True, text=True, check=True)
    assert built.stdout.strip() == VERSION
    assert list((project.parent / "home").iterdir()) == []
    assert not (project / ".venv" / "go").exists()
    assert make(project, "actionlint", "PIP=false").stdout == ""


def test_without_a_registry_its_tests_skip_and_the_others_run(project: Path) -> None:
    done = make(project, "actionlint", "PIP=false")
    assert done.returncode == 0
    assert "no actionlint to be had: its tests skip" in done.stderr


def test_who_measures_waits_for_no_linter(project: Path) -> None:
    (project / ".venv" / "dev.stamp").touch()
    (project / "requirements-dev.txt").touch()
    os.utime(project / "requirements-dev.txt", (0, 0))
    assert "building actionlint" in make(project, "--dry-run", "test").stdout
    assert "building actionlint" not in make(project, "--dry-run", "bench").stdout
