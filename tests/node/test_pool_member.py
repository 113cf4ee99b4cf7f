"""A pool machine's agent and the gateway's own service, over real HTTPS: what each says is what the other understands.

The overlay lies in 127.0.0.0/16; the agent's requests to the gateway's overlay address come from the machine's own, as
they would through the tunnel.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node import keys
from node.pool.system import DRAIN
from tests.node.identities import aws_identity, aws_proof
from tests.node.pool_support import AWS, FakeGateway, FakeMetadata, Member, pool_config
from tests.node.pools import GATEWAY_KEYS, STRANGER, TOKENS, PoolGateway, pool, pool_roster, serving
from tests.node.support import GATEWAY_ADDRESS, Stack

INSTANCE = "i-0abc1234def567890"


@pytest.fixture
def machine(
    tmp_path: Path, stack: Stack, quick: None, metadata: FakeMetadata, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Member]:
    made = Member(tmp_path, stack, FakeGateway(), metadata)
    (made.state / "releases").mkdir()

    class Connection(http.client.HTTPSConnection):
        """From the machine's overlay address to the gateway's, from anywhere to its public one."""

        def __init__(self, host: str, port: int, **more: Any) -> None:
            source = STRANGER
            if host == GATEWAY_ADDRESS:
                [line] = [line for line in made.conf.read_text().splitlines() if line.startswith("Address")]
                source = str(ipaddress.IPv4Interface(line.partition(" = ")[2]).ip)
            super().__init__(host, port, source_address=(source, 0), **more)

    client = SimpleNamespace(HTTPSConnection=Connection, HTTPException=http.client.HTTPException)
    monkeypatch.setattr("node.control.http", SimpleNamespace(client=client))
    yield made
    made.end()


@asynccontextmanager
async def gateway_for(machine: Member, folder: Path, stack: Stack, number: int = 1) -> AsyncGenerator[PoolGateway]:
    """A gateway with a pool that asks for proof, and whose control plane the machine was told."""
    async with serving(folder, stack) as gateway:
        await gateway.push(pool_roster(number, pools=(pool(identity=aws_identity()),)))
        key = GATEWAY_KEYS[1]
        pool_config(machine.files, stack, gateway.port, TOKENS["burst"], name="burst", gateway_public_key=key)
        yield gateway


async def ended(machine: Member) -> None:
    await asyncio.to_thread(machine.end)


def prove(machine: Member) -> None:
    proof = aws_proof(INSTANCE)
    machine.metadata.texts["/latest/dynamic/instance-identity/document"] = proof.document
    machine.metadata.texts["/latest/dynamic/instance-identity/signature"] = proof.signature


async def test_a_machine_joins_proves_itself_drains_and_leaves(tmp_path: Path, stack: Stack, machine: Member) -> None:
    prove(machine)
    (machine.files / "drain").touch()
    async with gateway_for(machine, tmp_path / "gateway", stack) as gateway:
        machine.start()
        await gateway.until((machine.state / "lease.json").exists, "the answer")
        [lease] = gateway.live()
        assert (lease.name, lease.instance_id) == ("burst-ef567890", INSTANCE)
        assert lease.public_key == keys.public_key(machine.private_key())
        assert lease.public_key in gateway.peers()
        machine.metadata.texts[f"{AWS}events/recommendations/rebalance"] = "{}"
        await gateway.until(lambda: [each.weight for each in gateway.live()] == [10], "less weight")
        machine.metadata.texts[f"{AWS}spot/instance-action"] = '{"action": "terminate"}'
        await gateway.until(lambda: [each.state for each in gateway.live()] == ["draining"], "the drain")
        await gateway.until(lambda: machine.system.state(DRAIN) == "activating", "the hook")
        machine.system.finish_drain()
        await gateway.until(lambda: not gateway.live(), "the leave")
        await gateway.until(lambda: lease.public_key not in gateway.peers(), "the end of the peer")
        assert machine.system.log[-1] == f"start {DRAIN}"
        assert gateway.events(lease.name) == ["join", "weight", "drain", "leave"]
        assert gateway.audit()[-1]["reason"] == "spot interruption (terminate)"
        await ended(machine)


async def test_a_machine_without_the_proof_that_its_pool_asks_for_is_told_so(
    tmp_path: Path, stack: Stack, machine: Member, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def refused() -> bool:
        said.append(capfd.readouterr().err)
        return "cannot join: 403" in "".join(said)

    async with gateway_for(machine, tmp_path / "gateway", stack) as gateway:
        machine.start()
        await gateway.until(refused, "the refusal")
        assert not gateway.live()
        prove(machine)
        await gateway.until(lambda: bool(gateway.live()), "the lease")
        await ended(machine)


async def test_a_gateway_that_lost_its_disk_gives_the_machine_its_address_again(
    tmp_path: Path, stack: Stack, machine: Member
) -> None:
    prove(machine)
    async with gateway_for(machine, tmp_path / "gateway", stack) as gateway:
        machine.start()
        await gateway.until(lambda: bool(gateway.live()), "the lease")
        [before] = gateway.live()
        await gateway.until((machine.state / "lease.json").exists, "the machine's copy")
        await ended(machine)
    restarts = list(machine.system.log)
    async with gateway_for(machine, tmp_path / "another disk", stack, number=5) as gateway:
        machine.start()
        await gateway.until(lambda: bool(gateway.live()), "the lease")
        [after] = gateway.live()
        assert (after.address, after.id, after.name) == (before.address, before.id, before.name)
        await ended(machine)
    assert machine.system.log == restarts, "the tunnel was touched"


async def test_a_shutdown_ends_the_lease_and_the_next_boot_begins_another(
    tmp_path: Path, stack: Stack, machine: Member
) -> None:
    prove(machine)
    async with gateway_for(machine, tmp_path / "gateway", stack) as gateway:
        machine.start()
        await gateway.until((machine.state / "lease.json").exists, "the lease")
        [before] = gateway.live()
        machine.system.stopping = True
        await ended(machine)
        await gateway.until(lambda: not gateway.live(), "the leave")
        machine.system.reboot()
        machine.system.stopping = False
        machine.start()
        await gateway.until(lambda: bool(gateway.live()), "another lease")
        [after] = gateway.live()
        assert (after.address, after.public_key) == (before.address, before.public_key)
        assert after.id != before.id
        await ended(machine)
    assert json.loads((machine.state / "lease.json").read_text())["ended"] is False
