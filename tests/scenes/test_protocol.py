"""What a gateway in service refuses, sent over the real network from the desk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scenes.scene import ROOT, Scene

pytestmark = pytest.mark.localcloud

HAMMER = str(ROOT / "tests" / "scenes" / "hammer.py")


def hammer(scene: Scene, tmp_path: Path, case: str, *words: str) -> Any:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(scene.exec("hetzner-1", "cat", "/etc/hybridnet/ca.pem"))
    url = f"https://{scene.outputs()['wg_gateway_ip']}:8443"
    return json.loads(scene.run("run", "--", "python3", HAMMER, case, url, str(ca_file), *words).stdout)


def stored(scene: Scene, tmp_path: Path) -> tuple[str, str]:
    """A file with the gateway's own roster bytes, and their signature."""
    kept = json.loads(scene.exec("hetzner-gw", "cat", "/var/lib/hybridnet/roster.json"))
    body = tmp_path / f"roster-{json.loads(kept['body'])['number']}.json"
    body.write_text(kept["body"])
    return str(body), kept["signature"]


@pytest.mark.parametrize(
    ("case", "expected"),
    [("unsigned", {403}), ("huge", {413, "BrokenPipeError", "ConnectionResetError"}), ("truncated", {"closed"})],
)
def test_a_bad_request_is_refused_and_changes_nothing(
    scene: Scene, tmp_path: Path, case: str, expected: set[object]
) -> None:
    before, peers = scene.gateway_status(), scene.gateway_peers()
    assert hammer(scene, tmp_path, case) in expected
    after = scene.gateway_status()
    assert (after["roster"], after["release"], after["healthy"]) == (before["roster"], before["release"], True)
    assert scene.gateway_peers() == peers


def test_a_replay_of_the_same_roster_is_taken_and_changes_nothing(scene: Scene, tmp_path: Path) -> None:
    before = scene.gateway_status()
    body, signature = stored(scene, tmp_path)
    assert hammer(scene, tmp_path, "put", body, signature) == 200
    assert scene.gateway_status()["roster"] == before["roster"]


def test_a_roster_with_another_ones_signature_is_refused(scene: Scene, tmp_path: Path) -> None:
    body, signature = stored(scene, tmp_path)
    Path(body).write_text(Path(body).read_text().replace("10.100.2.1", "10.100.2.7"))
    assert hammer(scene, tmp_path, "put", body, signature) == 403


def test_an_older_roster_with_its_own_good_signature_is_refused(scene: Scene, tmp_path: Path) -> None:
    body, signature = stored(scene, tmp_path)
    with scene.changed(lambda config: config.update(wireguardSources=["0.0.0.0/0"])):
        scene.up()
        number = scene.gateway_status()["roster"]["number"]
        assert number > json.loads(Path(body).read_text())["number"]
        assert hammer(scene, tmp_path, "put", body, signature) == 409
        assert scene.gateway_status()["roster"]["number"] == number
    scene.up()


def test_a_thousand_requests_at_once_leave_the_service_and_the_tunnels_alone(scene: Scene, tmp_path: Path) -> None:
    before = scene.gateway_status()
    with scene.pinging("hetzner-1", "10.100.2.1") as seen:
        answers = hammer(scene, tmp_path, "flood")
    assert "403" in answers
    assert not set(answers) & {"200", "201", "500"}
    assert seen[0].received > 0.95 * seen[0].sent
    after = scene.gateway_status()
    assert (after["roster"], after["healthy"]) == (before["roster"], True)
