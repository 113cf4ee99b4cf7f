"""Certificates for origins, of an authority that the local cloud keeps: only the edge trusts it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import ClassVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localcloud.provider.clouds.cloudflare.common import ORIGIN_CERTIFICATE, next_id, one_of
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.rules.cloudflare import HOSTNAME, REQUEST_TYPES, VALIDITY_DAYS
from localcloud.provider.tls.certificates import load_request
from localcloud.provider.world import Record, World
from localcloud.wire import Value

AUTHORITY = "cloudflare:local/originAuthority:OriginAuthority"
"""The one record of the authority itself, which no program made."""
_YEAR = dt.timedelta(days=365)


class OriginCaCertificate(Kind):
    """Everything replaces it: terraform-provider-cloudflare, internal/services/origin_ca_certificate/schema.go."""

    token = ORIGIN_CERTIFICATE
    replace = frozenset({"csr", "hostnames", "requestType", "requestedValidity"})
    defaults: ClassVar[Mapping[str, Value]] = {"requestedValidity": 5475}

    def check(self, check: Check) -> None:
        inputs = check.inputs
        one_of(check, "requestType", inputs.text("requestType"), REQUEST_TYPES)
        days = inputs.number("requestedValidity")
        if days is not None and days not in VALIDITY_DAYS:
            check.refuse("requestedValidity", f"value must be one of: {list(VALIDITY_DAYS)}, got: {days}")
        for index, name in enumerate(inputs.texts("hostnames")):
            if not re.fullmatch(HOSTNAME, name):
                check.refuse(f"hostnames[{index}]", f'"{name}" is not a fully qualified name of a zone (1010)')
        if inputs.values.get("hostnames") == []:
            check.refuse("hostnames", "at least one hostname is needed (1010)")
        csr = inputs.text("csr")
        if csr is not None:
            try:
                load_request(csr)
            except CloudError as error:
                check.refuse("csr", f"{error} (1008)")

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        if path == "requestedValidity":
            return new.given(path)
        return super().replaces(path, old, new)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        certificate = _sign(
            load_request(inputs.text("csr") or ""),
            inputs.texts("hostnames"),
            dt.timedelta(days=inputs.number("requestedValidity") or 5475),
            *_authority(world),
        )
        facts: dict[str, Value] = {
            "certificate": certificate.public_bytes(Encoding.PEM).decode(),
            "expiresOn": certificate.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
        }
        return world.put(Record(self.token, next_id(world), inputs.values, facts))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return dict(record.state)


def authority_certificate(world: World) -> str | None:
    """The certificate (PEM) of the authority, once it has signed something."""
    record = world.get(AUTHORITY, "ecc")
    return None if record is None else record.facts.text("certificate")


def _authority(world: World) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The authority, which is made when it is first needed."""
    record = world.get(AUTHORITY, "ecc")
    if record is None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("CloudFlare Origin SSL ECC Certificate Authority")
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + 20 * _YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        facts: dict[str, Value] = {"key": pem, "certificate": certificate.public_bytes(Encoding.PEM).decode()}
        record = world.put(Record(AUTHORITY, "ecc", {}, facts))
    certificate = x509.load_pem_x509_certificate((record.facts.text("certificate") or "").encode())
    key = load_pem_private_key((record.facts.text("key") or "").encode(), None)
    return certificate, cast("ec.EllipticCurvePrivateKey", key)


def _sign(
    csr: x509.CertificateSigningRequest,
    hostnames: list[str],
    validity: dt.timedelta,
    authority: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """A certificate for the request's key and these names; of the request's own names nothing is taken."""
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in hostnames])
    return (
        x509.CertificateBuilder()
        .subject_name(_name("CloudFlare Origin Certificate"))
        .issuer_name(authority.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )


def _name(common: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "CloudFlare, Inc.")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])


KINDS = (OriginCaCertificate(),)
