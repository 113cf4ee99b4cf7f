"""What nodes and gateways tell each other of the network at run time; ``docs/control-plane.md`` is the contract."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from node.network_words import (
    LATEST,
    NO_KEYS,
    DocumentError,
    Keys,
    Member,
    Report,
    is_there,
    keys_document,
    member_document,
    packed,
    read_keys,
    read_member,
    read_report,
    report_document,
    versioned,
)
from overlay.fields import FieldError, Fields
from overlay.signing import Handover, handovers_document, read_handovers

LIMIT = 4 << 20
"""Bytes of a network document."""
REQUEST_LIMIT = 256 << 10
"""Bytes of a request: a report of some thousand links."""
NUDGE_PORT = 8444
"""UDP port of the overlay where a node is told to ask now."""
NUDGE = b"hybridnet nudge 1\n"


@dataclass(frozen=True)
class Request:
    """``POST /v1/network``. ``roster`` is the SHA-256 (hex) of the roster that the asker has."""

    name: str
    roster: str | None = None
    report: Report | None = None


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
    ends have confirmed; ``known`` is the stamp of its newest report here, 0 for none. ``keys`` are those of gateways
    and, in a mesh, of others that do not use their enrolment key. ``applied`` are the asker's own keys as the gateway's
    interfaces have them, ``on_second`` whether the gateway sends to it by the second one; ``rotate_asked`` is when
    somebody asked for a change of the asker's key (ms since 1970) that it has yet to make, else 0. ``signing`` leads
    from the stack's first signing key to its present one.
    """

    version: str
    roster_sha256: str
    roster: SignedRoster | None
    members: tuple[Member, ...]
    seen: Mapping[str, str] = field(default_factory=dict[str, str])
    links: frozenset[str] = frozenset()
    known: int = 0
    keys: Mapping[str, Keys] = field(default_factory=dict[str, Keys])
    applied: Keys = NO_KEYS
    on_second: bool = False
    rotate_asked: int = 0
    signing: tuple[Handover, ...] = ()


def roster_digest(body: bytes) -> str:
    """SHA-256 (hex) of a roster's bytes."""
    return hashlib.sha256(body).hexdigest()


def request_body(request: Request) -> bytes:
    """The bytes of a request."""
    report = None if request.report is None else report_document(request.report)
    return packed({"name": request.name, "roster": request.roster, "report": report})


def document_body(document: NetworkDocument) -> bytes:
    """The bytes of a network document."""
    roster = document.roster
    return packed(
        {
            "version": document.version,
            "roster_sha256": document.roster_sha256,
            "roster": None if roster is None else {"body": roster.body.decode("ascii"), "signature": roster.signature},
            "members": {member.name: member_document(member) for member in document.members},
            "seen": dict(document.seen),
            "keys": {name: keys_document(keys) for name, keys in document.keys.items()},
            "signing": handovers_document(document.signing),
            **_own(document),
        }
    )


def _own(document: NetworkDocument | Own) -> dict[str, Any]:
    """What is the asker's own."""
    return {
        "links": sorted(document.links),
        "known": document.known,
        "applied": keys_document(document.applied),
        "on_second": document.on_second,
        "rotate_asked": document.rotate_asked,
    }


@dataclass(frozen=True)
class Own:
    """What of a network document is one asker's own."""

    links: frozenset[str] = frozenset()
    known: int = 0
    applied: Keys = NO_KEYS
    on_second: bool = False
    rotate_asked: int = 0


class Packed:
    """Network documents for many askers: what is the same for all of them is made into bytes once.

    ``shared`` is a document with its roster; what is the asker's own in it does not count.
    """

    def __init__(self, shared: NetworkDocument) -> None:
        fields = json.loads(document_body(shared))
        self._roster = json.dumps(fields.pop("roster")).encode("ascii")
        for own in ("version", *_own(shared)):
            del fields[own]
        self._rest = json.dumps(fields).encode("ascii")[1:]
        self.digest = hashlib.sha256(self._rest).hexdigest()
        """Another one whenever anything but the asker's own is another."""

    def body(self, version: str, own: Own, *, with_roster: bool) -> bytes:
        """The bytes of the document for one asker."""
        first = json.dumps({"version": version, **_own(own)}).encode("ascii")
        roster = self._roster if with_roster else b"null"
        return b"".join((first[:-1], b', "roster": ', roster, b", ", self._rest))


def parse_request(body: bytes) -> Request:
    """The request in ``body``; DocumentError when it is none."""
    try:
        fields = versioned("network", body)
        name, roster, report = fields.text("name"), fields.maybe_text("roster"), fields.maybe("report")
        fields.end()
        return Request(name, roster, None if report is None else read_report(name, report))
    except FieldError as error:
        raise DocumentError(str(error)) from None


def parse_document(body: bytes) -> NetworkDocument:
    """The network document in ``body``; DocumentError when it is none. The roster in it is not looked at."""
    try:
        fields = versioned("network", body)
        roster, members = fields.maybe("roster"), fields.objects("members")
        document = NetworkDocument(
            fields.text("version"),
            fields.digest("roster_sha256"),
            None if roster is None else _signed(roster),
            tuple(_whole(name, member) for name, member in members.items()),
            fields.text_map("seen"),
            frozenset(fields.texts("links")),
            fields.number("known", 0, LATEST),
            _all_keys(fields),
            read_keys(fields, "applied"),
            is_there(fields, "on_second") and fields.flag("on_second"),
            fields.number("rotate_asked", 0, LATEST) if is_there(fields, "rotate_asked") else 0,
            read_handovers(fields.object_list("signing")) if is_there(fields, "signing") else (),
        )
        fields.end()
    except FieldError as error:
        raise DocumentError(str(error)) from None
    return document


def _whole(name: str, fields: Fields) -> Member:
    member = read_member(name, fields)
    fields.end()
    return member


def _all_keys(fields: Fields) -> dict[str, Keys]:
    if not is_there(fields, "keys"):
        return {}
    found = fields.object("keys")
    keys = {name: read_keys(found, name) for name in sorted(found.names())}
    found.end()
    return keys


def _signed(fields: Fields) -> SignedRoster:
    try:
        roster = SignedRoster(fields.text("body").encode("ascii"), fields.text("signature"))
    except UnicodeEncodeError:
        raise FieldError("network.roster.body: not ASCII") from None
    fields.end()
    return roster
