"""Which machine of a private network what a card sends goes to first, as clouds' route tables say. Pure.

A card with routes of its own has a routing table in its network's router. What the network's machines have for
addresses goes to them in any case, and what no route is for goes the network's own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localcloud.fabric.store import Record
from localcloud.spec import Interface

_FIRST_TABLE = 1000
_CARDS = 10
"""Numbers of tables that a machine has, one a card."""


@dataclass(frozen=True)
class Way:
    """Where a table sends a destination: by the machine with the address `via` behind `device`, or nowhere."""

    table: int
    destination: str
    """IPv4 CIDR."""
    via: str
    device: str | None
    """None: there is no such machine, or it may not forward; what goes there is dropped."""


@dataclass(frozen=True)
class Steering:
    """The tables of one router."""

    tables: Mapping[str, int]
    """Device of a card with routes -> its table."""
    ways: tuple[Way, ...]

    def through(self, device: str) -> tuple[Way, ...]:
        """The ways by the machine behind that device; they end with the device, so plugging it makes them again."""
        return tuple(way for way in self.ways if way.device == device)


def steering(records: Mapping[str, Record], network: str) -> Steering:
    """The tables of a private network's router."""
    tables: dict[str, int] = {}
    ways: list[Way] = []
    for record in sorted(records.values(), key=lambda record: record.slot):
        for index, card in enumerate(record.spec.interfaces):
            if card.network != network or not card.routes:
                continue
            device = record.device(card.name)
            table = tables[device] = _FIRST_TABLE + _CARDS * record.slot + index
            for route in card.routes:
                forwarder = _forwarder(records, network, route.via)
                ways.append(Way(table, route.destination, route.via, None if forwarder == device else forwarder))
    return Steering(tables, tuple(ways))


def _forwarder(records: Mapping[str, Record], network: str, address: str) -> str | None:
    """The device with the machine that has this address behind it, unless its source/destination check is on."""

    def holds(card: Interface) -> bool:
        return (card.network, card.address) == (network, address)

    for record in records.values():
        for card in filter(holds, record.spec.interfaces):
            return record.device(card.name) if record.spec.forwarding else None
    return None
