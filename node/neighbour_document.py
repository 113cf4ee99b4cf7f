"""What gateways tell each other at run time; ``docs/control-plane.md`` is the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from node.gateway.lease import FULL_WEIGHT, State
from node.network_words import (
    LATEST,
    NO_KEYS,
    DocumentError,
    Keys,
    Member,
    Report,
    is_there,
    keys_document,
    maybe_key,
    member_document,
    packed,
    read_keys,
    read_member,
    read_report,
    report_document,
    versioned,
)
from overlay.fields import FieldError, Fields

NEIGHBOUR = b"hybridnet neighbour 1\n"
"""What a gateway that asks another one shows its key's possession over (``node.joining.possession``)."""


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
class Revocation:
    """A node that was cut off at ``at`` (ms since 1970): what of it is barred.

    ``keys`` are WireGuard public keys, ``instance`` a pool machine's instance id and ``token`` the digest of the join
    token that it came with.
    """

    name: str
    at: int
    keys: tuple[str, ...]
    instance: str | None = None
    token: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Neighbour:
    """What one gateway tells the others: its own leases and whom it sees, and every report that it knows.

    ``keys`` are its own, made beside the enrolment key ``identity``; ``on_second`` are the gateways to which it sends
    by the second interface.
    """

    name: str
    version: str
    leases: tuple[NeighbourLease, ...]
    seen: Mapping[str, str]
    reports: Mapping[str, Report]
    keys: Keys = NO_KEYS
    on_second: tuple[str, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    identity: str | None = None


def revocation_document(revocation: Revocation) -> dict[str, Any]:
    """The document of a revocation, as gateways tell and keep it."""
    return {
        "name": revocation.name,
        "at": revocation.at,
        "keys": list(revocation.keys),
        "instance": revocation.instance,
        "token": revocation.token,
        "reason": revocation.reason,
    }


def neighbour_body(neighbour: Neighbour) -> bytes:
    """The bytes of what a gateway tells the others."""
    return packed(
        {
            "name": neighbour.name,
            "version": neighbour.version,
            "leases": {
                lease.member.name: {**member_document(lease.member), "state": lease.state, "weight": lease.weight}
                for lease in neighbour.leases
            },
            "seen": dict(neighbour.seen),
            "reports": {name: report_document(report) for name, report in neighbour.reports.items()},
            "keys": keys_document(neighbour.keys),
            "on_second": sorted(neighbour.on_second),
            "revocations": [revocation_document(each) for each in neighbour.revocations],
            "identity": neighbour.identity,
        }
    )


def parse_neighbour(body: bytes) -> Neighbour:
    """What another gateway tells; DocumentError when it is nothing of ours."""
    try:
        fields = versioned("neighbour", body)
        leases, reports = fields.objects("leases"), fields.objects("reports")
        neighbour = Neighbour(
            fields.text("name"),
            fields.text("version"),
            tuple(_lease(name, lease) for name, lease in leases.items()),
            fields.text_map("seen"),
            {name: read_report(name, report) for name, report in reports.items()},
            read_keys(fields, "keys"),
            tuple(fields.texts("on_second")) if is_there(fields, "on_second") else (),
            _revocations(fields),
            maybe_key(fields, "identity") if is_there(fields, "identity") else None,
        )
        fields.end()
    except FieldError as error:
        raise DocumentError(str(error)) from None
    return neighbour


def _revocations(fields: Fields) -> tuple[Revocation, ...]:
    if not is_there(fields, "revocations"):
        return ()
    return tuple(map(read_revocation, fields.object_list("revocations")))


def read_revocation(fields: Fields) -> Revocation:
    """The revocation in a document; FieldError."""
    revocation = Revocation(
        fields.text("name"),
        fields.number("at", 0, LATEST),
        tuple(fields.texts("keys")),
        fields.maybe_text("instance"),
        fields.maybe_text("token"),
        fields.optional_text("reason"),
    )
    fields.end()
    return revocation


def _lease(name: str, fields: Fields) -> NeighbourLease:
    member, state = read_member(name, fields), fields.text("state")
    weight = fields.number("weight", 1, FULL_WEIGHT)
    fields.end()
    if state == "active":
        return NeighbourLease(member, "active", weight)
    return NeighbourLease(member, "draining" if state == "draining" else "left", weight)
