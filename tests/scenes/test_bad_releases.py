"""Releases that are bad in every way: each machine is back on the one before within 30 s, and says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.scenes.releases import push
from tests.scenes.scene import Scene, wait_for
from tests.scenes.small import small_stack

pytestmark = pytest.mark.localcloud

GATEWAY, SPOKE = "hetzner-gw", "hetzner-1"
BOUND = 30.0
"""Seconds from the start of a release that is bad at once until the one before starts again."""
STARTS = re.compile(r"^(\d+\.\d+) .*: release (\d+) starts$", re.MULTILINE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with small_stack(tmp_path_factory.mktemp("bad"), with_pool=True) as scene:
        yield scene


def journal(scene: Scene, node: str) -> str:
    return scene.exec(node, "journalctl", "--unit=hybridnet", "--output=short-unix", "--no-pager")


def starts(scene: Scene, node: str) -> list[tuple[float, int]]:
    """When which release started, by the machine's journal."""
    return [(float(at), int(number)) for at, number in STARTS.findall(journal(scene, node))]


def is_back(scene: Scene, node: str, bad: int, good: int) -> bool:
    numbers = [number for _, number in starts(scene, node)]
    return bad in numbers and numbers[-1] == good


def assert_was_quick(scene: Scene, node: str, bad: int, good: int) -> None:
    after = [(later - at, number) for (at, which), (later, number) in pairwise(starts(scene, node)) if which == bad]
    (took, number) = after[0]
    assert (len(after), number) == (1, good), "it ran once, and then the one before"
    assert took < BOUND, f"{node} was on release {bad} for {took:.1f} s"
    assert f"release {bad} failed and is not run again" in journal(scene, node)


def test_a_bad_release_is_left_by_every_role_whatever_is_wrong_with_it(small: Scene, tmp_path: Path) -> None:
    machine = small.leases()[0]["name"]
    first = small.gateway_status()["release"]["number"]
    with small.pinging(SPOKE, small.leases()[0]["address"]) as seen:
        # Good for the gateway, whose release the others follow.
        good = first + 1
        push(small, good, {"spoke": "crashes after a beat", "pool": "hangs after a beat"}, tmp_path)
        for node in (SPOKE, machine):
            wait_for(f"{node} has left the bad release", lambda node=node: is_back(small, node, good, first), 120)
            assert_was_quick(small, node, good, first)

        for number, way, reason in (
            (first + 2, "fails its check", "its self-check ended with status 4"),
            (first + 3, "crashes", "it ended with status 3"),
            (first + 4, "crashes after a beat", "it ended with status 3"),
            (first + 5, "hangs", "it hung for 25 s"),
        ):
            push(small, number, {"gateway": way}, tmp_path)
            wait_for(
                f"the gateway says of a release that {way}",
                lambda number=number, reason=reason: failed(small) == (number, reason),
                60,
            )
            wait_for("the one before", lambda: runs(small) == good, 60)
            if way != "fails its check":
                assert_was_quick(small, GATEWAY, number, good)
    assert seen[0].received == seen[0].sent > 0
    wait_for("the gateway's own verdict", lambda: (small.gateway_answer() or {}).get("healthy") is True, 15)

    for node in (GATEWAY, SPOKE, machine):
        done = small.run("exec", node, "--", "hybridnet", "health")
        number = first + 5 if node == GATEWAY else good
        assert f"release {number} failed here and an older one runs: it " in done.stdout
        small.exec(node, "systemctl", "start", "hybridnet-health.service")
    wait_for("the gateway knows of the spoke's", lambda: "failed here" in condition(small, SPOKE), 30)


def failed(scene: Scene) -> tuple[int, str] | None:
    found = (scene.gateway_answer() or {}).get("failed_release")
    return None if found is None else (found["number"], found["reason"])


def runs(scene: Scene) -> int | None:
    """The number of the release that the gateway runs; None while stage 0 answers in its place, or nobody."""
    release = (scene.gateway_answer() or {}).get("release")
    return None if release is None else release["number"]


def condition(scene: Scene, node: str) -> str:
    return " ".join(scene.gateway_status()["conditions"].get(node, {"problems": []})["problems"])
