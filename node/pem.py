"""Certificates and keys in PEM, with whatever version of the cryptography library a machine has."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

_END = "-----END CERTIFICATE-----\n"


class PemError(ValueError):
    """A text is not what it should be; the message begins with the field's name and shows nothing of it."""


def read_chain(field: str, pem: str) -> list[x509.Certificate]:
    """The certificates in ``pem``; PemError."""
    from cryptography import x509

    try:
        return [x509.load_pem_x509_certificate(f"{text}{_END}".encode()) for text in pem.split(_END) if text]
    except ValueError:
        raise PemError(f"{field}: it cannot be read as X.509 certificates") from None


def check_key(certificate: x509.Certificate, private_key: str) -> None:
    """PemError unless ``private_key`` (PEM) is the certificate's."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        public = load_pem_private_key(private_key.encode(), None).public_key().public_bytes(*form)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PemError("private_key: it cannot be read, or is sealed with a password") from None
    if certificate.public_key().public_bytes(*form) != public:
        raise PemError("private_key: it is not the certificate's")


def not_after(certificate: x509.Certificate) -> datetime.datetime:
    """Until when the certificate is valid (UTC)."""
    # Ubuntu 22.04's cryptography (3.4.8) has the naive attribute alone, and the newest ones warn of it.
    aware: datetime.datetime | None = getattr(certificate, "not_valid_after_utc", None)
    if aware is not None:
        return aware
    naive: datetime.datetime = getattr(certificate, "not_valid_after")  # noqa: B009
    return naive.replace(tzinfo=datetime.timezone.utc)
