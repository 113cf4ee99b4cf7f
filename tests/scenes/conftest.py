"""The dev stack, brought up once for the scenes that share it; each test leaves it as it found it."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.scenes.dev_stack import is_on_it
from tests.scenes.scene import Scene

_UP: list[Scene] = []


def _take_down() -> None:
    while _UP:
        _UP.pop().run("down")


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The dev stack, up. Taken down after the last test on it, whatever happened."""
    scene = Scene(tmp_path_factory.mktemp("scene") / "cloud")
    _UP.append(scene)
    try:
        scene.up(preview=True)
        yield scene
    finally:
        _take_down()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None]:
    """What nobody needs any more takes no time from the tests after it."""
    try:
        yield
    finally:
        if nextitem is None or not is_on_it(nextitem.path):
            _take_down()
