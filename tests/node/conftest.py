"""One stack for all tests of this folder, since making keys is slow; and a pool's machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from node import control, follow, stage0
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.limits import Buckets
from node.pool import agent as agents
from node.pool import watch
from tests.node.clocked import SPOKE, Scene
from tests.node.identities import google_keys
from tests.node.pool_support import AWS, FakeGateway, FakeMetadata, Member, serving, telling
from tests.node.pools import PoolGateway, pool_roster
from tests.node.pools import serving as serving_pools
from tests.node.real_nginx import find_nginx
from tests.node.support import Stack


@pytest.fixture(scope="session")
def stack() -> Stack:
    return Stack()


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bucket that counts failures refills."""
    monkeypatch.setattr(Buckets.__init__, "__defaults__", (4096, lambda: 0.0))


@pytest.fixture
async def gateway(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PoolGateway]:
    """A gateway with pools, over real HTTPS."""
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    async with serving_pools(tmp_path, stack, google=GoogleKeys(google_keys)) as found:
        await found.push(pool_roster())
        yield found


@pytest.fixture
def spokes() -> int:
    """How many declared spokes ``scene`` has."""
    return 1


@pytest.fixture
async def scene(tmp_path: Path, stack: Stack, spokes: int) -> AsyncIterator[Scene]:
    made = Scene(tmp_path, stack, spokes)
    made.probe.alive.add(SPOKE)
    await made.members.follow()
    await made.go(20)
    yield made
    made.close()


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents of pools that do not wait long, with their folders in ``tmp_path``."""
    for module, name, value in (
        (agents, "POLL_SECONDS", 0.05),
        (agents, "SILENCE_SECONDS", 0.5),
        (agents, "_SLICE", 0.02),
        (watch, "LOOK_SECONDS", 0.05),
        (follow, "ASK_SECONDS", 0.1),
        (control, "TIMEOUT", 60.0),
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


@pytest.fixture(scope="session")
def nginx_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_nginx(tmp_path_factory.mktemp("nginx"))
