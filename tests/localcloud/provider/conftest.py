"""A harness a test, closed at its end."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.localcloud.provider.harness import Harness


@pytest.fixture
def clouds(tmp_path: Path) -> Generator[Harness]:
    harness = Harness(tmp_path / "instance")
    yield harness
    harness.close()
