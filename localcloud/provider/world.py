"""What exists in the clouds: records of resources, in memory and in `world.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from localcloud.cloud import LocalCloudError, write_private
from localcloud.provider.inputs import Inputs
from localcloud.wire import Value

VERSION = 1


@dataclass(frozen=True)
class Record:
    """A resource that exists: what the program asked for, and what the cloud added (addresses, times, links)."""

    token: str
    id: str
    properties: Mapping[str, Value]
    state: Mapping[str, Value] = field(default_factory=dict[str, Value])

    @property
    def inputs(self) -> Inputs:
        """The properties, for typed reading."""
        return Inputs(self.properties)

    @property
    def facts(self) -> Inputs:
        """The cloud's own facts, for typed reading."""
        return Inputs(self.state)


class World:
    """The records of every cloud. Copies are cheap: records are never changed, only replaced."""

    def __init__(
        self,
        records: Mapping[tuple[str, str], Record],
        counters: Mapping[str, int],
        urns: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self._records = dict(records)
        self._counters = dict(counters)
        self._urns = dict(urns or {})

    @classmethod
    def empty(cls) -> World:
        """A world in which nothing was made yet."""
        return cls({}, {})

    def copy(self) -> World:
        """An independent copy."""
        return World(self._records, self._counters, self._urns)

    def same(self, other: World) -> bool:
        """Whether both hold the same."""
        return self._records == other._records and self._counters == other._counters

    def all(self, token: str) -> Iterator[Record]:
        """Every resource of a type, oldest first."""
        return (record for (kind, _), record in self._records.items() if kind == token)

    def get(self, token: str, id_: str | int | None) -> Record | None:
        """The resource with that id."""
        return None if id_ is None else self._records.get((token, str(id_)))

    def find(self, token: str, property_: str, value: str | None, **same: str | None) -> Record | None:
        """The first resource of a type whose property has that value, and the others in `same` theirs."""
        wanted = {property_: value, **same}
        for record in self.all(token):
            if all(record.properties.get(name) == expected for name, expected in wanted.items()):
                return record
        return None

    def put(self, record: Record) -> Record:
        """Add the resource, or replace its record."""
        self._records[record.token, record.id] = record
        return record

    def note(self, record: Record, **facts: Value) -> Record:
        """Replace some of the cloud's facts about the resource."""
        return self.put(replace(record, state={**record.state, **facts}))

    def remove(self, record: Record) -> None:
        """The resource is gone."""
        self._records.pop((record.token, record.id), None)
        self._urns.pop((record.token, record.id), None)

    def made_for(self, record: Record, urn: str) -> None:
        """Remember which resource of which stack it was made for, should its maker never hear of it."""
        if (record.token, record.id) in self._records:
            self._urns[record.token, record.id] = urn

    def of(self, urn: str) -> list[Record]:
        """What was made for that resource of a stack."""
        return [self._records[key] for key, made_for in self._urns.items() if made_for == urn]

    def next(self, counter: str) -> int:
        """The next number of a series that never gives one twice."""
        self._counters[counter] = self._counters.get(counter, 0) + 1
        return self._counters[counter]

    def hex_id(self, prefix: str) -> str:
        """An id in Amazon's form: the prefix and 17 hexadecimal digits."""
        digest = hashlib.sha256(f"{prefix}{self.next(prefix)}".encode()).hexdigest()
        return f"{prefix}0{digest[:16]}"

    def dump(self) -> str:
        """The world as a JSON document."""
        records = [
            {"token": r.token, "id": r.id, "urn": self._urns.get(key, ""), "properties": r.properties, "state": r.state}
            for key, r in self._records.items()
        ]
        return json.dumps({"version": VERSION, "counters": self._counters, "records": records}, indent=1)

    @classmethod
    def parse(cls, text: str) -> World:
        """The inverse of `dump`. Raises ValueError, KeyError or TypeError on anything else."""
        document = cast("dict[str, Any]", json.loads(text))
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}, expected {VERSION}")
        records = [Record(r["token"], r["id"], r["properties"], r["state"]) for r in document["records"]]
        urns = {(r["token"], r["id"]): r["urn"] for r in document["records"] if r.get("urn")}
        return cls({(record.token, record.id): record for record in records}, document["counters"], urns)


def load(path: Path) -> World:
    """The world kept in `path`, or an empty one. A file that cannot be read is refused, never taken for empty."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return World.empty()
    try:
        return World.parse(text)
    except (ValueError, KeyError, TypeError) as error:
        raise LocalCloudError(
            f"{path} is damaged ({error}): the local cloud no longer knows what exists. "
            "Run `make down` and `make up` to begin anew."
        ) from error


def save(path: Path, world: World) -> None:
    """Keep the world in `path`; it holds user data and with it secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, world.dump())
