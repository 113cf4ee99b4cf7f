"""Whose leases end, and who is let in, when machines hang on other gateways or a pool's home moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node.gateway.lease import Lease, Refusal
from node.network_words import Report
from overlay.model import Node
from overlay.roster import Roster
from tests.node.clocked import Scene
from tests.node.ledgers import Pools, ticket_of
from tests.node.pools import pool_roster
from tests.node.support import Stack, key, signed

OTHER = Node("gw-2", "gcp", IPv4Address("127.0.2.126"), "gateway", key("gw-2"), "198.51.100.2:51820")


def two_gateways(number: int = 2, topology: str = "sites") -> Roster:
    """The gateway of the tests in the site ``aws``, and another one in ``gcp``."""
    made = pool_roster(number)
    return replace(made, nodes=(*made.nodes, OTHER), network=replace(made.network, topology=topology))


@pytest.fixture
async def scene(tmp_path: Path, stack: Stack) -> AsyncIterator[Scene]:
    made = Scene(tmp_path, stack, 1)
    await made.members.follow()
    assert made.network.rosters.offer(*signed(stack, two_gateways()))[0] == 201
    await made.members.follow()
    made.probe.alive |= {IPv4Address("127.0.1.1"), OTHER.address}
    await made.go(20)
    yield made
    made.close()


def move(scene: Scene, name: str, stamp: int = 1, gateway: str = "gw-2") -> None:
    scene.network.take_reports([Report(name, stamp, gateway)])


async def test_machines_on_a_dead_gateway_keep_their_leases_and_those_here_do_not(scene: Scene) -> None:
    there, here, well = scene.join(1), scene.join(2), scene.join(3)
    move(scene, there.name)
    await scene.go(10)
    assert scene.network.has(there)
    assert there.public_key not in scene.network.whole.desired
    scene.probe.alive -= {there.address, here.address, OTHER.address}
    await scene.go(400)
    assert scene.network.leases.live() == [there, well]
    assert scene.members.status()["cleanup"] == "no peer answers behind gw-2"
    scene.probe.alive.add(OTHER.address)
    await scene.go(290)
    assert there in scene.network.leases.live(), "its silence counts from when that gateway answers"
    await scene.go(20)
    assert scene.network.leases.live() == [well]
    assert scene.members.status()["cleanup"] is None


async def test_a_machine_on_another_gateway_works_while_it_answers(scene: Scene) -> None:
    lease = scene.join(1)
    move(scene, lease.name)
    await scene.go(20)
    assert scene.members.admission.is_working(lease)
    scene.probe.alive -= {lease.address}
    await scene.go(40)
    assert not scene.members.admission.is_working(lease), "no traffic of its tunnel can be seen here"
    move(scene, lease.name, 2, "gw")
    scene.talking.add(lease.public_key)
    await scene.go(40)
    assert scene.members.admission.is_working(lease), "here it can"


async def test_another_gateway_that_answers_shows_that_this_one_is_not_cut_off(scene: Scene) -> None:
    lease = scene.join(1)
    await scene.go(10)
    scene.probe.alive = {OTHER.address}
    await scene.go(310)
    assert scene.network.leases.live() == []
    assert scene.members.status()["cleanup"] is None
    assert lease.public_key not in scene.wireguard.state


def test_a_gateway_that_gets_a_pool_takes_those_first_who_were_in_it(tmp_path: Path) -> None:
    pools = Pools(tmp_path)
    pools.leases.follow(pool_roster(1), {"burst": "gw-2"})
    pools.leases.follow(pool_roster(2))
    with pytest.raises(Refusal, match="come first") as caught:
        pools.join(1)
    assert (caught.value.status, caught.value.retry_after) == (503, 61)
    lease = pools.join(2, ticket=replace(ticket_of(_lease()), public_key=key("m2")))
    assert lease.address == _lease().address
    pools.clock.now += 61
    assert pools.join(1).address != lease.address


def test_leases_of_a_pool_that_goes_to_another_gateway_end_with_the_reason(tmp_path: Path) -> None:
    pools = Pools(tmp_path)
    pools.leases.follow(pool_roster(1))
    lease = pools.join(1)
    assert pools.leases.follow(pool_roster(2), {"other": "gw-2"}) == []
    assert pools.leases.follow(pool_roster(3), {"burst": "gw-2"}) == [(lease, "its machines join at gw-2 now")]
    assert pools.leases.live() == []


def _lease() -> Lease:
    return Lease("1", "burst", "burst-2", IPv4Address("127.0.1.200"), key("m2"), f"i-{2:017x}", "active", 100, 1.0)
