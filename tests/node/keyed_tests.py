"""How a world of interfaces is made for a test, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from overlay.roster import Roster
from tests.node.gateways import three_sites
from tests.node.keyed_world import GatewayBox, World
from tests.node.support import Stack

Made = Callable[..., World]


def declared(topology: str, number: int = 1) -> Roster:
    """Gateways and spokes of three sites, in the roster of this number."""
    return replace(three_sites(topology), pools=(), number=number)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Made]:
    """Makes a world, in which every packet passes already."""
    made: list[World] = []

    def make(seed: int = 0, roster: Roster | None = None) -> World:
        found = World(tmp_path, Stack(), roster or declared("sites"), seed)
        made.append(found)
        found.settles()
        return found

    yield make
    for each in made:
        each.close()


def nothing_lost(world: World) -> None:
    """From now on every packet passes, at every moment."""

    def look() -> None:
        for one, other in world.pairs():
            assert world.passes(one, other), f"{one.node.name} -> {other.node.name}: dropped"

    world.look = look  # type: ignore[method-assign]


def ask(world: World, *names: str) -> None:
    """As ``hybridnet rotate`` does on the gateways."""
    for name in names:
        node = world.roster.node(name)
        gateway = world.boxes[name if node.role == "gateway" else world.gateway_of(node).name]
        assert isinstance(gateway, GatewayBox)
        assert gateway.rotation.ask(gateway.network, [name]) == [name]


def change(world: World, *names: str) -> None:
    """Have these keys changed, until they are and all is at rest again."""
    before = keys(world)
    ask(world, *names)
    for _ in range(900):
        world.step()
        if world.is_settled() and all(keys(world)[name] != before[name] for name in names):
            break
    assert {name for name, key in keys(world).items() if key != before[name]} == set(names)


def keys(world: World) -> dict[str, str | None]:
    return {name: box.first.public_key() for name, box in world.boxes.items()}
