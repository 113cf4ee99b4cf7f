"""The dev stack, brought up once for all tests of this folder; each test leaves it as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenes.scene import Scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The dev stack, up. Taken down after the last test, whatever happened."""
    scene = Scene(tmp_path_factory.mktemp("scene") / "cloud")
    try:
        scene.up()
        yield scene
    finally:
        scene.run("down")
