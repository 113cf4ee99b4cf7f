"""What a node is told to ask for at once, and what it is left alone for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.gateways import Trio, three_sites
from tests.node.support import Stack


@pytest.fixture
def trio(tmp_path: Path, stack: Stack, request: pytest.FixtureRequest) -> Iterator[Trio]:
    made = Trio(tmp_path, stack, three_sites(getattr(request, "param", "sites")))
    yield made
    made.close()


@pytest.mark.parametrize("trio", ["mesh"], indirect=True)
def test_a_node_is_to_ask_again_when_what_it_needs_is_another(trio: Trio) -> None:
    """In a mesh others' machines, where they are seen, and its own links; never the links of others."""
    home = trio.gateways["gw-b"]

    def pressing() -> tuple[object, object]:
        return home.directory.pressing("b-1"), home.directory.pressing("b-2")

    found = [pressing()]
    home.ask(trio.node("b-1"), trio.report("b-1", "gw-b", ("c-1",)))
    assert pressing() == found[0]
    home.ask(trio.node("c-1"), trio.report("c-1", "gw-c", ("b-1",)))
    found.append(pressing())
    assert (found[1][0] != found[0][0], found[1][1] == found[0][1]) == (True, True)
    trio.gateways["gw-a"].join(1)
    trio.exchange()
    found.append(pressing())
    assert found[2][1] != found[1][1]
    state = home.wireguard.state[trio.node("b-1").public_key]
    home.wireguard.state[state.public_key] = state._replace(endpoint="203.0.113.5:51820", handshake=1)
    trio.exchange()
    assert pressing()[1] != found[2][1]


def test_outside_a_mesh_nodes_are_left_alone_when_machines_come(trio: Trio) -> None:
    before = trio.gateways["gw-b"].directory.pressing("b-1")
    trio.gateways["gw-b"].join(1)
    trio.exchange()
    assert trio.gateways["gw-b"].directory.pressing("b-1") == before
    trio.push(three_sites("sites", 2))
    assert trio.gateways["gw-b"].directory.pressing("b-1") != before
