"""The keys by which an instance's clouds vouch: Amazon's for identity documents, Google's for identity tokens, and a
certificate authority that its machines trust, for what stands for the clouds' own servers.

Made once, at the first use; root alone can read them.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localcloud.cloud import Cloud, write_private
from localcloud.spec import JSON

DAYS = 3650
GOOGLE_APIS = "www.googleapis.com"
_AUTHORITY = "local cloud authority"
_MADE = {"aws": "aws.pem", "google": "google.pem", "authority": "authority.pem", "server": "server.pem"}
"""Each file holds a private key and after it, where there is one, its certificate."""
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Authority:
    """The keys of an instance. Safe to use from several processes and threads at once."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @property
    def aws_certificate(self) -> str:
        """The certificate (PEM) of the key that signs instance identity documents."""
        return _certificates(self._text("aws"))

    @property
    def certificate(self) -> str:
        """The certificate (PEM) of the authority that machines trust."""
        return _certificates(self._text("authority"))

    @property
    def certificate_name_hash(self) -> str:
        """What OpenSSL calls the authority's certificate in a folder of trusted ones."""
        return name_hash(x509.load_pem_x509_certificate(self.certificate.encode()).subject)

    def signature(self, document: bytes) -> str:
        """Amazon's signature (base64 of RSA PKCS #1 v1.5 with SHA-256) over a document."""
        return base64.b64encode(self._aws.sign(document, padding.PKCS1v15(), hashes.SHA256())).decode()

    def token(self, claims: Mapping[str, JSON]) -> str:
        """A JSON Web Token (RS256) of Google's with these claims."""
        header = {"alg": "RS256", "kid": self._key_id, "typ": "JWT"}
        signed = ".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_url64(self._google.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def key_set(self) -> Mapping[str, JSON]:
        """The public keys (JWKS) that Google's tokens are signed with."""
        numbers = self._google.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self._key_id}
        return {"keys": [{**key, "n": _number64(numbers.n), "e": _number64(numbers.e)}]}

    def server_context(self) -> ssl.SSLContext:
        """TLS as `GOOGLE_APIS`."""
        self._text("server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._folder / _MADE["server"])
        return context

    @cached_property
    def _aws(self) -> rsa.RSAPrivateKey:
        return _rsa(self._text("aws"))

    @cached_property
    def _google(self) -> rsa.RSAPrivateKey:
        return _rsa(self._text("google"))

    @cached_property
    def _key_id(self) -> str:
        public = self._google.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(public).hexdigest()[:40]

    @property
    def _folder(self) -> Path:
        return self._cloud.directory / "authority"

    def _text(self, name: str) -> str:
        path = self._folder / _MADE[name]
        if not path.exists():
            with self._cloud.locked("authority"):
                self._folder.mkdir(mode=0o700, exist_ok=True)
                self._make_missing()
        return path.read_text()

    def _make_missing(self) -> None:
        makers: dict[str, Callable[[], str]] = {
            "aws": _self_signed,
            "google": lambda: _pem(_new_rsa()),
            "authority": _authority,
            "server": lambda: _server((self._folder / _MADE["authority"]).read_text()),
        }
        for name, make in makers.items():
            path = self._folder / _MADE[name]
            if not path.exists():
                write_private(path, make())


def name_hash(name: x509.Name) -> str:
    """OpenSSL's hash of a subject (`X509_NAME_hash`) that is in lower case and without double spaces already."""
    return f"{int.from_bytes(hashlib.sha1(name.public_bytes()[2:]).digest()[:4], 'little'):08x}"


def _self_signed() -> str:
    key = _new_rsa()
    certificate = _certificate(key, _name("ec2 instance identity of the local cloud")).sign(key, hashes.SHA256())
    return _pem(key, certificate)


def _authority() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _certificate(key, _name(_AUTHORITY)).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(usage, True).add_extension(identifier, False)
    return _pem(key, builder.sign(key, hashes.SHA256()))


def _server(authority: str) -> str:
    signer = cast("ec.EllipticCurvePrivateKey", serialization.load_pem_private_key(authority.encode(), None))
    issuer = x509.load_pem_x509_certificate(_certificates(authority).encode())
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _certificate(key, _name(GOOGLE_APIS), issuer.subject)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    for extension in (
        x509.SubjectAlternativeName([x509.DNSName(GOOGLE_APIS)]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        identifier,
    ):
        builder = builder.add_extension(extension, False)
    return _pem(key, builder.sign(signer, hashes.SHA256()))


def _certificate(key: PrivateKey, subject: x509.Name, issuer: x509.Name | None = None) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _new_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _rsa(pem: str) -> rsa.RSAPrivateKey:
    return cast("rsa.RSAPrivateKey", serialization.load_pem_private_key(pem.encode(), None))


def _pem(key: PrivateKey, certificate: x509.Certificate | None = None) -> str:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM) if certificate else b""
    return (private + public).decode()


def _certificates(pem: str) -> str:
    """What of a file is public."""
    return pem[pem.index("-----BEGIN CERTIFICATE-----") :]


def _url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number64(number: int) -> str:
    return _url64(number.to_bytes((number.bit_length() + 7) // 8, "big"))
