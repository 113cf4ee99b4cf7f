"""Interfaces whose own key can be changed, in memory, and a machine's routes that nobody looks at."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from node.keys import public_key
from node.tunnels.routes import Route
from tests.node.support import MemoryWireGuard


@dataclass
class MemoryDevice(MemoryWireGuard):
    """``key`` is the public half of its key; one without is not there."""

    key: str | None = None

    def public_key(self) -> str | None:
        return self.key

    def set_private_key(self, private_key: str) -> None:
        self.key = public_key(private_key)

    def is_there(self) -> bool:
        return self.key is not None

    def up(self, private_key: str, address: IPv4Address, port: int | None, mtu: int) -> None:
        self.set_private_key(private_key)

    def down(self) -> None:
        self.key = None


class MemoryRoutes:
    def observed(self) -> set[Route]:
        return set()

    def keep(self, desired: object, sources: object) -> None:
        pass
