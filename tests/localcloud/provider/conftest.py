"""A harness a test, closed at its end; pools whose members are there."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.localcloud.provider.harness import Harness
from tests.localcloud.provider.scenery import make_aws, make_gcp
from tests.localcloud.provider.simulation import Simulation


@pytest.fixture
def clouds(tmp_path: Path) -> Generator[Harness]:
    harness = Harness(tmp_path / "instance")
    yield harness
    harness.close()


@pytest.fixture
def aws_pool(clouds: Harness) -> Simulation:
    made = make_aws(clouds)
    clouds.delete(made["hook"])
    simulation = Simulation(clouds, made)
    simulation.settle()
    return simulation


@pytest.fixture
def gcp_pool(clouds: Harness) -> Simulation:
    simulation = Simulation(clouds, make_gcp(clouds))
    simulation.settle()
    return simulation
