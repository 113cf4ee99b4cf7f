"""What a gateway keeps no copy of: lease secrets and tickets, both made with the seal key of its first boot.

A gateway that lost its disk has the same seal key again, and so knows its tickets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

_KEY_BYTES = 32
_NONCE_BYTES = 12
_LEASE_PURPOSE = b"hybridnet lease 1\n"
_TICKET_PURPOSE = b"hybridnet ticket 1\n"
_NONCE_PURPOSE = b"hybridnet ticket nonce 1\n"


@dataclass(frozen=True)
class Ticket:
    """A lease as it was when it was given: ``address`` is dotted, ``lease`` its id."""

    lease: str
    pool: str
    public_key: str
    instance_id: str
    address: str
    name: str


class Seal:
    """Makes secrets and tickets with ``key`` (32 bytes), and opens its own tickets."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._ticket_key = self._mac(_TICKET_PURPOSE)
        self._nonce_key = self._mac(_NONCE_PURPOSE)

    def _mac(self, message: bytes) -> bytes:
        return hmac.new(self._key, message, hashlib.sha256).digest()

    def secret(self, lease: str, public_key: str) -> str:
        """The secret (base64) that authenticates the lease's machine through the tunnel."""
        return base64.b64encode(self._mac(_LEASE_PURPOSE + f"{lease}\n{public_key}".encode())).decode()

    def seal(self, ticket: Ticket) -> str:
        """The ticket as the machine keeps it (base64): the same for the same lease, as the whole answer is."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        text = json.dumps(asdict(ticket), sort_keys=True).encode()
        nonce = hmac.new(self._nonce_key, text, hashlib.sha256).digest()[:_NONCE_BYTES]
        return base64.b64encode(
            nonce + ChaCha20Poly1305(self._ticket_key).encrypt(nonce, text, _TICKET_PURPOSE)
        ).decode()

    def open(self, text: str) -> Ticket | None:
        """The ticket in ``text``; None for anything that this key did not seal."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        try:
            sealed = base64.b64decode(text, validate=True)
            nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            opened = ChaCha20Poly1305(self._ticket_key).decrypt(nonce, rest, _TICKET_PURPOSE)
        except (InvalidTag, ValueError):
            return None
        return Ticket(**cast("dict[str, str]", json.loads(opened)))


def load_seal(path: Path) -> Seal | None:
    """The seal of first boot's key file (base64 of 32 bytes), or None when there is none or it is no such key."""
    try:
        key = base64.b64decode(path.read_text().strip(), validate=True)
    except (OSError, UnicodeDecodeError, binascii.Error):
        return None
    return Seal(key) if len(key) == _KEY_BYTES else None
