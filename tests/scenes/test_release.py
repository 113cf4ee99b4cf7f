"""New code reaches the machines without touching them, and bad code goes back where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenes.scene import ADDRESSES, Scene, wait_for

pytestmark = pytest.mark.localcloud


def running(scene: Scene, node: str) -> int:
    """The number of the release that runs on ``node``, the folder that its process works in; 0 between two."""
    ask = "readlink /proc/$(pgrep -xf '.*-m node (gateway|spoke) .*' | head -n 1)/cwd"
    return int(scene.exec(node, "sh", "-c", ask, check=False).strip().rpartition("/")[2] or 0)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_a_new_release_runs_everywhere_and_no_machine_or_ping_notices(scene: Scene, tmp_path: Path) -> None:
    before, number = scene.boot_ids(), scene.gateway_status()["release"]["number"]
    wait_for("one release everywhere", lambda: {running(scene, node) for node in ADDRESSES} == {number}, 60)
    changed = scene.altered(tmp_path / "changed", lambda copy: append(copy / "node" / "__init__.py", "\nCHANGED = 1\n"))
    with scene.pinging("hetzner-1", ADDRESSES["gcp-1"]) as seen:
        with changed:
            scene.up()
        wait_for(
            "the new release on every machine",
            lambda: all(running(scene, node) == number + 1 for node in ADDRESSES),
            60,
        )
    assert seen[0].received == seen[0].sent > 0
    assert scene.boot_ids() == before
    assert scene.gateway_peers() == scene.wanted_peers()
    scene.up()


def test_a_release_that_fails_is_left_and_a_mended_one_is_taken(scene: Scene, tmp_path: Path) -> None:
    good = scene.gateway_status()["release"]
    broken = scene.altered(
        tmp_path / "broken", lambda copy: (copy / "node" / "__main__.py").write_text("raise SystemExit(1)\n")
    )
    with scene.pinging("hetzner-1", ADDRESSES["gcp-1"]) as seen:
        with broken:
            done = scene.up(check=False)
        assert done.returncode != 0
        status = scene.gateway_status()
        assert (status["release"], status["healthy"]) == (good, True)
        scene.up()
    assert seen[0].received == seen[0].sent > 0
    assert scene.gateway_status()["release"]["sha256"] == good["sha256"]
    assert scene.gateway_peers() == scene.wanted_peers()
