"""The roster a gateway follows: which one is taken, and how it is kept on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

from node import files
from node.trust.trust import Trust
from overlay.model import Node
from overlay.roster import Roster, RosterError, content_digest, parse
from overlay.signing import roster_message
from overlay.topology import home_of

REMEDY = (
    "The peers stay as they are until the interface goes down. Move the file away, "
    "`systemctl restart hybridnet`, and push the roster again with `pulumi up --refresh`."
)


@dataclass(frozen=True)
class Kept:
    """A roster as it came: what it says, its bytes and their signature (base64), and the digests the status tells."""

    roster: Roster
    body: bytes
    signature: str
    sha256: str
    content: str

    @cached_property
    def gateways(self) -> dict[str, Node]:
        """Name -> gateway."""
        return {node.name: node for node in self.roster.nodes if node.role == "gateway"}

    @cached_property
    def homes(self) -> dict[str, Node]:
        """Pool -> the gateway where its machines join."""
        return {pool.name: home_of(self.roster.nodes, pool.site) for pool in self.roster.pools}

    @cached_property
    def by_address(self) -> dict[IPv4Address, Node]:
        """Overlay address -> declared node."""
        return {node.address: node for node in self.roster.nodes}


def _kept(roster: Roster, body: bytes, signature: str) -> Kept:
    return Kept(roster, body, signature, hashlib.sha256(body).hexdigest(), content_digest(roster))


class Rosters:
    """The roster in ``path``, for the gateway ``name``; only what the stack's key signed, as ``trust`` knows it."""

    def __init__(self, path: Path, name: str, trust: Trust) -> None:
        self._path = path
        self._name = name
        self._trust = trust
        self.kept: Kept | None = None

    def load(self) -> None:
        """Read the file, if there is one; StateError when it is not what was stored."""
        document = files.read(self._path, REMEDY)
        if document is None:
            return
        try:
            body, signature = str(document["body"]).encode("ascii"), str(document["signature"])
            self._follow(_kept(parse(body), body, signature))
        except (KeyError, ValueError) as error:
            raise files.StateError(self._path, f"{type(error).__name__}: {error}", REMEDY) from error

    def verify(self) -> None:
        """Check the loaded roster's signature; StateError when it is wrong. Apart from loading because it is slow."""
        if self.kept and not self._trust.was_signed(roster_message(self.kept.body), self.kept.signature):
            raise files.StateError(self._path, "the stack did not sign it", REMEDY)

    def offer(self, body: bytes, signature: str | None) -> tuple[int, str]:
        """Take a roster if it is signed and newer: (HTTP status, reason). It is on disk before this returns 201."""
        if signature is None or not self._trust.is_signed(roster_message(body), signature):
            return 403, "wrong signature"
        if self.kept and body == self.kept.body:
            if signature != self.kept.signature:
                self._keep(replace(self.kept, signature=signature))
            return 200, "same"
        try:
            roster = parse(body)
            if self.kept and roster.number <= self.kept.roster.number:
                return 409, f"roster {self.kept.roster.number} is here"
            if roster.node(self._name).role != "gateway":
                return 400, f"{self._name} is no gateway in this roster"
        except RosterError as error:
            return 400, str(error)
        except KeyError:
            return 400, f"this gateway, {self._name}, is not in the roster"
        self._keep(_kept(roster, body, signature))
        return 201, "taken"

    def _keep(self, kept: Kept) -> None:
        files.write(self._path, {"body": kept.body.decode("ascii"), "signature": kept.signature})
        self._follow(kept)

    def _follow(self, kept: Kept) -> None:
        self.kept = kept
        self._trust.believe(kept.roster.authorities)
