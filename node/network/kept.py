"""What a machine knows of the network, in memory and on disk: there again after a boot, before anybody is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node import files
from node.log import say
from node.network_document import NetworkDocument, SignedRoster, document_body, parse_document, roster_digest
from node.network_words import DocumentError
from node.trust.trust import Trust
from overlay.fields import FieldError, Fields
from overlay.model import Node
from overlay.roster import Roster, RosterError, parse
from overlay.signing import roster_message

PAUSE_SECONDS = 30.0
"""Between two writes for what is of little weight: where peers are, and which machines of pools there are."""
_REMEDY = "The machine goes on with the tunnel that it has, and asks its gateway."


@dataclass(frozen=True)
class Kept:
    """A network document as ``name`` got it, and its roster, whose signature holds."""

    name: str
    document: NetworkDocument
    signed: SignedRoster
    roster: Roster

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The declared nodes and the machines of pools."""
        declared = {node.name for node in self.roster.nodes}
        sites = {site.name for site in self.roster.network.sites}
        members = (each for each in self.document.members if each.site in sites and each.name not in declared)
        return (*self.roster.nodes, *(member.node for member in members))


def accept(name: str, document: NetworkDocument, before: Kept | None, is_signed: Callable[[bytes, str], bool]) -> Kept:
    """``document`` as what ``name`` knows from now on; DocumentError when it is not to be believed, or is old.

    ``is_signed`` says whether the stack made a signature (base64) over a message.
    """
    signed = document.roster
    if signed is None:
        if before is None or roster_digest(before.signed.body) != document.roster_sha256:
            raise DocumentError("network.roster: left out, though this machine has another one")
        return Kept(name, document, before.signed, before.roster)
    if roster_digest(signed.body) != document.roster_sha256:
        raise DocumentError("network.roster: not the one of roster_sha256")
    if not is_signed(roster_message(signed.body), signed.signature):
        raise DocumentError("network.roster: the stack's key did not sign it")
    try:
        roster = parse(signed.body)
    except RosterError as error:
        raise DocumentError(f"network.roster: {error}") from None
    if before is not None and roster.number < before.roster.number:
        raise DocumentError(
            f"network.roster: number {roster.number} is older than {before.roster.number}, which is kept"
        )
    return Kept(name, replace(document, roster=None), signed, roster)


class State:
    """The file at ``path``; one that cannot be read is put aside, loudly. ``trust`` knows the stack's signing key.

    ``gateway`` is the name of the gateway that the machine hangs on, empty for one that was never told of the network.
    ``endpoints`` says by public key where peers were last heard from.
    """

    def __init__(self, path: Path, trust: Trust, ticks: Callable[[], float] = time.monotonic) -> None:
        self.kept: Kept | None = None
        self.gateway = ""
        self.endpoints: Mapping[str, str] = {}
        self._path = path
        self._trust = trust
        self._ticks = ticks
        self._written = float("-inf")
        self._is_behind = False
        self._problem = ""

    def load(self) -> None:
        """Read what was kept."""
        try:
            document = files.read(self._path, _REMEDY)
            if document is None:
                return
            try:
                self._read(document)
            except (FieldError, DocumentError) as error:
                raise files.StateError(self._path, str(error), _REMEDY) from error
        except files.StateError as error:
            files.put_aside(error)

    def _read(self, document: Mapping[str, Any]) -> None:
        fields = Fields("state", dict(document))
        name, gateway, endpoints = fields.text("name"), fields.text("gateway"), fields.text_map("endpoints")
        kept = accept(name, parse_document(fields.text("document").encode()), None, self._trust.was_signed)
        self.kept, self.gateway, self.endpoints = kept, gateway, endpoints

    def take(self, kept: Kept) -> None:
        """Know ``kept`` from now on."""
        before, self.kept = self.kept, kept
        self._is_behind = self._is_behind or before is None or before.document != kept.document
        is_grave = before is None or _weight(before) != _weight(kept)
        self._flush(at_once=is_grave)

    def hang_on(self, gateway: str) -> None:
        """Remember where the machine hangs from now on; on disk before anything else is done about it."""
        if gateway != self.gateway:
            self.gateway, self._is_behind = gateway, True
            self._flush(at_once=True)

    def heard(self, endpoints: Mapping[str, str], keys: Set[str]) -> None:
        """Note where peers were heard from now, and forget all but ``keys``."""
        now = {key: value for key, value in {**self.endpoints, **endpoints}.items() if key in keys}
        if now != self.endpoints:
            self.endpoints, self._is_behind = now, True
        self._flush(at_once=False)

    def forget(self) -> None:
        """Know nothing of the network any more."""
        self.kept, self.gateway, self._is_behind = None, "", False
        self._path.unlink(missing_ok=True)

    def _flush(self, *, at_once: bool) -> None:
        """Bring the file up to what is known. A disk that takes no more keeps no machine from where it has to hang."""
        kept, now = self.kept, self._ticks()
        if kept is None or not self.gateway or not self._is_behind:
            return
        if not at_once and now - self._written < PAUSE_SECONDS:
            return
        self._written = now
        document = document_body(replace(kept.document, roster=kept.signed)).decode()
        state = {"name": kept.name, "gateway": self.gateway, "endpoints": dict(self.endpoints)}
        try:
            files.write(self._path, {**state, "document": document})
        except OSError as error:
            if str(error) != self._problem:
                say(f"what this machine knows of the network cannot be written: {error}")
            self._problem = str(error)
        else:
            self._is_behind, self._problem = False, ""


def _weight(kept: Kept) -> object:
    """What must be there again after a boot."""
    return kept.name, kept.signed, kept.document.links, kept.document.keys
