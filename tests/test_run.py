"""How the tests themselves are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.cloud import NETNS, Cloud

ROOT = Path(__file__).parents[1]

DYING = """
import os, signal
import pytest
from localcloud.cloud import Cloud
from localcloud.fabric import Fabric

@pytest.mark.localcloud
def test_dies(tmp_path):
    Fabric(Cloud(tmp_path / "cloud")).apply({})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.localcloud
def test_a_worker_that_dies_fails_the_run_and_leaves_nothing_of_its_cloud(tmp_path: Path) -> None:
    (tmp_path / "test_dying.py").write_text(DYING)
    words = ["-p", "tests.conftest", "-n", "1", "--max-worker-restart", "0", "--basetemp", str(tmp_path / "base")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path / "test_dying.py")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "crashed while running" in done.stdout
    (folder,) = (tmp_path / "base").glob("popen-*/test_dies0")
    cloud = Cloud(folder / "cloud")
    assert not any(NETNS.glob(f"{cloud.prefix}*"))
    assert not cloud.directory.exists()
