"""The table of list prices, `prices.yaml`: what a server type, a disk or an address costs a month in US dollars."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

TABLE = Path(__file__).with_name("prices.yaml")


@dataclass(frozen=True)
class Price:
    """A list price: US dollars a month, and the day that the copy it was read in is of."""

    usd: Decimal
    seen: datetime.date
    source: str


@dataclass(frozen=True)
class NatPrice:
    """What Cloud NAT costs: for each machine that goes out by it, at most for all of them, and for its own address."""

    each: Price
    most: Price
    address: Price


class Prices:
    """The prices of a table."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        """Takes the table as YAML gives it."""
        self._table = table
        self._hours = Decimal(table["hours"])
        self._exchange = {currency: _decimal(row["usd"]) for currency, row in table["exchange"].items()}

    def server(self, cloud: str, place: str, server_type: str) -> Price | None:
        """A machine of the type in a region or location, without disk and address."""
        return self._lookup("servers", cloud, place, server_type)

    def disk(self, cloud: str, place: str, kind: str) -> Price | None:
        """A gigabyte of a kind of disk."""
        return self._lookup("disks", cloud, place, kind)

    def disk_size(self, cloud: str) -> int:
        """How many GB a machine's own disk has where nobody says."""
        return int(self._table["disks"][cloud][0]["size"])

    def address(self, cloud: str) -> Price:
        """A public IPv4 address."""
        row = self._table["addresses"][cloud]
        return self._price(row, row["price"])

    def nat(self, cloud: str) -> NatPrice:
        """A gateway that translates addresses."""
        row = self._table["nat"][cloud]
        return NatPrice(*(self._price(row, row[key]) for key in ("price", "most", "address")))

    def _lookup(self, what: str, cloud: str, place: str, kind: str) -> Price | None:
        groups: Sequence[Mapping[str, Any]] = self._table[what].get(cloud, ())
        for group in groups:
            if place in group["places"] and kind in group["types"]:
                listed: object = group["types"][kind]
                if isinstance(listed, list):
                    listed = cast("list[object]", listed)[group["places"].index(place)]
                if listed is not None:
                    return self._price(group, cast("float", listed))
        return None

    def _price(self, row: Mapping[str, Any], number: float) -> Price:
        months = self._hours if row["per"] == "hour" else Decimal(1)
        rate = Decimal(1) if row["currency"] == "USD" else self._exchange[row["currency"]]
        return Price(_decimal(number) * months * rate, row["date"], row["source"])


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))


@cache
def prices() -> Prices:
    """The prices of this repository's table."""
    return Prices(cast("Mapping[str, Any]", yaml.safe_load(TABLE.read_text())))
