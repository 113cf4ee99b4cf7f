"""A gateway's service that is killed while machines join."""

from __future__ import annotations

import json
from threading import Thread
from typing import Any, cast

import pytest

from bench.place import Place
from tests.scenes.pools import told_to_joiners
from tests.scenes.scene import Scene, wait_for

pytestmark = pytest.mark.localcloud

JOINERS = 80
POOL = "wide"


def widen(config: dict[str, Any]) -> None:
    """A pool without machines of its own, with room for all that join."""
    config["sites"]["aws-wide"] = {**config["sites"]["aws"], "subnet": "10.100.64.0/18", "vpcCidr": "172.27.0.0/20"}
    config["pools"][POOL] = {"site": "aws-wide", "range": "10.100.64.0/22", "min": 0, "max": JOINERS}


def test_a_service_killed_amid_many_joins_leaves_each_machine_one_lease_that_works(scene: Scene) -> None:
    with scene.changed(widen):
        scene.up()
        place = Place(scene.directory)
        said: list[str] = []
        with place.client("-m", "tests.scenes.joiners") as client:
            assert client.stdin
            assert client.stdout
            client.stdin.write(told_to_joiners(place, POOL, JOINERS))
            client.stdin.close()
            listener = Thread(target=said.extend, args=(client.stdout,))
            listener.start()
            wait_for("a third of the machines", lambda: len(said) >= JOINERS // 3, 60)
            kill = "pgrep -f '[n]ode gateway'; systemctl kill -s KILL hybridnet.service"
            before = set(scene.exec("hetzner-gw", "sh", "-c", kill).split())
            assert len(said) < JOINERS, "all had joined before the kill"
            listener.join()
            assert client.wait() == 0

        def is_back() -> bool:
            now = set(scene.exec("hetzner-gw", "pgrep", "-f", "[n]ode gateway", check=False).split())
            return bool(now) and before.isdisjoint(now)

        assert before
        wait_for("the service that was killed", is_back, 30)
        outcomes = cast("list[dict[str, Any]]", json.loads(said[-1]))
        assert [outcome for outcome in outcomes if not outcome["came_back"]] == []
        assert [outcome for outcome in outcomes if len(set(outcome["addresses"])) != 1] == []
        given = {outcome["addresses"][0] for outcome in outcomes}
        leases = scene.leases(POOL)
        assert len(given) == len(leases) == JOINERS
        assert given == {lease["address"] for lease in leases}
        assert scene.gateway_peers() == scene.wanted_peers()
    scene.up()
    wait_for("the end of the pool's leases", lambda: scene.leases(POOL) == [], 30)

    def has_what_it_should() -> bool:
        peers, wanted = scene.peers_and_wanted()
        return peers == wanted

    wait_for("the end of their peers", has_what_it_should, 5)
