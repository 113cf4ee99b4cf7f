"""The stack gets another signing key, authority and join token, and nobody notices who need not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.pings import everybody_pings
from bench.place import Place
from tests.scenes.pools import joined
from tests.scenes.scene import Scene, wait_for

pytestmark = pytest.mark.localcloud

POOL = {"site": "aws", "range": "10.100.2.128/25", "min": 1, "max": 2}
SPOKES = {"hetzner-1": {"site": "hetzner"}, "aws-1": {"site": "aws"}, "gcp-1": {"site": "gcp"}}
AWAY = "gcp-1"
STATE = "/var/lib/hybridnet"
CONFIG = "/etc/hybridnet/config.json"


def small(config: dict[str, Any]) -> None:
    config["spokes"], config["pools"] = dict(SPOKES), {"burst": dict(POOL)}


def rotate(config: dict[str, Any]) -> None:
    """Another one of everything that the stack holds, and a machine that knows nothing else."""
    small(config)
    config["keys"] = {"signingRevision": 2, "caRevision": 2}
    config["pools"]["burst"]["tokenRevision"] = 2
    config["spokes"]["aws-2"] = {"site": "aws"}


def push(scene: Scene, path: str, body: Path, signature: str) -> str:
    """The status with which the gateway answers a push from the desk."""
    url = f"https://{scene.outputs()['wg_gateway_ip']}:8443{path}"
    headers = ["-H", f"X-Hybridnet-Signature: {signature}"]
    ask = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", "--data-binary", f"@{body}", *headers]
    return scene.run("run", "--", *ask, url).stdout.strip()


def released(scene: Scene, token: str) -> str:
    """The status with which the gateway answers whoever asks on the internet with a join token."""
    url = f"https://{scene.outputs()['wg_gateway_ip']}:8443/v1/release"
    ask = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: Bearer {token}", url]
    return scene.run("run", "--from", "internet", "--", *ask).stdout.strip()


def first_key(scene: Scene, node: str) -> str:
    return str(json.loads(scene.exec(node, "cat", CONFIG))["signing_public_key"])


def believes(scene: Scene, node: str, key: str) -> bool:
    """Whether a machine has come to believe a signing key that its first boot did not tell."""
    return scene.exec(node, "cat", f"{STATE}/signing.pub", check=False).strip() == key


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("trust") / "cloud")
    try:
        with scene.changed(small):
            scene.up()
            yield scene
    finally:
        scene.run("down")


def test_everything_that_the_stack_holds_becomes_another_and_no_ping_is_lost(scene: Scene, tmp_path: Path) -> None:
    place = Place(scene.directory)
    wait_for("the pool", lambda: joined(scene, "burst", 1), 60)
    everyone = scene.everyone()
    boots, old_key = scene.boot_ids(everyone), first_key(scene, AWAY)
    old_token = place.secret_outputs()["join"]["tokens"]["burst"]
    old_roster = json.loads(scene.exec("hetzner-gw", "cat", f"{STATE}/roster.json"))
    scene.run("cut", AWAY)
    there = {name: address for name, address in everyone.items() if name != AWAY}

    with scene.changed(rotate):
        with everybody_pings(scene.directory, there) as losses:
            scene.up_without_waiting(preview=True)
            new_key = first_key(scene, "aws-2")
            assert new_key != old_key
            for node in there:
                wait_for(f"the new key on {node}", lambda node=node: believes(scene, node, new_key), 30)
            wait_for("the new machine", lambda: scene.pings("aws-2", everyone["hetzner-1"]), 30)
        assert {loss.node: loss.total for loss in losses} == dict.fromkeys(there, 0.0)

        assert not scene.pings("aws-2", everyone[AWAY])
        assert not believes(scene, AWAY, new_key)
        scene.run("heal", AWAY)
        wait_for("the machine that was away", lambda: scene.pings("aws-2", everyone[AWAY]), 60)
        wait_for("the new key on it", lambda: believes(scene, AWAY, new_key), 30)
        assert scene.boot_ids(everyone) == boots

        # What the old keys made is worth nothing any more.
        body = tmp_path / "roster"
        body.write_text(old_roster["body"])
        assert push(scene, "/v1/roster", body, old_roster["signature"]) == "403"
        new_token = place.secret_outputs()["join"]["tokens"]["burst"]
        assert (released(scene, old_token), released(scene, new_token)) == ("403", "200")
        assert joined(scene, "burst", 1), "whoever is in stays in"

        # Whoever was told of one authority alone, whichever it is, knows the gateway.
        ask = ["curl", "-sS", "--fail", "--cacert", "/etc/hybridnet/ca.pem", "https://10.100.0.1:8443/v1/status?brief"]
        authorities = {scene.exec(node, "cat", "/etc/hybridnet/ca.pem") for node in ("hetzner-1", "aws-2")}
        assert len(authorities) == 2
        answers = [json.loads(scene.exec(node, *ask)) for node in ("hetzner-1", "aws-2")]
        assert [answer["signing"] for answer in answers] == [new_key, new_key]
        assert answers[0]["certificate"] is not None

        # A gateway that starts again has everything from its disk.
        scene.exec("hetzner-gw", "systemctl", "restart", "hybridnet")
        wait_for("the gateway's service", lambda: scene.succeeds("aws-2", *ask), 30)
        assert json.loads(scene.exec("aws-2", *ask))["signing"] == new_key
        scene.up()
