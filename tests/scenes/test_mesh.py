"""A mesh: direct tunnels wherever they can be, the gateway for the rest, and nobody who needs it for what is direct."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

import pytest

from bench.pings import everybody_pings
from tests.scenes.scene import Scene, wait_for

pytestmark = pytest.mark.localcloud

GATEWAY = "10.100.0.1"
HIDDEN = ("gcp-1", "gcp-2")
"""Behind Cloud NAT, whose ports are another for each far end: nobody can call them."""
ONLY_IPV6 = "hetzner-2"
SPEAKS_IPV6 = ("hetzner-gw", "hetzner-1")
"""Who can call that one, or is called by it."""
CLOSED = "aws-burst-"
"""The beginning of the names of a pool's machines, to which no port is open: they have to call, too.

Two of them would open the way for each other on AWS, where a security group knows what it has let out; that of the
local cloud forgets a packet that the far end's refused.
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The stack ``mesh``, up. Taken down after the last test, whatever happened."""
    scene = Scene(tmp_path_factory.mktemp("mesh") / "cloud", "mesh", control=GATEWAY)
    try:
        scene.up(preview=True)
        yield scene
    finally:
        scene.run("down")


def is_direct(source: str, target: str) -> bool:
    ends = (source, target)
    if ONLY_IPV6 in ends:
        return any(end in SPEAKS_IPV6 for end in ends)
    return not all(end in HIDDEN or end.startswith(CLOSED) for end in ends)


def wrong_ways(scene: Scene, nodes: Mapping[str, str]) -> list[str]:
    """The pairs that do not go as they should: in one hop, or through the gateway."""
    found: list[str] = []
    for source in nodes:
        others = {target: address for target, address in nodes.items() if target != source}
        hops = scene.hops_to(source, others.values())
        wanted = {at: [at] if is_direct(source, target) else [GATEWAY, at] for target, at in others.items()}
        found += [f"{source} -> {target}" for target, at in others.items() if hops.get(at) != wanted[at]]
    return found


def test_every_pair_that_can_is_one_hop_and_the_others_go_through_the_gateway(mesh: Scene) -> None:
    nodes = mesh.everyone()
    wait_for("every pair's way", lambda: wrong_ways(mesh, nodes) == [], 120)
    assert mesh.unreachable(nodes=nodes) == []


def test_a_new_node_is_known_everywhere_within_5_seconds(mesh: Scene) -> None:
    before = {lease["name"] for lease in mesh.leases()}
    mesh.run("scale", "aws-burst", "2")
    wait_for("another lease", lambda: len(mesh.leases()) > len(before), 90)
    (new,) = [lease for lease in mesh.leases() if lease["name"] not in before]

    def knows(node: str) -> bool:
        return new["public_key"] in mesh.exec(node, "wg", "show", "wg0", "peers")

    for node in ("hetzner-1", "hetzner-2", "aws-1", "gcp-1", "gcp-2"):
        wait_for(f"the new node at {node}", lambda n=node: knows(n), 5)
    nodes = mesh.everyone()
    wait_for("every pair's way", lambda: wrong_ways(mesh, nodes) == [], 120)
    mesh.run("scale", "aws-burst", "1")
    wait_for("a lease's end", lambda: len(mesh.leases()) == len(before), 90)


def test_without_the_gateway_direct_pairs_lose_nothing(mesh: Scene) -> None:
    nodes = mesh.everyone()
    wait_for("every pair's way", lambda: wrong_ways(mesh, nodes) == [], 120)
    direct = {name: address for name, address in nodes.items() if name not in ("hetzner-gw", ONLY_IPV6, *HIDDEN)}
    with everybody_pings(mesh.directory, direct) as losses:
        mesh.run("kill", "hetzner-gw")
        alive = {name: address for name, address in nodes.items() if name != "hetzner-gw"}
        hidden = [f"{a} -> {b}" for a, b in permutations(alive, 2) if not is_direct(a, b)]
        assert sorted(mesh.unreachable(nodes=alive)) == sorted(hidden)
        mesh.run("start", "hetzner-gw")
        wait_for("every pair", lambda: mesh.unreachable(nodes=nodes) == [], 30)
    assert sum(loss.sent for loss in losses) > 0
    assert [loss for loss in losses if loss.total] == []
    wait_for("every pair's way", lambda: wrong_ways(mesh, nodes) == [], 120)


def test_a_cut_link_gives_way_to_the_gateway_within_15_seconds_and_comes_back_when_it_is_whole(mesh: Scene) -> None:
    nodes = mesh.everyone()
    one, other = "hetzner-1", "aws-1"
    wait_for("the direct way", lambda: mesh.hops(one, nodes[other]) == [nodes[other]], 60)
    mesh.run("cut", one, other)
    try:
        wait_for("pings through the gateway", lambda: mesh.pings(one, nodes[other]), 15)
        for source, target in ((one, nodes[other]), (other, nodes[one])):
            wait_for(f"{source}'s way", lambda s=source, t=target: mesh.hops(s, t) == [GATEWAY, t], 10)
    finally:
        mesh.run("heal", one, other)
    wait_for("the direct way", lambda: mesh.hops(one, nodes[other]) == [nodes[other]], 60)
    wait_for("the way back", lambda: mesh.pings(other, nodes[one]), 10)


def test_a_rebooted_node_has_its_links_again(mesh: Scene) -> None:
    nodes = mesh.everyone()
    mesh.run("reboot", "aws-1")
    wait_for("the rebooted node", lambda: mesh.pings("hetzner-1", nodes["aws-1"]), 20)
    wait_for("its links", lambda: mesh.hops("hetzner-1", nodes["aws-1"]) == [nodes["aws-1"]], 60)
