"""Machines that join by themselves, are interrupted, and leave."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from bench.place import Place
from localcloud.cli.mesh import run_on
from localcloud.cloud import Cloud
from tests.scenes.pools import POOLS, joined, told_to_joiners
from tests.scenes.scene import Scene, wait_for

pytestmark = pytest.mark.localcloud

TTL = 20
"""Seconds after which a silent member's lease ends where a test cannot wait for the usual five minutes."""


def quick(config: dict[str, Any]) -> None:
    for pool in config["pools"].values():
        pool["leaseTtl"] = TTL


@pytest.fixture(scope="module", autouse=True)
def quick_leases(scene: Scene) -> Generator[None]:
    """Every pool with a short time to live, while these tests run."""
    with scene.changed(quick):
        scene.up()
        yield
    scene.up()


@pytest.mark.parametrize("pool", POOLS)
def test_a_member_joined_by_itself_and_reaches_everyone(scene: Scene, pool: str) -> None:
    (member,) = scene.members(pool)
    everyone = scene.everyone()
    assert everyone[member].startswith(POOLS[pool])
    for other, address in everyone.items():
        if other != member:
            assert scene.pings(member, address), f"{member} -> {other}"
            assert scene.pings(other, everyone[member]), f"{other} -> {member}"


@pytest.mark.parametrize("pool", POOLS)
def test_the_users_own_setup_ran_when_the_tunnel_was_up(scene: Scene, pool: str) -> None:
    (member,) = scene.members(pool)
    wait_for("the setup", lambda: scene.succeeds(member, "test", "-s", "/var/lib/inference-ready"), 60)
    assert "10.100.0.1" in scene.exec(member, "cat", "/var/lib/inference-ready")


KNOCK = """
import socket, sys
address = sys.argv[1]
for port in (22, 80, 8000, 8443, 9586):
    try:
        socket.create_connection((address, port), 1).close()
        print("tcp", port)
    except OSError:
        pass
"""
"""Prints each TCP port of an address that takes a connection."""


def test_no_port_of_a_member_is_open_to_the_internet(scene: Scene) -> None:
    (member,) = scene.members("aws-burst")
    machine = next(found for found in scene.status()["machines"] if found["node"] == member)
    public = machine["addresses"][0]
    assert not public.startswith(("10.", "172."))
    for place in ([], ["--from", "internet"]):
        assert scene.run("run", *place, "--", "python3", "-c", KNOCK, public).stdout == ""
    address = scene.everyone()[member]
    assert "tcp 22" in scene.exec("hetzner-1", "python3", "-c", KNOCK, address), (
        "nor over the overlay: it proves nothing"
    )


@contextmanager
def watched(check: Callable[[], None]) -> Generator[None]:
    """Runs ``check`` over and over beside the block; what it raises is raised at the end."""
    ended, wrong = threading.Event(), list[Exception | AssertionError]()

    def watch() -> None:
        while not ended.wait(0.3):  # a look takes time from the boots that it looks at
            try:
                check()
            except (Exception, AssertionError) as error:
                wrong.append(error)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if wrong:
        raise wrong[0]


def overlay_addresses(scene: Scene, pool: str) -> list[str]:
    """The address that each running member of a pool has on its own interface."""
    cloud = Cloud(scene.directory)
    members = [path.name for path in (cloud.directory / "nodes").glob(f"{pool}-*")]
    said = [run_on(cloud, member, "ip", "-4", "-br", "address", "show", "wg0") or "" for member in members]
    return [words[2] for words in map(str.split, said) if len(words) > 2]


def check_invariants(scene: Scene, pool: str) -> None:
    """No two machines share an address, and the gateway's peers are its roster's and the leases'."""
    shared = [address for address, count in Counter(overlay_addresses(scene, pool)).items() if count > 1]
    assert shared == [], f"machines share {shared}"

    def agree() -> bool:
        peers, wanted = scene.peers_and_wanted()
        assert len(set(wanted.values())) == len(wanted), "two leases share an address"
        return peers == wanted

    # A join or a leave may be half through at one look, but not at each of several.
    wait_for("peers that are the roster's and the leases'", agree, 30)


def test_up_and_down_again_and_again_with_kills_leaves_no_address_shared_and_nothing_behind(scene: Scene) -> None:
    chance = random.Random(4)
    with watched(lambda: check_invariants(scene, "aws-burst")):
        for _ in range(3):
            scene.run("scale", "aws-burst", "6")
            scene.run("kill", chance.choice(scene.members("aws-burst")))
            scene.run("scale", "aws-burst", "2")
            if chance.random() < 0.5:
                scene.run("kill", chance.choice(scene.members("aws-burst")))
    scene.run("scale", "aws-burst", "6")
    wait_for("six members that work", lambda: joined(scene, "aws-burst", 6), 90)
    scene.run("scale", "aws-burst", "1")
    wait_for("the last member", lambda: joined(scene, "aws-burst", 1), 60)
    wait_for("the end of every other lease", lambda: len(scene.leases("aws-burst")) == 1, 3 * TTL)
    wait_for("the end of their peers", lambda: scene.gateway_peers() == scene.wanted_peers(), 5)
    assert len([m for m in scene.status()["machines"] if m["node"].startswith("aws-burst-")]) == 1


