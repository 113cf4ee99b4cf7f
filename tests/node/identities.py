"""Clouds that vouch for machines in tests: EC2's signed documents, and Google's tokens and keys."""

from __future__ import annotations

import base64
import datetime
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from node.joining import AwsProof, GcpProof
from overlay.pools import AwsIdentity, GcpIdentity, token_audience

ACCOUNT, REGION, PROJECT = "123456789012", "eu-central-1", "a-project"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    del name
    return rsa.generate_private_key(65537, 2048)


def certificate(name: str = "aws") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1)  # noqa: DTZ001  the oldest cryptography takes naive times only
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(rsa_key(name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(rsa_key(name), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def aws_identity() -> AwsIdentity:
    """What a pool in AWS asks for: the first certificate is one that has signed nothing here."""
    return AwsIdentity(ACCOUNT, REGION, (certificate("retired"), certificate("aws")))


def aws_proof(instance: str, signer: str = "aws", **changes: str) -> AwsProof:
    """A document as the metadata service gives it, with its signature in lines of 64."""
    document = json.dumps(
        {"accountId": ACCOUNT, "instanceId": instance, "region": REGION, "version": "2017-09-30"} | changes, indent=2
    )
    signed = rsa_key(signer).sign(document.encode(), padding.PKCS1v15(), hashes.SHA256())
    text = base64.b64encode(signed).decode()
    return AwsProof(document, "\n".join(text[start : start + 64] for start in range(0, len(text), 64)))


def gcp_identity() -> GcpIdentity:
    return GcpIdentity(PROJECT)


def google_keys() -> bytes:
    """The answer of Google's key endpoint: one key, ``key-1``."""
    numbers = rsa_key("google").public_key().public_numbers()

    def packed(number: int) -> str:
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "key-1", "n": packed(numbers.n), "e": packed(numbers.e)}
    return json.dumps({"keys": [key]}).encode()


def gcp_proof(
    pool: str,
    public_key: str,
    instance: str,
    *,
    signer: str = "google",
    kid: str = "key-1",
    project: str = PROJECT,
    lifetime: float = 3600.0,
    **changes: Any,
) -> GcpProof:
    """A token as the metadata service gives it in the format ``full``."""
    now = int(time.time())
    claims = {
        "iss": "https://accounts.google.com",
        "aud": token_audience(pool, public_key),
        "iat": now - 3600 if lifetime < 0 else now,
        "exp": int(now + lifetime),
        "sub": "1234567890",
        "google": {"compute_engine": {"project_id": project, "instance_id": instance, "zone": "europe-west3-a"}},
    } | changes
    private = rsa_key(signer).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return GcpProof(jwt.encode(claims, private.decode(), algorithm="RS256", headers={"kid": kid}))
