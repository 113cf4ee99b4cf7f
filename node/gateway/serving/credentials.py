"""The credentials a gateway serves with: which ones are taken, and how they are kept on disk."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node import files
from node.log import say
from node.pem import PemError, check_key, not_after, read_chain
from node.trust.trust import Trust
from overlay.serving import Credentials, CredentialsError, credentials_digest, parse_credentials
from overlay.signing import credentials_message

REMEDY = "nginx goes on as it was until credentials are pushed again: `pulumi up --refresh`."


@dataclass(frozen=True)
class Kept:
    """Credentials as they came, the digests that the status tells, and until when the certificate is valid (UTC)."""

    credentials: Credentials
    body: bytes
    sha256: str
    content: str
    not_after: datetime.datetime


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class CredentialStore:
    """The credentials in ``path``; only what the stack's key signed for ``gateway``, this node, as ``trust`` knows it.

    ``clock`` gives UTC.
    """

    def __init__(self, path: Path, gateway: str, trust: Trust, clock: Callable[[], datetime.datetime] = _now) -> None:
        self._path = path
        self._gateway = gateway
        self._trust = trust
        self._clock = clock
        self.kept: Kept | None = None
        self.problem: str | None = None
        """Why what is on the disk cannot be used."""

    def load(self) -> None:
        """Read the file, if there is one. One that is not what was stored is a problem, and no credentials."""
        try:
            self.kept = self._read()
        except (files.StateError, OSError) as error:
            self.problem = str(error)
            say(self.problem)

    def _read(self) -> Kept | None:
        document = files.read(self._path, REMEDY)
        if document is None:
            return None
        try:
            body, signature = str(document["body"]).encode("ascii"), str(document["signature"])
            if not self._trust.was_signed(credentials_message(body), signature):
                raise ValueError("the stack did not sign it")
            return self._checked(body)
        except (KeyError, ValueError) as error:
            raise files.StateError(self._path, f"{type(error).__name__}: {error}", REMEDY) from error

    def offer(self, body: bytes, signature: str | None) -> tuple[int, str]:
        """Take credentials if they are signed and newer: (HTTP status, reason). On disk before this returns 201."""
        if signature is None or not self._trust.is_signed(credentials_message(body), signature):
            return 403, "wrong signature"
        if self.kept and body == self.kept.body:
            self._write(body, signature)
            return 200, "same"
        try:
            new = self._checked(body)
        except CredentialsError as error:
            return 400, str(error)
        if self.is_expired(new):
            return 400, f"credentials.certificate: it expired on {new.not_after:%Y-%m-%d %H:%M} UTC"
        if self.kept and new.credentials.number <= self.kept.credentials.number:
            return 409, f"credentials {self.kept.credentials.number} are here"
        self._write(body, signature)
        self.kept, self.problem = new, None
        return 201, "taken"

    def _write(self, body: bytes, signature: str) -> None:
        files.write(self._path, {"body": body.decode("ascii"), "signature": signature})

    def _checked(self, body: bytes) -> Kept:
        credentials = parse_credentials(body)
        if credentials.gateway != self._gateway:
            raise CredentialsError(f"credentials.gateway: not about this gateway, which is {self._gateway}")
        return _kept(credentials, body)

    def forget(self) -> None:
        """Remove them, here and on the disk; OSError. Whatever comes next is taken, whatever its number."""
        self._path.unlink(missing_ok=True)
        self.kept = self.problem = None

    def is_expired(self, kept: Kept) -> bool:
        return self._clock() >= kept.not_after


def _kept(credentials: Credentials, body: bytes) -> Kept:
    """CredentialsError unless everything can be read, and the private key is the certificate's."""
    try:
        chain = read_chain("certificate", credentials.certificate)
        if credentials.client_ca is not None:
            read_chain("client_ca", credentials.client_ca)
        check_key(chain[0], credentials.private_key)
    except PemError as error:
        raise CredentialsError(f"credentials.{error}") from None
    digest = hashlib.sha256(body).hexdigest()
    return Kept(credentials, body, digest, credentials_digest(credentials), not_after(chain[0]))
