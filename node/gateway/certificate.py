"""What this gateway shows at its control plane: first boot's certificate, until the program pushes another one."""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node import files
from node.config import Config
from node.log import say
from node.pem import PemError, check_key, not_after, read_chain
from node.trust.trust import Trust
from overlay.certificate import CertificateError, ControlCertificate, certificate_digest, parse_certificate
from overlay.signing import certificate_message

REMEDY = (
    "The control plane shows the certificate of first boot, by which fewer machines may know it, until it is pushed "
    "another one: `pulumi up --refresh`."
)


@dataclass(frozen=True)
class Kept:
    """A certificate as it came, the digests that the status tells, and until when it is valid (UTC)."""

    certificate: ControlCertificate
    sha256: str
    content: str
    not_after: datetime.datetime


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class Certificates:
    """The certificate in ``control.json``; only what the stack's key signed for this gateway, as ``trust`` knows it.

    ``clock`` gives UTC.
    """

    def __init__(self, config: Config, trust: Trust, clock: Callable[[], datetime.datetime] = _now) -> None:
        self._path = config.state / "control.json"
        self._files = config.files
        self._gateway = config.name
        self._trust = trust
        self._clock = clock
        self.kept: Kept | None = None
        self.tls = self._first()
        """The server's side for every new connection; another one after another certificate."""

    def load(self) -> None:
        """Read the file, if there is one. One that is not what was stored is put aside."""
        try:
            document = files.read(self._path, REMEDY)
            if document is None:
                return
            try:
                body, signature = str(document["body"]).encode("ascii"), str(document["signature"])
                if not self._trust.was_signed(certificate_message(body), signature):
                    raise ValueError("the stack did not sign it")
                self._show(self._checked(body))
            except (KeyError, ValueError, ssl.SSLError) as error:
                raise files.StateError(self._path, f"{type(error).__name__}: {error}", REMEDY) from error
        except files.StateError as error:
            files.put_aside(error)

    def offer(self, body: bytes, signature: str | None) -> tuple[int, str]:
        """Take a certificate if it is signed and newer: (HTTP status, reason). On disk before this returns 201."""
        if signature is None or not self._trust.is_signed(certificate_message(body), signature):
            return 403, "wrong signature"
        try:
            new = self._checked(body)
        except CertificateError as error:
            return 400, str(error)
        is_same = self.kept is not None and new.sha256 == self.kept.sha256
        if self._clock() >= new.not_after:
            return 400, f"certificate: it expired on {new.not_after:%Y-%m-%d %H:%M} UTC"
        if self.kept and not is_same and new.certificate.number <= self.kept.certificate.number:
            return 409, f"certificate {self.kept.certificate.number} is here"
        files.write(self._path, {"body": body.decode("ascii"), "signature": signature})
        if is_same:
            return 200, "same"
        self._show(new)
        return 201, "taken"

    @property
    def not_after(self) -> datetime.datetime:
        """Until when what is shown now is valid (UTC)."""
        if self.kept is not None:
            return self.kept.not_after
        return not_after(read_chain("certificate", (self._files / "tls.crt").read_text())[0])

    def _checked(self, body: bytes) -> Kept:
        found = parse_certificate(body)
        if found.gateway != self._gateway:
            raise CertificateError(f"certificate.gateway: not about this gateway, which is {self._gateway}")
        try:
            chain = read_chain("certificate", found.certificate)
            check_key(chain[0], found.private_key)
        except PemError as error:
            raise CertificateError(f"certificate.{error}") from None
        return Kept(found, hashlib.sha256(body).hexdigest(), certificate_digest(found), not_after(chain[0]))

    def _show(self, kept: Kept) -> None:
        self.tls, self.kept = _context(kept.certificate), kept
        say(f"the control plane shows a certificate that is valid until {kept.not_after:%Y-%m-%d}")

    def _first(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._files / "tls.crt", self._files / "tls.key")
        return context


def _context(certificate: ControlCertificate) -> ssl.SSLContext:
    """The server's side with ``certificate``, which OpenSSL reads from a file: one that is in memory alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    descriptor = os.memfd_create("hybridnet-control", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w") as file:
        file.write(certificate.private_key + certificate.certificate)
        file.flush()
        context.load_cert_chain(Path(f"/proc/self/fd/{descriptor}"))
    return context
