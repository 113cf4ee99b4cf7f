"""One stack for all tests of this folder, since making keys is slow; and a pool's machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node import follow, stage0
from node.pool import agent as agents
from node.pool import watch
from tests.node.pool_support import AWS, FakeGateway, FakeMetadata, Member, serving, telling
from tests.node.support import Stack


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack()


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents of pools that do not wait long, with their folders in ``tmp_path``."""
    for module, name, value in (
        (agents, "POLL_SECONDS", 0.05),
        (agents, "SILENCE_SECONDS", 0.5),
        (agents, "_SLICE", 0.02),
        (watch, "LOOK_SECONDS", 0.05),
        (follow, "ASK_SECONDS", 0.1),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(stage0, "RELEASES", tmp_path / "state" / "releases")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path / "files"))


@pytest.fixture
def metadata() -> Iterator[FakeMetadata]:
    with telling(FakeMetadata({f"{AWS}instance-id": "i-0abc1234def567890"})) as made:
        yield made


@pytest.fixture
def member(tmp_path: Path, stack: Stack, quick: None, metadata: FakeMetadata) -> Iterator[Member]:
    """A machine of a pool, and its gateway."""
    with serving(FakeGateway(), stack, tmp_path / "gateway") as gateway:
        made = Member(tmp_path, stack, gateway, metadata)
        (made.state / "releases").mkdir()
        yield made
        made.end()
