"""One stack for all tests of this folder: making keys is slow."""

from __future__ import annotations

import pytest

from tests.node.support import Stack


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack()
