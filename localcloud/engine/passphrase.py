"""Pulumi's passphrase secrets: PBKDF2-HMAC-SHA256 (1,000,000 rounds) to a key for AES-256-GCM.

Formats, as the CLI writes them (pulumi/pulumi `pkg/secrets/passphrase`, `sdk/go/common/resource/config/crypt.go`):
a sealed value is `v1:<nonce>:<ciphertext and tag>`, a salt `v1:<8 bytes>:<the word "pulumi" sealed>`, all base64.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from localcloud.engine.errors import EngineError

ROUNDS = 1_000_000
_PROBE = "pulumi"


class Sealer:
    """Seals and opens texts with one passphrase and one salt.

    The key is derived when it is first needed (about 0.3 s).
    """

    def __init__(self, passphrase: str, salt: str) -> None:
        """Takes the salt's text (`v1:…`); raises EngineError when it is malformed."""
        fields = salt.split(":", 2)
        if len(fields) != 3 or fields[0] != "v1":
            raise EngineError("the encryption salt is malformed: expected v1:<salt>:<check value>")
        self.salt = salt
        self._passphrase = passphrase
        self._key: AESGCM | None = None
        self._lock = threading.Lock()
        self._sealed: dict[str, str] = {}

    @classmethod
    def new(cls, passphrase: str) -> Sealer:
        """A sealer with a fresh salt."""
        salt = os.urandom(8)
        key = _derive(passphrase, salt)
        sealer = cls(passphrase, f"v1:{_encode(salt)}:{_seal(key, _PROBE)}")
        sealer._key = key
        return sealer

    def with_salt(self, salt: str) -> Sealer:
        """A sealer of the same passphrase with another salt."""
        return Sealer(self._passphrase, salt)

    def seal(self, text: str) -> str:
        """A text sealed. One sealer seals the same text to the same result, so unchanged state stays as it is."""
        key = self._unlock()
        with self._lock:
            if text not in self._sealed:
                self._sealed[text] = _seal(key, text)
            return self._sealed[text]

    def open(self, sealed: str) -> str:
        """The text of a sealed one; raises EngineError when it was sealed with another key or changed since."""
        text = _open(self._unlock(), sealed)
        with self._lock:
            self._sealed.setdefault(text, sealed)
        return text

    def _unlock(self) -> AESGCM:
        with self._lock:
            if self._key is None:
                _, salt, check = self.salt.split(":", 2)
                key = _derive(self._passphrase, base64.b64decode(salt))
                try:
                    right = _open(key, check) == _PROBE
                except EngineError:
                    right = False
                if not right:
                    raise EngineError(
                        "incorrect passphrase: PULUMI_CONFIG_PASSPHRASE does not open this stack's secrets"
                    )
                self._key = key
            return self._key


def _derive(passphrase: str, salt: bytes) -> AESGCM:
    return AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ROUNDS, 32))


def _seal(key: AESGCM, text: str) -> str:
    nonce = os.urandom(12)
    return f"v1:{_encode(nonce)}:{_encode(key.encrypt(nonce, text.encode(), None))}"


def _open(key: AESGCM, sealed: str) -> str:
    fields = sealed.split(":")
    if len(fields) != 3 or fields[0] != "v1":
        raise EngineError("a sealed value is malformed: expected v1:<nonce>:<ciphertext>")
    try:
        return key.decrypt(base64.b64decode(fields[1]), base64.b64decode(fields[2]), None).decode()
    except (InvalidTag, ValueError) as error:
        raise EngineError("a sealed value cannot be opened: another passphrase or salt sealed it") from error


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
