"""Change reaches the network without touching what did not change."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.scenes.scene import ADDRESSES, Scene, wait_for

pytestmark = pytest.mark.localcloud


def public_keys(scene: Scene) -> dict[str, str]:
    return {peer["name"]: peer["public_key"] for peer in scene.outputs()["peers"]}


def test_a_spoke_comes_and_goes_and_nobody_else_notices(scene: Scene) -> None:
    machines, keys, nodes = scene.boot_ids(), public_keys(scene), scene.nodes()
    with scene.changed(lambda config: config["spokes"].update({"aws-2": {"site": "aws"}})):
        with scene.pinging("hetzner-1", ADDRESSES["gcp-1"]) as seen:
            scene.up()
        assert seen[0].received == seen[0].sent > 0
        assert scene.nodes() == {**nodes, "aws-2": "10.100.2.2"}
        after = scene.boot_ids()
        assert {name: after[name] for name in machines} == machines
        after_keys = public_keys(scene)
        assert {name: after_keys[name] for name in keys} == keys
        assert scene.unreachable() == []
        assert scene.gateway_peers() == scene.wanted_peers()
    scene.up()
    assert scene.nodes() == nodes
    wait_for("the gone peer's end", lambda: scene.gateway_peers() == scene.wanted_peers(), 5)
    assert after_keys["aws-2"] not in scene.gateway_peers()
    assert scene.boot_ids() == machines
    assert scene.run("exec", "aws-2", "--", "true", check=False).returncode != 0


def test_narrowed_wireguard_sources_shut_the_others_out(scene: Scene) -> None:
    endpoints = dict(line.split() for line in scene.exec("hetzner-gw", "wg", "show", "wg0", "endpoints").splitlines())
    address = endpoints[public_keys(scene)["hetzner-1"]].rsplit(":", 1)[0]

    def narrow(config: dict[str, Any]) -> None:
        config["wireguardSources"] = [f"{address}/32"]

    with scene.changed(narrow):
        scene.up_without_waiting()
        shut_out = ("hetzner-2", "aws-1", "gcp-1")
        for node in shut_out:
            scene.exec(node, "systemctl", "restart", "wg-quick@wg0")
        scene.exec("hetzner-1", "systemctl", "restart", "wg-quick@wg0")
        wait_for("the allowed spoke", lambda: scene.pings("hetzner-1", ADDRESSES["hetzner-gw"]), 15)
        # WireGuard repeats a handshake after 5 s: that, too, is in vain.
        with ThreadPoolExecutor(len(shut_out)) as pool:
            pings = {node: pool.submit(scene.pings, node, ADDRESSES["hetzner-gw"], 7) for node in shut_out}
        assert {node: ping.result() for node, ping in pings.items()} == dict.fromkeys(shut_out, False)
    scene.up()
    wait_for("every pair", lambda: scene.unreachable() == [], 30)


PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()
except OSError:
    sys.exit(1)
"""


@pytest.mark.parametrize(
    ("place", "port", "answers"),
    [
        ("desk", 22, True),
        ("internet", 22, False),
        ("desk", 8443, True),
        ("internet", 8443, True),
        ("desk", 443, True),
        ("internet", 443, True),
        ("desk", 9999, False),
        ("internet", 9999, False),
    ],
)
def test_the_gateway_answers_only_on_declared_ports_and_ssh_only_to_admins(
    scene: Scene, place: str, port: int, answers: bool
) -> None:
    address = scene.outputs()["wg_gateway_ip"]
    listener = "import socket; s = socket.create_server(('', 9999)); s.settimeout(300); s.accept()"
    scene.exec("hetzner-gw", "systemd-run", "-q", "--collect", "-u", "listener", "python3", "-c", listener)
    try:
        wait_for("the listener", lambda: ":9999 " in scene.exec("hetzner-gw", "ss", "-Hltn"), 10)
        where = [] if place == "desk" else ["--from", "internet"]
        done = scene.run("run", *where, "--", "python3", "-c", PROBE, address, str(port), check=False)
        assert (done.returncode == 0) is answers
    finally:
        scene.exec("hetzner-gw", "systemctl", "stop", "listener")


def test_a_gateway_made_anew_without_its_disk_has_everyone_back_untouched(scene: Scene) -> None:
    everyone = scene.everyone()
    assert len(everyone) > len(ADDRESSES)
    before, keys, address = scene.boot_ids(everyone), public_keys(scene), scene.outputs()["wg_gateway_ip"]
    scene.exec("hetzner-gw", "touch", "/var/lib/hybridnet/mark")

    def renew(config: dict[str, Any]) -> None:
        config["gateways"]["hetzner-gw"]["revision"] = 2

    with scene.changed(renew):
        scene.up_without_waiting(preview=True)
    foretold = scene.logs[-1].partition("making the changes")[0]
    assert re.search(r"\+-.* hetzner-gw-server\b", foretold), foretold
    wait_for("every pair", lambda: scene.unreachable(nodes=everyone) == [], 60)
    assert not scene.succeeds("hetzner-gw", "test", "-e", "/var/lib/hybridnet/mark"), "the old disk is still there"
    after = scene.boot_ids(everyone)
    assert {node for node in after if after[node] != before[node]} == {"hetzner-gw"}
    assert (public_keys(scene), scene.outputs()["wg_gateway_ip"]) == (keys, address)
    assert scene.everyone() == everyone
    assert scene.gateway_peers() == scene.wanted_peers()
    scene.up()
