"""promtool's opinion of a text of metrics."""

from __future__ import annotations

import shutil
import subprocess

import pytest

_LINT = 3
"""The exit status of ``promtool check metrics`` when it has something to say of the names."""


def complaints(text: bytes) -> list[str]:
    """The metrics that promtool complains of; a text that it cannot read fails the test."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("needs promtool, of the package prometheus")
    done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode in (0, _LINT), said
    return sorted({line.split()[0] for line in said.splitlines() if line.strip()})
