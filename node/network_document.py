"""What nodes and gateways tell each other of the network at run time; ``docs/control-plane.md`` is the contract."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from node.gateway.lease import FULL_WEIGHT, State
from overlay.fields import FieldError, Fields, read
from overlay.model import Node

SCHEMA_VERSION = 1
LIMIT = 4 << 20
"""Bytes of a network document."""
REQUEST_LIMIT = 256 << 10
"""Bytes of a request: a report of some thousand links."""
NUDGE_PORT = 8444
"""UDP port of the overlay where a node is told to ask now."""
NUDGE = b"hybridnet nudge 1\n"
NEIGHBOUR = b"hybridnet neighbour 1\n"
"""What a gateway that asks another one shows its key's possession over (``node.joining.possession``)."""
_LATEST = 2**53 - 1
_LONGEST_NAME = 128


class DocumentError(ValueError):
    """The document is not as it should be; the message names the field."""


@dataclass(frozen=True)
class Report:
    """What the node ``name`` says of itself.

    ``stamp`` grows with each (milliseconds since 1970): the newest one holds. ``gateway`` is where the node hangs, or
    is about to; ``links`` are those with whom its direct tunnel is up.
    """

    name: str
    stamp: int
    gateway: str
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """``POST /v1/network``. ``roster`` is the SHA-256 (hex) of the roster that the asker has."""

    name: str
    roster: str | None = None
    report: Report | None = None


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


@dataclass(frozen=True)
class SignedRoster:
    """A roster's bytes as they were signed, and their signature (base64)."""

    body: bytes
    signature: str


@dataclass(frozen=True)
class NetworkDocument:
    """The network as a gateway tells it to one node.

    ``version`` is another one after each change. ``roster`` is None for a node that has the one of ``roster_sha256``.
    ``seen`` says where the gateway that a node hangs on sees it, in a mesh. ``links`` are the asker's own that both
    ends have confirmed; ``known`` is the stamp of its newest report here, 0 for none.
    """

    version: str
    roster_sha256: str
    roster: SignedRoster | None
    members: tuple[Member, ...]
    seen: Mapping[str, str] = field(default_factory=dict[str, str])
    links: frozenset[str] = frozenset()
    known: int = 0


@dataclass(frozen=True)
class NeighbourLease:
    """A lease as its own gateway has it."""

    member: Member
    state: State
    weight: int

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def address(self) -> IPv4Address:
        return self.member.address


@dataclass(frozen=True)
class Neighbour:
    """What one gateway tells the others: its own leases and whom it sees, and every report that it knows."""

    name: str
    version: str
    leases: tuple[NeighbourLease, ...]
    seen: Mapping[str, str]
    reports: Mapping[str, Report]


def roster_digest(body: bytes) -> str:
    """SHA-256 (hex) of a roster's bytes."""
    return hashlib.sha256(body).hexdigest()


def _packed(document: Mapping[str, Any]) -> bytes:
    return json.dumps({"schema_version": SCHEMA_VERSION, **document}, sort_keys=True).encode("ascii")


def _report_document(report: Report) -> dict[str, Any]:
    return {"stamp": report.stamp, "gateway": report.gateway, "links": list(report.links)}


def _member_document(member: Member) -> dict[str, Any]:
    return {
        "pool": member.pool,
        "site": member.site,
        "address": str(member.address),
        "public_key": member.public_key,
        "group": member.group,
        "lan": member.lan,
    }


def request_body(request: Request) -> bytes:
    """The bytes of a request."""
    report = None if request.report is None else _report_document(request.report)
    return _packed({"name": request.name, "roster": request.roster, "report": report})


def document_body(document: NetworkDocument) -> bytes:
    """The bytes of a network document."""
    roster = document.roster
    return _packed(
        {
            "version": document.version,
            "roster_sha256": document.roster_sha256,
            "roster": None if roster is None else {"body": roster.body.decode("ascii"), "signature": roster.signature},
            "members": {member.name: _member_document(member) for member in document.members},
            "seen": dict(document.seen),
            "links": sorted(document.links),
            "known": document.known,
        }
    )


