"""Three clouds joined by real tunnels, what breaks them and what mends them."""

from __future__ import annotations

from itertools import permutations
from time import monotonic

import pytest

from tests.scenes.scene import ADDRESSES, Scene, wait_for

pytestmark = pytest.mark.localcloud


def test_every_pair_of_nodes_pings_without_loss(scene: Scene) -> None:
    assert scene.nodes() == dict(ADDRESSES)
    assert scene.unreachable(count=3) == []


def test_the_gateway_has_exactly_the_declared_peers_and_those_that_joined(scene: Scene) -> None:
    wanted = scene.wanted_peers()
    assert len(wanted) == len(ADDRESSES) - 1 + len(scene.leases()) > len(ADDRESSES)
    assert scene.gateway_peers() == wanted


def test_a_second_up_changes_nothing_and_says_so(scene: Scene) -> None:
    before = scene.boot_ids()
    for preview, steps in ((True, ["previewing"]), (False, ["making the changes"])):
        done = scene.up(preview=preview)
        assert "nothing changes" in done.stdout
        said = done.stdout + done.stderr
        assert [step for step in ("previewing", "making the changes") if step in said] == steps
    assert scene.boot_ids() == before


def test_a_full_packet_passes_between_every_pair_unfragmented(scene: Scene) -> None:
    mtu = int(scene.outputs()["network"]["mtu"])
    payload = str(mtu - 28)
    for (source, _), (_, address) in permutations(ADDRESSES.items(), 2):
        assert scene.succeeds(source, "ping", "-q", "-c", "1", "-W", "2", "-M", "do", "-s", payload, address), source
    assert not scene.succeeds(
        "aws-1", "ping", "-q", "-c", "1", "-W", "2", "-M", "do", "-s", str(mtu - 27), ADDRESSES["gcp-1"]
    )


def test_a_peer_removed_by_hand_is_back_within_5_seconds(scene: Scene) -> None:
    key = next(peer["public_key"] for peer in scene.outputs()["peers"] if peer["name"] == "aws-1")
    scene.exec("hetzner-gw", "wg", "set", "wg0", "peer", key, "remove")
    wait_for("the removed peer", lambda: key in scene.gateway_peers(), 5)
    wait_for("pings to it", lambda: scene.pings("hetzner-1", ADDRESSES["aws-1"]), 15)


def test_a_peer_added_by_hand_is_gone_within_5_seconds(scene: Scene) -> None:
    stranger = scene.exec("hetzner-1", "sh", "-c", "wg genkey | wg pubkey").strip()
    scene.exec("hetzner-gw", "wg", "set", "wg0", "peer", stranger, "allowed-ips", "10.100.9.9/32")
    wait_for("the stranger's end", lambda: stranger not in scene.gateway_peers(), 5)


def test_a_gateway_that_lost_power_has_every_pair_pinging_again_in_30_seconds_of_the_kill(scene: Scene) -> None:
    before = scene.boot_ids()
    start = monotonic()
    scene.run("kill", "hetzner-gw")
    scene.run("start", "hetzner-gw")
    wait_for("every pair", lambda: scene.unreachable() == [], 30 - (monotonic() - start))
    after = scene.boot_ids()
    assert {node for node in after if after[node] != before[node]} == {"hetzner-gw"}
    assert scene.gateway_peers() == scene.wanted_peers()


def test_a_rebooted_spoke_is_back_in_10_seconds(scene: Scene) -> None:
    scene.run("reboot", "hetzner-1")
    wait_for("the rebooted spoke", lambda: scene.pings("aws-1", ADDRESSES["hetzner-1"]), 10)
    assert scene.unreachable() == []


def test_a_gateway_service_killed_is_back_and_the_peers_never_left(scene: Scene) -> None:
    with scene.pinging("hetzner-1", ADDRESSES["gcp-1"]) as seen:
        scene.exec("hetzner-gw", "systemctl", "kill", "-s", "KILL", "hybridnet.service")
        wait_for("the service", lambda: scene.succeeds("hetzner-gw", "systemctl", "-q", "is-active", "hybridnet"), 30)
        wait_for(
            "its API",
            lambda: scene.succeeds(
                "hetzner-1", "curl", "-sf", "--cacert", "/etc/hybridnet/ca.pem", "https://10.100.0.1:8443/v1/status"
            ),
            20,
        )
    assert seen[0].received == seen[0].sent > 0
