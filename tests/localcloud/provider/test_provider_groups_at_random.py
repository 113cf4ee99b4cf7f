"""Groups through random histories of sizes, ends and interruptions, in simulated time."""

from __future__ import annotations

import random

import pytest

from localcloud.provider import groups, members
from localcloud.provider.members import MEMBER
from localcloud.provider.world import Record
from tests.localcloud.provider.harness import Harness
from tests.localcloud.provider.scenery import make_aws, make_gcp
from tests.localcloud.provider.simulation import AWS, GCP, Simulation


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_no_two_share_an_address_and_in_the_end_there_are_as_many_as_wanted(
    clouds: Harness, seed: int
) -> None:
    chance = random.Random(seed)
    made = {**make_aws(clouds), **make_gcp(clouds)}
    clouds.delete(made["hook"])
    simulation = Simulation(clouds, made)
    ids: dict[str, Record] = {}
    for _ in range(60):
        pool = chance.choice([AWS, GCP])
        nodes = simulation.nodes(pool)
        match chance.choice(["scale", "end", "interrupt", "rebalance", "wait", "wait"]):
            case "scale":
                simulation.scale(pool, chance.randint(2, 6))
            case "end" if nodes:
                simulation.end(chance.choice(nodes), chance.choice(["stopped", "crashed"]))
            case "interrupt" if nodes:
                simulation.interrupt(chance.choice(nodes), chance.choice([None, 0, 3.5]))
            case "rebalance" if pool == AWS and nodes:
                simulation.rebalance(chance.choice(nodes))
            case _:
                pass
        simulation.step(chance.choice([0.5, 0.5, 5, 40, 130]))
        _check_unshared(simulation, ids)
    simulation.settle()
    for _ in range(3):
        simulation.step(200)
        simulation.settle()
    for pool in groups.pools(simulation.world):
        assert [member.phase for member in pool.members] == ["in-service"] * pool.desired, pool
    machines = {members.machine_id(member) for member in simulation.world.all(MEMBER)}
    declared = {made["instance"].id, f"gcp-{made['ginstance'].outputs['instanceId']}"}
    assert clouds.fabric.history[-1].keys() == machines | declared, "nothing is left over"


def _check_unshared(simulation: Simulation, ids: dict[str, Record]) -> None:
    """No two machines share an address or a name; an id that was given is never given to another."""
    specs = simulation.clouds.fabric.history[-1].values()
    cards = [card for spec in specs for card in spec.interfaces]
    for values in ([card.address for card in cards], [card.public for card in cards if card.public]):
        assert len(set(values)) == len(values), values
    nodes = [spec.node for spec in specs]
    assert len(set(nodes)) == len(nodes)
    found = [*simulation.world.all(MEMBER)]
    names = [member.inputs.text("name") for member in found if member.inputs.given("name")]
    assert len(set(names)) == len(names)
    for member in found:
        first = ids.setdefault(member.id, member)
        assert first.facts.number("launched") == member.facts.number("launched")
