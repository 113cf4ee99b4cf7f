"""What the documents between nodes and gateways have in common: what both tell of a node, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from overlay.fields import FieldError, Fields, read
from overlay.model import Node, is_wireguard_key

SCHEMA_VERSION = 2
"""Version 1 had neither keys nor what else is read by :func:`is_there`; it is still read, as states have it."""
LATEST = 2**53 - 1
_LONGEST_NAME = 128


class DocumentError(ValueError):
    """The document is not as it should be; the message names the field."""


@dataclass(frozen=True)
class Keys:
    """The WireGuard public keys that one end has come to use, where they are not its enrolment key.

    ``first`` is its interface's, None for the enrolment key. ``second`` is that of the second interface, which is there
    while the end changes its key, else None: as long as it is not ``first``, the others go over to the second
    interface, and when it is, they come back to the first one, which has the new key then.
    """

    first: str | None = None
    second: str | None = None


NO_KEYS = Keys()


@dataclass(frozen=True)
class Report:
    """What the node ``name`` says of itself.

    ``stamp`` grows with each (milliseconds since 1970): the newest one holds. ``gateway`` is where the node hangs, or
    is about to; ``links`` are those with whom its direct tunnel is up. ``keys`` are its own, made beside the enrolment
    key ``identity``, and ``on_second`` says whether it sends to its gateway by the second interface.
    """

    name: str
    stamp: int
    gateway: str
    links: tuple[str, ...] = ()
    keys: Keys = NO_KEYS
    on_second: bool = False
    identity: str | None = None


@dataclass(frozen=True)
class Member:
    """A machine of a pool, of whichever gateway it has its lease."""

    name: str
    pool: str
    site: str
    address: IPv4Address
    public_key: str
    group: str
    lan: bool

    @property
    def node(self) -> Node:
        return Node(self.name, self.site, self.address, "spoke", self.public_key, group=self.group, lan=self.lan)


def packed(document: Mapping[str, Any]) -> bytes:
    return json.dumps({"schema_version": SCHEMA_VERSION, **document}, sort_keys=True).encode("ascii")


def keys_document(keys: Keys) -> dict[str, Any]:
    return {"first": keys.first, "second": keys.second}


def report_document(report: Report) -> dict[str, Any]:
    return {
        "stamp": report.stamp,
        "gateway": report.gateway,
        "links": list(report.links),
        "keys": keys_document(report.keys),
        "on_second": report.on_second,
        "identity": report.identity,
    }


def member_document(member: Member) -> dict[str, Any]:
    return {
        "pool": member.pool,
        "site": member.site,
        "address": str(member.address),
        "public_key": member.public_key,
        "group": member.group,
        "lan": member.lan,
    }


def versioned(where: str, body: bytes) -> Fields:
    fields = read(where, body)
    fields.number("schema_version", 1, SCHEMA_VERSION)
    return fields


def maybe_key(fields: Fields, key: str) -> str | None:
    value = fields.maybe_text(key)
    if value is not None and not is_wireguard_key(value):
        raise FieldError(f"{key}: not a WireGuard key (base64 of 32 bytes)")
    return value


def is_there(fields: Fields, key: str) -> bool:
    """Whether a field is there that version 1 did not have."""
    return key in fields.names()


def read_keys(fields: Fields, key: str) -> Keys:
    """The keys in a field."""
    if not is_there(fields, key):
        return NO_KEYS
    found = fields.object(key)
    keys = Keys(maybe_key(found, "first"), maybe_key(found, "second"))
    found.end()
    return keys


def read_report(name: str, fields: Fields) -> Report:
    report = Report(
        name,
        fields.number("stamp", 1, LATEST),
        fields.text("gateway"),
        tuple(fields.texts("links")),
        read_keys(fields, "keys"),
        is_there(fields, "on_second") and fields.flag("on_second"),
        maybe_key(fields, "identity") if is_there(fields, "identity") else None,
    )
    fields.end()
    if max(map(len, (report.gateway, *report.links))) > _LONGEST_NAME:
        raise FieldError(f"report: no name has more than {_LONGEST_NAME} characters")
    return report


def read_member(name: str, fields: Fields) -> Member:
    return Member(
        name,
        fields.text("pool"),
        fields.text("site"),
        fields.address("address"),
        fields.key("public_key"),
        fields.optional_text("group"),
        fields.flag("lan"),
    )
