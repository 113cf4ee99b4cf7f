"""The dev stack under a real pulumi CLI, and beside it what the small engine makes of the same program."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from localcloud.wire import SECRET_SIGNATURE, SIGNATURE
from tests.scenes.scene import ADDRESSES, ROOT, Scene

pytestmark = [pytest.mark.localcloud, pytest.mark.pulumi_cli]

_RANDOM = (
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", re.DOTALL), "PEM"),
    (re.compile(r"ssh-ed25519 \S+"), "SSH KEY"),
    (re.compile(r"[A-Za-z0-9+/]{43}="), "WIREGUARD KEY"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "HASH OF A JOIN TOKEN"),
    (re.compile(r"uniqueId=\d+"), "ID OF AN INSTANCE TEMPLATE"),
)
"""What two runs of the same program can not have in common."""
_OWN = {"__provider", "sha256"}
"""Inputs that name the copy of the code that was run."""


def normal(value: Any) -> Any:
    """A resource's inputs with secrets masked and what is random or a cloud's id replaced by a word."""
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        if found.get(SIGNATURE) == SECRET_SIGNATURE:
            return "SECRET"
        return {key: normal(item) for key, item in found.items() if key not in _OWN}
    if isinstance(value, list):
        return [normal(item) for item in cast("list[Any]", value)]
    if isinstance(value, str):
        for pattern, word in _RANDOM:
            value = pattern.sub(word, value)
        return re.sub(r"\b(?:[a-z]+-[0-9a-f]{8,17}|47\d{5}|198\.18\.\d+\.\d+)\b", "ID", value)
    return "ID" if isinstance(value, int | float) and value > 4_700_000 else value


def resources(deployment: dict[str, Any]) -> dict[str, Any]:
    """Normal inputs by URN; without the default providers, which the small engine has no record of."""
    listed = cast("list[dict[str, Any]]", deployment["resources"])
    made = [item for item in listed if not item["type"].startswith("pulumi:providers:")]
    return {item["urn"]: normal(item.get("inputs", {})) for item in made}


@pytest.fixture(scope="module")
def by_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The dev stack of the real CLI, not yet up. Taken down at the end."""
    scene = Scene(tmp_path_factory.mktemp("cli") / "cloud")
    try:
        yield scene
    finally:
        scene.run("down")


@pytest.fixture(scope="module")
def by_small_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The dev stack of the small engine, not yet up: what is on PATH but the CLI. Taken down at the end."""
    parts = [part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "pulumi").exists()]
    scene = Scene(tmp_path_factory.mktemp("small") / "cloud", path=os.pathsep.join(parts))
    try:
        yield scene
    finally:
        scene.run("down")


def tracked() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in ROOT.glob("Pulumi*.yaml")}


def test_the_cli_does_the_whole_life_of_the_stack_and_the_small_engine_makes_the_same(
    by_cli: Scene, by_small_engine: Scene
) -> None:
    files = tracked()
    assert "the pulumi CLI" in by_cli.up(preview=True).stdout + by_cli.logs[-1]
    assert by_cli.nodes() == dict(ADDRESSES)
    assert "nothing changes" in by_cli.up(preview=True).stdout
    by_hand = by_cli.run("run", "--", "pulumi", "up", "--yes", "--non-interactive").stdout
    assert re.search(r"\d+ unchanged", by_hand)
    assert not re.search(r"\d+ (?:created|updated|replaced|deleted)", by_hand)
    by_cli.run("run", "--", "pulumi", "preview", "--expect-no-changes", "--non-interactive")
    exported = json.loads(by_cli.run("run", "--", "pulumi", "stack", "export").stdout)["deployment"]

    assert "small engine" in by_small_engine.up(preview=True).stdout + by_small_engine.logs[-1]
    (state,) = (by_small_engine.directory / "state").glob("*/dev.json")
    kept = cast("dict[str, Any]", json.loads(state.read_text()))
    ours, theirs = resources(kept.get("deployment", kept)), resources(exported)
    assert set(ours) == set(theirs)
    assert ours == theirs

    by_cli.run("run", "--", "pulumi", "destroy", "--yes", "--non-interactive")
    assert by_cli.status()["machines"] == []
    assert tracked() == files


def test_no_secret_is_in_the_clis_backend(by_cli: Scene) -> None:
    by_cli.up()
    secrets = [
        by_cli.exec(node, "sh", "-c", "sed -n 's/^PrivateKey = //p' /etc/wireguard/wg0.conf").strip()
        for node in ADDRESSES
    ]
    assert all(len(secret) == 44 for secret in secrets)
    files = [path for path in (by_cli.directory / "backend").rglob("*") if path.is_file()]
    assert files
    for path in files:
        for secret in secrets:
            assert secret.encode() not in path.read_bytes(), path
