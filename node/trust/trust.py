"""Whom a machine believes: what the stack's signing key signs, and who shows a certificate of the stack's authority.

First boot tells one key and one authority for the machine's life. What came after them is learnt: a signing key from
the one before it (``overlay.signing``), an authority from the roster.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Sequence
from pathlib import Path

from node import control, files
from node.config import Config
from node.log import say
from node.signature import is_signed
from overlay.fields import FieldError, Fields
from overlay.signing import (
    Handover,
    handovers_document,
    handovers_message,
    parse_handovers,
    read_handovers,
    trusted,
)

HANDOVERS = "signing.json"
KEY = "signing.pub"
"""The present signing key alone, in base64: for stage 0."""
_REMEDY = "The machine goes on with the signing key that it knows, and learns again how that one came about."


class Trust:
    """What is believed on the machine whose state is in ``state`` and whose first boot left its files in ``files``.

    ``first_key`` is first boot's signing key. Every method may be called from any thread.
    """

    def __init__(self, state: Path, folder: Path, first_key: str) -> None:
        self._state = state
        self._files = folder
        self._keys: tuple[str, ...] = (first_key,)
        self._authorities: tuple[str, ...] = ()
        self._tls: tuple[tuple[str, ...], ssl.SSLContext] | None = None
        self.handovers: tuple[Handover, ...] = ()
        """What leads from the stack's first signing key to the present one, as far as it was told."""

    @classmethod
    def of(cls, config: Config) -> Trust:
        return cls(config.state, config.files, config.signing_public_key)

    @property
    def key(self) -> str:
        """The stack's present signing key (base64), as far as it was told."""
        return self._keys[-1]

    def load(self, *, read_only: bool = False) -> None:
        """Read what was learnt before. A file that cannot be read is put aside, unless nothing may be changed."""
        first, known = self._keys[0], self._known()
        handovers: tuple[Handover, ...] = ()
        try:
            handovers = self._read()
        except files.StateError as error:
            if not read_only:
                files.put_aside(error)
        self.handovers, self._keys = handovers, trusted(first, handovers, is_signed)
        if not handovers:
            if known is not None:
                # Without what led to it, it is still the key that this machine had come to believe.
                self._keys = tuple(dict.fromkeys((first, known)))
        elif known != self.key and not read_only:
            # Who wrote the one file may have been killed before the other.
            try:
                files.write_text(self._state / KEY, f"{self.key}\n")
            except OSError as error:
                say(f"the present signing key cannot be written for stage 0: {error}")

    def _known(self) -> str | None:
        """The key that stage 0 reads; None when there is none to be read, as stage 0 has it."""
        with contextlib.suppress(OSError, ValueError):
            found = (self._state / KEY).read_text().strip()
            if len(base64.b64decode(found, validate=True)) == 32:
                return found
        return None

    def _read(self) -> tuple[Handover, ...]:
        path = self._state / HANDOVERS
        document = files.read(path, _REMEDY)
        if document is None:
            return ()
        try:
            return read_handovers(Fields("signing", document).object_list("handovers"))
        except FieldError as error:
            raise files.StateError(path, str(error), _REMEDY) from error

    @property
    def headers(self) -> dict[str, str]:
        """What goes with a release, so that stage 0 on a machine that was never told of another key takes it."""
        found = " ".join(f"{each.public_key}:{each.signature}" for each in self.handovers)
        return {"X-Hybridnet-Keys": found} if found else {}

    def is_signed(self, message: bytes, signature: str | None) -> bool:
        """Whether the stack's present key signed ``message``: what comes from elsewhere has to be."""
        return is_signed(message, signature, self.key)

    def was_signed(self, message: bytes, signature: str) -> bool:
        """Whether a key signed it that was believed once: for what this machine took then, and kept."""
        return any(is_signed(message, signature, key) for key in reversed(self._keys))

    def learn(self, handovers: Sequence[Handover]) -> None:
        """Follow what a gateway tells, as far as it leads on from the present key. A full disk keeps nobody from it."""
        if tuple(handovers) == self.handovers:
            return
        keys = trusted(self.key, handovers, is_signed)
        if len(keys) == 1:
            return
        self.handovers, self._keys = tuple(handovers), (*self._keys, *keys[1:])
        say(f"the stack signs with another key now: {self.key}")
        try:
            self._write()
        except OSError as error:
            say(f"the stack's new signing key cannot be written, and is asked for again after a restart: {error}")

    def offer(self, body: bytes, signature: str | None) -> tuple[int, str]:
        """Follow what the program tells (``overlay.signing.handovers_body``): (HTTP status, reason).

        It is signed by the key that it leads to, so that nobody else gives a gateway what leads nobody on. It is on
        disk before this returns 201; OSError when the disk takes no more.
        """
        try:
            handovers = parse_handovers(body)
        except FieldError as error:
            return 400, str(error)
        newest = handovers[-1].public_key
        if not is_signed(handovers_message(body), signature, newest):
            return 403, "wrong signature"
        keys = trusted(self.key, handovers, is_signed)
        if keys[-1] != newest:
            return 403, "it does not lead on from the signing key that this gateway believes"
        if handovers == self.handovers:
            return 200, "same"
        before = self.handovers
        self.handovers = handovers
        try:
            self._write(newest)
        except OSError:
            self.handovers = before
            raise
        self._keys = (*self._keys, *keys[1:])
        return 201, "taken"

    def _write(self, key: str | None = None) -> None:
        files.write(self._state / HANDOVERS, {"handovers": handovers_document(self.handovers)})
        files.write_text(self._state / KEY, f"{key or self.key}\n")

    def believe(self, authorities: Sequence[str]) -> None:
        """Trust these authorities' certificates (PEM) and no others; without any, first boot's."""
        self._authorities = tuple(authorities)

    @property
    def tls(self) -> ssl.SSLContext:
        """The client's side of TLS, which trusts the stack's present authority; OSError without any."""
        authorities = self._authorities
        if self._tls is None or self._tls[0] != authorities:
            self._tls = authorities, self._context(authorities)
        return self._tls[1]

    def _context(self, authorities: tuple[str, ...]) -> ssl.SSLContext:
        try:
            if authorities:
                return ssl.create_default_context(cadata="".join(authorities))
        except ssl.SSLError as error:
            say(f"the roster's authority cannot be read ({error}), so this machine trusts that of its first boot")
        return control.trust(self._files)