def lease_of(scene: Scene, name: str) -> dict[str, Any] | None:
    return next((lease for lease in scene.leases() if lease["name"] == name), None)


@pytest.mark.parametrize(("pool", "after"), [("aws-burst", 20), ("gcp-burst", 20)])
def test_an_interrupted_member_drains_leaves_and_is_replaced(scene: Scene, pool: str, after: int) -> None:
    wait_for("a member", lambda: joined(scene, pool, 1), 60)
    (member,) = scene.members(pool)
    scene.run("interrupt", member, "--after", str(after))

    def told() -> bool:
        lease = lease_of(scene, member)
        return lease is None or lease["state"] != "active"

    wait_for("draining at the gateway", told, 10)
    wait_for("its leave", lambda: lease_of(scene, member) is None, after)
    # At Google's the machine shuts down at the notice, and may be gone as soon as it has left.
    assert pool != "aws-burst" or member in scene.members(pool), "gone before it could leave"
    wait_for("its replacement", lambda: member not in scene.members(pool) and joined(scene, pool, 1), after + 60)
    story = [(line["event"], line.get("node")) for line in scene.audit() if line["event"] in ("join", "drain", "leave")]
    (replacement,) = scene.members(pool)
    own = [event for event, node in story if node == member]
    assert own == ["join", "drain", "leave"]
    assert ("join", replacement) in story[story.index(("join", member)) :]


def test_a_rebalance_recommendation_lowers_the_weight_at_once(scene: Scene) -> None:
    wait_for("a member", lambda: joined(scene, "aws-burst", 1), 60)
    (member,) = scene.members("aws-burst")
    scene.run("interrupt", member, "--rebalance")
    lighter = [False]

    def lowered() -> bool:
        lease = lease_of(scene, member)
        lighter[0] = lease is not None and lease["state"] == "active" and lease["weight"] < 100
        return lighter[0] or lease is None

    wait_for("a lower weight", lowered, 20)
    assert lighter[0]
    wait_for("one member again", lambda: joined(scene, "aws-burst", 1), 90)


def test_a_member_that_vanishes_is_unhealthy_soon_and_dropped_at_its_time(scene: Scene) -> None:
    wait_for("a member", lambda: joined(scene, "gcp-burst", 1), 60)
    (member,) = scene.members("gcp-burst")
    scene.run("kill", member)
    wait_for("unhealthy", lambda: not (lease_of(scene, member) or {"healthy": False})["healthy"], 30)
    wait_for("the end of its lease", lambda: lease_of(scene, member) is None, 3 * TTL)
    assert ("expire", member) in [(line["event"], line.get("node")) for line in scene.audit()]
    wait_for("its replacement", lambda: joined(scene, "gcp-burst", 1), 60)


def test_a_restarted_agent_disturbs_nothing(scene: Scene) -> None:
    wait_for("a member", lambda: joined(scene, "gcp-burst", 1), 60)
    (member,) = scene.members("gcp-burst")
    lease = lease_of(scene, member)
    assert lease is not None
    with scene.pinging("hetzner-1", lease["address"]) as seen:
        scene.exec(member, "systemctl", "restart", "hybridnet")
        wait_for("the agent", lambda: scene.succeeds(member, "pgrep", "-f", "node pool"), 20)
    assert seen[0].received == seen[0].sent > 0
    assert [line["event"] for line in scene.audit() if line.get("node") == member and line["event"] == "leave"] == []


def test_a_rebooted_member_leaves_and_is_back_at_its_own_address(scene: Scene) -> None:
    """A managed group repairs what stops; a machine that only boots again stays in it."""
    wait_for("a member", lambda: joined(scene, "gcp-burst", 1), 60)
    (member,) = scene.members("gcp-burst")
    before = lease_of(scene, member)
    assert before is not None
    seen = len(scene.audit())
    scene.run("reboot", member)
    events = [line["event"] for line in scene.audit()[seen:] if line.get("node") == member]
    assert events[:2] == ["drain", "leave"]
    wait_for("its return", lambda: joined(scene, "gcp-burst", 1), 60)
    after = lease_of(scene, member)
    assert after is not None
    assert (after["address"], after["public_key"]) == (before["address"], before["public_key"])


def test_a_pool_may_ask_every_machine_for_its_clouds_proof(scene: Scene) -> None:
    certificate = scene.run("identity").stdout

    def strict(config: dict[str, Any]) -> None:
        quick(config)
        config["sites"]["aws"]["identityCertificates"] = [certificate]
        for pool in config["pools"].values():
            pool["requireIdentity"] = True

    with scene.changed(strict):
        scene.up()
        for pool in POOLS:
            (member,) = scene.members(pool)
            scene.run("kill", member)
            wait_for("another", lambda p=pool, m=member: m not in scene.members(p) and joined(scene, p, 1), 120)
            refused = Place(scene.directory).client("-m", "tests.scenes.joiners")
            _, said = refused.communicate(told_to_joiners(Place(scene.directory), pool, 1))
            assert refused.returncode != 0
            assert "403" in said
    scene.up()
