"""A declared node and a pool's machine are revoked: cut off within seconds, and whatever is pushed, they stay so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenes.pools import joined
from tests.scenes.scene import Scene, wait_for

pytestmark = pytest.mark.localcloud

GATEWAY, LOOKER, STOLEN = "hetzner-gw", "hetzner-1", "aws-1"
POOL = {"site": "aws", "range": "10.100.2.128/25", "min": 1, "max": 3}
AUDIT = "/var/lib/hybridnet/audit.jsonl"


def small(config: dict[str, Any]) -> None:
    config["spokes"] = {LOOKER: {"site": "hetzner"}, STOLEN: {"site": "aws"}}
    config["pools"] = {"burst": dict(POOL)}


def as_told(config: dict[str, Any]) -> None:
    """The pool gets another join token, and one more machine; the stolen node is still declared."""
    small(config)
    config["pools"]["burst"] |= {"tokenRevision": 2, "min": 2}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("revoke") / "cloud")
    try:
        with scene.changed(small):
            scene.up()
            yield scene
    finally:
        scene.run("down")


def test_who_is_revoked_is_cut_off_and_stays_so(scene: Scene) -> None:
    wait_for("the pool", lambda: joined(scene, "burst", 1), 60)
    [lease] = scene.leases("burst")
    everyone = scene.everyone()
    keys = {peer["name"]: peer["public_key"] for peer in scene.outputs()["peers"]} | {
        lease["name"]: lease["public_key"]
    }
    for name in (STOLEN, lease["name"]):
        assert scene.pings(LOOKER, everyone[name])
        said = scene.exec(GATEWAY, "hybridnet", "revoke", name, "--reason", "stolen")
        assert f"{name} is cut off" in said
        assert keys[name] not in scene.gateway_peers()
        assert not scene.pings(LOOKER, everyone[name])
        assert not scene.pings(name, everyone[GATEWAY])
    assert "raise `pools.burst.tokenRevision`" in said

    with scene.changed(as_told):
        scene.up_without_waiting("waiting until the pools' machines have joined")
        wait_for(
            "a machine with the new token",
            lambda: any(each["healthy"] and each["name"] != lease["name"] for each in scene.leases("burst")),
            90,
        )
    scene.exec(GATEWAY, "systemctl", "restart", "hybridnet")
    wait_for("the gateway", lambda: scene.succeeds(GATEWAY, "hybridnet", "revoke", "--list"), 30)
    listed = json.loads(scene.exec(GATEWAY, "hybridnet", "revoke", "--list", "--json"))
    assert [each["name"] for each in listed] == [STOLEN, lease["name"]]
    [member] = scene.leases("burst")
    assert set(scene.gateway_peers()) == {keys[LOOKER], member["public_key"]}
    assert not scene.pings(LOOKER, everyone[STOLEN])
    assert scene.pings(LOOKER, member["address"])


def test_the_log_has_it_and_a_last_line_that_is_removed_is_missed(scene: Scene) -> None:
    shown = scene.exec(GATEWAY, "hybridnet", "audit", "show", "--event", "revoke", "--json").splitlines()
    assert [json.loads(line)["reason"] for line in shown] == ["stolen", "stolen"]
    outcome = json.loads(scene.exec(GATEWAY, "hybridnet", "audit", "verify", "--json"))
    assert (outcome["whole"], outcome["notes"]) == (True, [])
    assert outcome["compared"] >= outcome["events"] - 1, "the journal has all that is on the disk"
    scene.exec(GATEWAY, "systemctl", "stop", "hybridnet")
    scene.exec(GATEWAY, "sed", "-i", "$d", AUDIT)
    said = scene.run("exec", GATEWAY, "--", "hybridnet", "audit", "verify", check=False)
    assert said.returncode == 1
    assert "the journal was told events up to" in said.stdout