class Packed:
    """Network documents for many askers: what is the same for all of them is made into bytes once.

    ``shared`` is a document with its roster; its ``version``, ``links`` and ``known`` do not count.
    """

    def __init__(self, shared: NetworkDocument) -> None:
        fields = json.loads(document_body(shared))
        self._roster = json.dumps(fields.pop("roster")).encode("ascii")
        for own in ("version", "links", "known"):
            del fields[own]
        self._rest = json.dumps(fields).encode("ascii")[1:]
        self.digest = hashlib.sha256(self._rest).hexdigest()
        """Another one whenever anything but the asker's own is another."""

    def body(self, version: str, links: Iterable[str], known: int, *, with_roster: bool) -> bytes:
        """The bytes of the document for one asker."""
        own = json.dumps({"version": version, "links": sorted(links), "known": known}).encode("ascii")
        roster = self._roster if with_roster else b"null"
        return b"".join((own[:-1], b', "roster": ', roster, b", ", self._rest))


def neighbour_body(neighbour: Neighbour) -> bytes:
    """The bytes of what a gateway tells the others."""
    return _packed(
        {
            "name": neighbour.name,
            "version": neighbour.version,
            "leases": {
                lease.member.name: {**_member_document(lease.member), "state": lease.state, "weight": lease.weight}
                for lease in neighbour.leases
            },
            "seen": dict(neighbour.seen),
            "reports": {name: _report_document(report) for name, report in neighbour.reports.items()},
        }
    )


def _versioned(where: str, body: bytes) -> Fields:
    fields = read(where, body)
    fields.number("schema_version", SCHEMA_VERSION, SCHEMA_VERSION)
    return fields


def _report(name: str, fields: Fields) -> Report:
    report = Report(name, fields.number("stamp", 1, _LATEST), fields.text("gateway"), tuple(fields.texts("links")))
    fields.end()
    if max(map(len, (report.gateway, *report.links))) > _LONGEST_NAME:
        raise FieldError(f"report: no name has more than {_LONGEST_NAME} characters")
    return report


def _member(name: str, fields: Fields) -> Member:
    return Member(
        name,
        fields.text("pool"),
        fields.text("site"),
        fields.address("address"),
        fields.key("public_key"),
        fields.optional_text("group"),
        fields.flag("lan"),
    )


def parse_request(body: bytes) -> Request:
    """The request in ``body``; DocumentError when it is none."""
    try:
        fields = _versioned("network", body)
        name, roster, report = fields.text("name"), fields.maybe_text("roster"), fields.maybe("report")
        fields.end()
        return Request(name, roster, None if report is None else _report(name, report))
    except FieldError as error:
        raise DocumentError(str(error)) from None


def parse_document(body: bytes) -> NetworkDocument:
    """The network document in ``body``; DocumentError when it is none. The roster in it is not looked at."""
    try:
        fields = _versioned("network", body)
        roster, members = fields.maybe("roster"), fields.objects("members")
        document = NetworkDocument(
            fields.text("version"),
            fields.digest("roster_sha256"),
            None if roster is None else _signed(roster),
            tuple(_whole(name, member) for name, member in members.items()),
            fields.text_map("seen"),
            frozenset(fields.texts("links")),
            fields.number("known", 0, _LATEST),
        )
        fields.end()
    except FieldError as error:
        raise DocumentError(str(error)) from None
    return document


def _whole(name: str, fields: Fields) -> Member:
    member = _member(name, fields)
    fields.end()
    return member


def _signed(fields: Fields) -> SignedRoster:
    try:
        roster = SignedRoster(fields.text("body").encode("ascii"), fields.text("signature"))
    except UnicodeEncodeError:
        raise FieldError("network.roster.body: not ASCII") from None
    fields.end()
    return roster


def parse_neighbour(body: bytes) -> Neighbour:
    """What another gateway tells; DocumentError when it is nothing of ours."""
    try:
        fields = _versioned("neighbour", body)
        leases, reports = fields.objects("leases"), fields.objects("reports")
        neighbour = Neighbour(
            fields.text("name"),
            fields.text("version"),
            tuple(_lease(name, lease) for name, lease in leases.items()),
            fields.text_map("seen"),
            {name: _report(name, report) for name, report in reports.items()},
        )
        fields.end()
    except FieldError as error:
        raise DocumentError(str(error)) from None
    return neighbour


def _lease(name: str, fields: Fields) -> NeighbourLease:
    member, state = _member(name, fields), fields.text("state")
    weight = fields.number("weight", 1, FULL_WEIGHT)
    fields.end()
    if state == "active":
        return NeighbourLease(member, "active", weight)
    return NeighbourLease(member, "draining" if state == "draining" else "left", weight)
