"""WireGuard keys change under a network at work: no ping is lost, and whoever is interrupted ends on one key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

from bench.pings import Loss, everybody_pings
from tests.scenes.scene import ADDRESSES, ROOT, Scene, wait_for

pytestmark = pytest.mark.localcloud

GATEWAY = "hetzner-gw"
SPOKES = ("hetzner-1", "hetzner-2", "aws-1", "gcp-1")
EACH = 0.05
"""Seconds between two pings of a pair. ``bench/rotations.py`` counts at 100 a second, for which a host that does
something else besides has no time: it loses some with no key changed."""

UNTIL_PHASE = """
import json, pathlib, sys, time
path, end = pathlib.Path("/var/lib/hybridnet/keys.json"), time.monotonic() + 60
while time.monotonic() < end:
    held = json.loads(path.read_text()) if path.exists() else {}
    second = held.get("second")
    if second is not None and (second == held["first"]) == (sys.argv[1] == "back"):
        sys.exit()
    time.sleep(0.05)
sys.exit(f"the change did not come to phase {sys.argv[1]}")
"""
"""Ends with status 0 as soon as the machine's change of its key is in a phase, which may last for a second only."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """What the dev stack declares, up: keys are others after these tests, so it is a cloud of their own."""
    scene = Scene(tmp_path_factory.mktemp("rotation") / "cloud")
    try:
        with scene.changed(lambda config: config["pools"].clear()):
            scene.up()
            wait_for("every spoke's agent", lambda: agents(scene) == set(SPOKES), 60)
            yield scene
    finally:
        scene.run("down")


def agents(scene: Scene) -> set[str]:
    """The spokes that have told the gateway of themselves."""
    return set(scene.gateway_status()["rotation"]["agents"])


def keys(scene: Scene, node: str) -> tuple[str, set[str]]:
    """The public key of a machine's interface, and those of its peers."""
    own, *peers = scene.exec(node, "wg", "show", "wg0", "dump").splitlines()
    return own.split("\t")[1], {line.split("\t")[0] for line in peers}


def public_keys(scene: Scene) -> dict[str, str]:
    return {node: keys(scene, node)[0] for node in (GATEWAY, *SPOKES)}


def is_settled(scene: Scene, node: str) -> bool:
    """Whether nothing of a change of keys is left on a machine: no second interface, no route of its."""
    left = "test -e /sys/class/net/wg1 || ip route show proto 157 | grep . || ip -6 route show proto 157 | grep ."
    return not scene.succeeds(node, "sh", "-c", left)


def wait_until_settled(scene: Scene) -> None:
    """Until every end has one key, the same that the other end knows."""

    def is_one() -> bool:
        found = {node: keys(scene, node) for node in (GATEWAY, *SPOKES)}
        own, peers = found[GATEWAY]
        return (
            all(is_settled(scene, node) for node in (GATEWAY, *SPOKES))
            and peers == {found[node][0] for node in SPOKES}
            and all(found[node][1] == {own} for node in SPOKES)
        )

    wait_for("every end on one key", is_one, 120)


def rotate(scene: Scene, *words: str) -> dict[str, Any]:
    done = scene.run("exec", GATEWAY, "--", "hybridnet", "rotate", "--json", *words, check=False)
    return cast("dict[str, Any]", json.loads(done.stdout))


def begin(scene: Scene, *words: str) -> subprocess.Popen[bytes]:
    """The same, which is interrupted: whatever it says is of no interest."""
    command = [sys.executable, "-m", "localcloud", "--dir", str(scene.directory), "exec", GATEWAY, "--", "hybridnet"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*command, "rotate", *words], cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet)


def lost_while_all_change(network: Scene) -> list[Loss]:
    """The pairs that lose pings while every key becomes another."""
    before = public_keys(network)
    with everybody_pings(network.directory, ADDRESSES, EACH) as losses:
        assert rotate(network, "--all") == {"changed": sorted([GATEWAY, *SPOKES]), "unchanged": []}
    for loss in losses:
        print(f"{loss.node}: {loss.lost} of {loss.sent} pings lost")
        assert loss.sent > 200, loss
    wait_until_settled(network)
    assert [node for node, key in public_keys(network).items() if key == before[node]] == []
    return [loss for loss in losses if loss.lost]


def test_all_keys_change_and_no_pair_loses_a_ping(network: Scene) -> None:
    """A busy host loses one in thousands now and then with no key changed; a change that loses any does so again."""
    lost = lost_while_all_change(network) and lost_while_all_change(network)
    assert lost == []
    assert "nothing changes" in network.up().stdout
    after, number = public_keys(network), network.gateway_status()["roster"]["number"]
    with network.changed(lambda config: config.update(wireguardSources=["0.0.0.0/0"])):
        network.up()
        assert network.gateway_status()["roster"]["number"] > number
    network.up()
    wait_until_settled(network)
    assert public_keys(network) == after, "a push brings no key back"


def test_who_was_off_while_the_gateway_changed_its_key_comes_back(network: Scene) -> None:
    network.run("stop", "aws-1")
    assert rotate(network, GATEWAY)["changed"] == [GATEWAY]
    network.run("start", "aws-1")
    wait_for("aws-1", lambda: network.pings("aws-1", ADDRESSES["gcp-1"]), 60)
    wait_until_settled(network)


@pytest.mark.parametrize("phase", ["out", "back"])
@pytest.mark.parametrize(
    ("who", "victim"), [("hetzner-1", "hetzner-1"), ("hetzner-1", GATEWAY), (GATEWAY, GATEWAY), (GATEWAY, "gcp-1")]
)
def test_whoever_is_killed_in_the_middle_ends_on_one_key(network: Scene, who: str, victim: str, phase: str) -> None:
    before = keys(network, who)[0]
    asking = begin(network, who)
    try:
        network.exec(who, "python3", "-c", UNTIL_PHASE, phase)
        network.exec(victim, "systemctl", "kill", "-s", "KILL", "hybridnet")
    finally:
        asking.terminate()
        asking.wait()
    wait_until_settled(network)
    wait_for("every pair", lambda: network.unreachable() == [], 30)
    if phase == "back":
        assert keys(network, who)[0] != before
