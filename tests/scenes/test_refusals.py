"""What only a cloud knows is refused in the preview, in the cloud's words, with nothing changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenes.scene import Scene

pytestmark = pytest.mark.localcloud


@pytest.mark.parametrize(
    ("spoke", "said"),
    [
        ({"site": "hetzner", "location": "mars1"}, "mars1"),
        ({"site": "hetzner", "serverType": "cx9000"}, "cx9000"),
        ({"site": "hetzner", "image": "ubuntu-99.04"}, "ubuntu-99.04"),
        ({"site": "aws", "serverType": "t3.enormous"}, "t3.enormous"),
        ({"site": "gcp", "serverType": "e2-enormous"}, "e2-enormous"),
        ({"site": "hetzner", "serverTyp": "cx23"}, "serverType"),
        ({"site": "hetzner", "address": "10.100.1.1"}, "hetzner-1"),
    ],
)
def test_a_bad_spoke_is_refused_before_anything_changes(scene: Scene, spoke: dict[str, Any], said: str) -> None:
    machines, peers = scene.boot_ids(), scene.gateway_peers()
    with scene.changed(lambda config: config["spokes"].update({"hetzner-9": spoke})):
        done = scene.up(preview=True, check=False)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert scene.boot_ids() == machines
    assert scene.gateway_peers() == peers
    assert scene.run("exec", "hetzner-9", "--", "true", check=False).returncode != 0
