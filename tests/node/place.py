"""A gateway with a load balancer, its nginx in memory, and inference servers at its machines' addresses."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from node.gateway.serving.conf import servers_of
from overlay.serving import LoadBalancer, Share, Target
from tests.node.pools import PoolGateway, pool_roster
from tests.node.serving import InferenceServer, MemoryNginx, balancer, credentials, signed_credentials
from tests.node.support import Stack

SPOKE = IPv4Address("127.0.1.1")


@dataclass
class Place:
    """A gateway, its nginx, and inference servers at the machines' addresses."""

    folder: Path
    stack: Stack
    gateway: PoolGateway
    servers: dict[str, InferenceServer] = field(default_factory=dict[str, InferenceServer])
    number: int = 1

    @property
    def nginx(self) -> MemoryNginx:
        return self.gateway.nginx

    async def server(self, address: str, port: int = 0) -> InferenceServer:
        """An inference server at ``address``."""
        made = self.servers[address] = InferenceServer(IPv4Address(address))
        await made.start(port)
        return made

    async def roster(self, given: LoadBalancer | None, **changes: Any) -> None:
        self.number += 1
        await self.gateway.push(pool_roster(self.number, load_balancer=given, **changes))

    async def spoke(self, **changes: Any) -> InferenceServer:
        """The declared spoke serves, and is the only one that does."""
        server = await self.server(str(SPOKE))
        await self.roster(balancer({"spoke-1": target(server.port, **changes)}))
        return server

    async def offer(self, body: bytes, signature: str) -> tuple[int, dict[str, Any]]:
        return await self.gateway.ask("PUT", "/v1/credentials", body, {"X-Hybridnet-Signature": signature})

    async def credentials(self, number: int = 1, **changes: Any) -> None:
        body, signature = signed_credentials(self.stack, credentials(number, **changes))
        assert (await self.offer(body, signature))[0] == 201

    async def until(self, *addresses: str) -> None:
        """Wait until nginx sends requests to exactly these, and the status says so."""
        told: dict[str, Any] = {}
        end = time.monotonic() + 60
        while time.monotonic() < end:
            told = await self.told()
            chosen = {each["address"] for each in told["targets"] if each["in_rotation"]}
            if told["state"] == "serving" and not told["problem"] and chosen == self.sends_to() == set(addresses):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"waited in vain for requests to {addresses}: {told}")

    def sends_to(self) -> set[str]:
        return {str(address) for address, _ in servers_of(self.nginx.text or "")}

    async def told(self) -> dict[str, Any]:
        return (await self.gateway.status())["load_balancer"]

    async def problem(self, text: str) -> None:
        """Wait until the status tells of a problem with ``text`` in it."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if text in ((await self.told())["problem"] or ""):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(await self.told())

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.gateway.state / "nginx").iterdir())

    def rotations(self) -> list[tuple[str, str, str | None]]:
        return [
            (line["event"], line["node"], line.get("reason"))
            for line in self.gateway.audit()
            if line["event"] in ("serve", "unserve")
        ]


def target(port: int, weight: int = 10, *, backup: bool = False, max_conns: int = 0) -> Target:
    return Target(port, "/health", Share(weight, backup, max_conns))
