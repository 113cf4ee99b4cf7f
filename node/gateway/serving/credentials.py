"""The credentials a gateway serves with: which ones are taken, and how they are kept on disk."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from node import files
from node.log import say
from node.signature import is_signed
from overlay.serving import Credentials, CredentialsError, credentials_digest, parse_credentials
from overlay.signing import credentials_message

if TYPE_CHECKING:
    from cryptography import x509

REMEDY = "nginx goes on as it was until credentials are pushed again: `pulumi up --refresh`."
_END = "-----END CERTIFICATE-----\n"


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
    """The credentials in ``path``; only what ``public_key`` (base64, ED25519) signed for ``gateway``, this node.

    ``clock`` gives UTC.
    """

    def __init__(
        self, path: Path, gateway: str, public_key: str, clock: Callable[[], datetime.datetime] = _now
    ) -> None:
        self._path = path
        self._gateway = gateway
        self._public_key = public_key
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
            if not is_signed(credentials_message(body), signature, self._public_key):
                raise ValueError("the stack did not sign it")
            return self._checked(body)
        except (KeyError, ValueError) as error:
            raise files.StateError(self._path, f"{type(error).__name__}: {error}", REMEDY) from error

    def offer(self, body: bytes, signature: str | None) -> tuple[int, str]:
        """Take credentials if they are signed and newer: (HTTP status, reason). On disk before this returns 201."""
        if signature is None or not is_signed(credentials_message(body), signature, self._public_key):
            return 403, "wrong signature"
        if self.kept and body == self.kept.body:
            return 200, "same"
        try:
            new = self._checked(body)
        except CredentialsError as error:
            return 400, str(error)
        if self.is_expired(new):
            return 400, f"credentials.certificate: it expired on {new.not_after:%Y-%m-%d %H:%M} UTC"
        if self.kept and new.credentials.number <= self.kept.credentials.number:
            return 409, f"credentials {self.kept.credentials.number} are here"
        files.write(self._path, {"body": body.decode("ascii"), "signature": signature})
        self.kept, self.problem = new, None
        return 201, "taken"

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
    chain = _certificates("certificate", credentials.certificate)
    if credentials.client_ca is not None:
        _certificates("client_ca", credentials.client_ca)
    _check_key(chain[0], credentials.private_key)
    digest = hashlib.sha256(body).hexdigest()
    return Kept(credentials, body, digest, credentials_digest(credentials), _not_after(chain[0]))


def _certificates(field: str, pem: str) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return [x509.load_pem_x509_certificate(f"{text}{_END}".encode()) for text in pem.split(_END) if text]
    except ValueError:
        raise CredentialsError(f"credentials.{field}: it cannot be read as X.509 certificates") from None


def _check_key(certificate: x509.Certificate, pem: str) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        public = load_pem_private_key(pem.encode(), None).public_key().public_bytes(*form)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CredentialsError("credentials.private_key: it cannot be read, or is sealed with a password") from None
    if certificate.public_key().public_bytes(*form) != public:
        raise CredentialsError("credentials.private_key: it is not the certificate's")


def _not_after(certificate: x509.Certificate) -> datetime.datetime:
    # Ubuntu 22.04's cryptography (3.4.8) has the naive attribute alone, and the newest ones warn of it.
    aware: datetime.datetime | None = getattr(certificate, "not_valid_after_utc", None)
    if aware is not None:
        return aware
    naive: datetime.datetime = getattr(certificate, "not_valid_after")  # noqa: B009
    return naive.replace(tzinfo=datetime.timezone.utc)
