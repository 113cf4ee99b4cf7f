"""The example server's unit: by which name the server answers."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "examples" / "inference" / "inference.service"
ROOTS = ("/var/lib/hybridnet/", "/etc/hybridnet/", "/run/inference/")
LEASE = {"answer": json.dumps({"name": "aws-burst-f0", "address": "10.100.2.128"}), "ended": False}


def settings(key: str) -> list[str]:
    """What the unit says of a key, as systemd reads it: a line that ends in a backslash goes on."""
    return re.findall(rf"^{key}=(.*)", UNIT.read_text().replace("\\\n", " "), re.MULTILINE)


def options(tmp_path: Path, machine: Mapping[str, object]) -> str:
    """The options by name that the server starts with on a machine of these files."""
    for root in ROOTS:
        (tmp_path / root[1:]).mkdir(parents=True)
    for path, document in machine.items():
        (tmp_path / path[1:]).write_text(json.dumps(document))
    (before,) = settings("ExecStartPre")
    assert before.startswith("-+")
    for root in ROOTS:
        before = before.replace(root, f"{tmp_path}{root}")
    subprocess.run(shlex.split(before[2:]), check=False, stderr=subprocess.DEVNULL)
    (file, _) = settings("EnvironmentFile")
    written = tmp_path / file[2:]
    return written.read_text().partition("INFERENCE_NAME=")[2] if written.exists() else ""


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"/etc/hybridnet/config.json": {"role": "spoke", "name": "aws-1"}}, "--name aws-1"),
        (
            {"/etc/hybridnet/config.json": {"name": "aws-burst"}, "/var/lib/hybridnet/lease.json": LEASE},
            "--name aws-burst-f0",
        ),
        ({}, ""),
    ],
    ids=["spoke", "pool", "elsewhere"],
)
def test_a_server_answers_by_its_machines_name(tmp_path: Path, machine: Mapping[str, object], said: str) -> None:
    assert options(tmp_path, machine) == said


def test_options_of_ones_own_go_before_the_name() -> None:
    (start,) = settings("ExecStart")
    assert start.split()[-2:] == ["$INFERENCE_NAME", "$INFERENCE_OPTIONS"]
    assert settings("Environment") == ["INFERENCE_NAME= INFERENCE_OPTIONS="]
