"""One world for all tests that need running machines; each test leaves it as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.localcloud.fabric.machines import World


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A hub and two spokes. Taken down after the last test, whatever happened."""
    world = World(tmp_path_factory.mktemp("fabric") / "cloud")
    try:
        world.apply()
        yield world
    finally:
        world.fabric.down()


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """The world as declared, every machine up."""
    running.wait_for_mesh()
    yield running
    running.apply()
