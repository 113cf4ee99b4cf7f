"""A gateway's members without the service around them, and with a clock that goes when it is told to."""

from __future__ import annotations

import base64
import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from node import config as machine
from node.gateway.admission import Admission, Store
from node.gateway.audit import Audit
from node.gateway.health import Health
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.lease import Lease, State
from node.gateway.members import Members
from node.gateway.network import Network
from node.gateway.tickets import Seal
from node.gateway.traffic import Traffic
from node.joining import Request
from tests.node.pools import SEAL_KEY, pool_roster
from tests.node.support import (
    MemoryFirewall,
    MemoryProbe,
    MemoryWireGuard,
    Stack,
    Time,
    key,
    signed,
    write_config,
)

SPOKE = IPv4Address("127.0.1.1")


class Scene:
    """A gateway's members without the service around them."""

    def __init__(self, folder: Path, stack: Stack, spokes: int) -> None:
        write_config(folder / "config", stack, "gateway", "127.0.0.1:8443")
        (folder / "state").mkdir()
        config = machine.Config(
            "gateway", "gw", (IPv4Address("127.0.0.1"), 8443), stack.public_key, folder / "state", folder / "config"
        )
        self.time = Time()
        self.wireguard, self.probe = MemoryWireGuard(), MemoryProbe()
        self.network = Network(config, self.wireguard, MemoryFirewall(), self.time.clock)
        self.network.load()
        self.network.rosters.offer(*signed(stack, pool_roster(spokes=spokes)))
        self.health = Health(self.probe, self.time.ticks)
        self.store, self.audit = Store(), Audit(folder / "state" / "audit.jsonl", self.time.clock)
        self.seal = Seal(base64.b64decode(SEAL_KEY))
        self.talking: set[str] = set()
        """The public keys of those who send something all the time."""
        admission = Admission(
            self.network, self.health, Traffic(self.time.ticks), self.store, self.audit, self._flush, self.seal, None,
            GoogleKeys(),
        )  # fmt: skip
        self.members = Members(
            self.network, self.health, self.store, self.audit, self._flush, self.seal, admission,
            self._until_out, self.time.clock, self.time.ticks,
        )  # fmt: skip

    async def _flush(self) -> None:
        self.network.apply_leases()

    async def _until_out(self, address: IPv4Address) -> None:
        """There is no balancer whose requests would have to be waited for."""

    def join(self, number: int, *, answers: bool = True) -> Lease:
        """A machine that joins, and whether it answers echoes from now on; Refusal."""
        request = Request("burst", key(f"m{number}"), f"i-{number}")
        lease = self.network.leases.join(request, None, None, self.members.admission.is_working).lease
        if answers:
            self.probe.alive.add(lease.address)
        return lease

    async def say(self, lease: Lease, state: State | None = None, weight: int | None = None) -> None:
        """What the machine of ``lease`` says of itself; Refusal."""
        await self.members.change(str(lease.address), self.secret(lease), state, weight, None)

    def secret(self, lease: Lease) -> str:
        return self.seal.secret(lease.id, lease.public_key)

    async def go(self, seconds: float) -> None:
        """Let time pass, with everything that a service does on the way."""
        for _ in range(int(seconds / 2)):
            self.time.go(2)
            for peer in self.talking & self.wireguard.state.keys():
                state = self.wireguard.state[peer]
                self.wireguard.state[peer] = state._replace(received=state.received + 32)
            self.network.reconcile()
            for _ in range(3):
                self.health.round(self.network.addresses())
            self.members.watch()
            await self.members.tick()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.network.config.state / "audit.jsonl").read_text().splitlines()]

    def events(self, node: str | None = None) -> list[str]:
        return [line["event"] for line in self.lines() if node is None or line.get("node") == node]

    def close(self) -> None:
        self.store.close()
        self.audit.close()
        self.network.leases.close()
