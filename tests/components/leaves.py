"""Certificates for tests: a server's own, its chain, its key."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.components.gateways import authority

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
DAY = datetime.timedelta(days=1)


@cache
def key_of(kind: str) -> Key:
    """A key of the kind: P-256, RSA-<bits>, Ed25519; the same for the same kind."""
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("RSA-")))
    return ec.generate_private_key(ec.SECP256R1())


def key_pem_of(key: Key, passphrase: bytes | None = None) -> str:
    """The key in PEM, encrypted when there is a passphrase."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@dataclass(frozen=True)
class Leaf:
    """A server's certificate, by default valid from yesterday until tomorrow and of the authority ``stack``."""

    names: Sequence[str] = ("inference.example.com",)
    kind: str = "P-256"
    issuer: str = "stack"
    begins: datetime.timedelta = -DAY
    ends: datetime.timedelta = DAY

    @property
    def key(self) -> str:
        return key_pem_of(key_of(self.kind))

    @cached_property
    def certificate(self) -> str:
        now = datetime.datetime.now(datetime.UTC)
        ca, ca_key = authority(self.issuer)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "inference")])
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in self.names])
        return (
            x509.CertificateBuilder(ca.subject, subject, key_of(self.kind).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.begins)
            .not_valid_after(now + self.ends)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(ca_key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
            .decode()
        )
