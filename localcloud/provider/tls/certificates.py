"""Certificates and requests, as the tls provider builds them with Go's crypto/x509."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import CloudError
from localcloud.provider.tls.keys import PrivateKey
from localcloud.wire import Value

# Both tables: hashicorp/terraform-provider-tls, internal/provider/common_cert.go
KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "cert_signing",
    "crl_signing",
    "encipher_only",
    "decipher_only",
)
EXTENDED_USAGES: dict[str, ObjectIdentifier] = {
    "any_extended": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code_signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email_protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec_end_system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec_tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec_user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp_signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft_server_gated_crypto": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape_server_gated_crypto": ObjectIdentifier("2.16.840.1.113730.4.1"),
    "microsoft_commercial_code_signing": ObjectIdentifier("1.3.6.1.4.1.311.2.1.22"),
    "microsoft_kernel_code_signing": ObjectIdentifier("1.3.6.1.4.1.311.61.1.1"),
}
USES = (*KEY_USAGES, *EXTENDED_USAGES)

_NAMES: dict[str, ObjectIdentifier] = {
    "country": NameOID.COUNTRY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "province": NameOID.STATE_OR_PROVINCE_NAME,
    "postalCode": NameOID.POSTAL_CODE,
    "commonName": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
}


def request(inputs: Inputs, key: PrivateKey) -> str:
    """A certificate signing request, in PEM. Raises CloudError on values that X.509 cannot hold."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(inputs))
    if names := _alternative_names(inputs):
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, _hash(key)).public_bytes(Encoding.PEM).decode()


def self_signed(inputs: Inputs, key: PrivateKey) -> dict[str, Value]:
    """A certificate signed with its own key: the outputs, and its serial number under `id`."""
    subject = _subject(inputs)
    return _issue(inputs, subject, _alternative_names(inputs), key, subject, key, None)


def locally_signed(
    inputs: Inputs, csr: x509.CertificateSigningRequest, ca: x509.Certificate, key: PrivateKey
) -> dict[str, Value]:
    """A certificate for the request, signed by the authority: the outputs, and its serial number under `id`."""
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = None
    return _issue(inputs, csr.subject, names, csr, ca.subject, key, ca)


def load_request(pem: str) -> x509.CertificateSigningRequest:
    """The request in a PEM text. Raises CloudError."""
    try:
        return x509.load_pem_x509_csr(pem.encode())
    except ValueError as error:
        raise CloudError("Failed to parse certificate request PEM: it holds no certificate request") from error


def load_certificate(pem: str) -> x509.Certificate:
    """The one certificate in a PEM text. Raises CloudError."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise CloudError("Failed to parse CA certificate PEM: it holds no certificate") from error


def ready_for_renewal(end: str, early_hours: int) -> bool:
    """Whether a certificate that ends then (RFC 3339) is due to be made anew."""
    return dt.datetime.now(dt.UTC) >= dt.datetime.fromisoformat(end) - dt.timedelta(hours=early_hours)


def _issue(
    inputs: Inputs,
    subject: x509.Name,
    names: x509.SubjectAlternativeName | None,
    holder: PrivateKey | x509.CertificateSigningRequest,
    issuer: x509.Name,
    key: PrivateKey,
    ca: x509.Certificate | None,
) -> dict[str, Value]:
    start = dt.datetime.now(dt.UTC).replace(microsecond=0)
    end = start + dt.timedelta(hours=inputs.number("validityPeriodHours") or 0)
    public, serial = holder.public_key(), secrets.randbits(127) + 1
    builder = x509.CertificateBuilder(issuer, subject, public, serial, start, end)  # pyright: ignore[reportArgumentType]
    is_ca = inputs.flag("isCaCertificate")
    if is_ca and not subject.rdns:
        raise CloudError("Must contain at least one Distinguished Name when creating Certificate Authority (CA)")
    builder = builder.add_extension(
        x509.BasicConstraints(ca=is_ca, path_length=inputs.number("maxPathLength") if is_ca else None), critical=True
    )
    usages, extended = _usages(inputs.texts("allowedUses"))
    if usages:
        builder = builder.add_extension(usages, critical=True)
    if extended:
        builder = builder.add_extension(extended, critical=False)
    if names:
        builder = builder.add_extension(names, critical=not subject.rdns)
    identifier = x509.SubjectKeyIdentifier(
        hashlib.sha1(
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), usedforsecurity=False
        ).digest()
    )
    if is_ca or inputs.flag("setSubjectKeyId"):
        builder = builder.add_extension(identifier, critical=False)
    if authority := _authority_id(inputs, ca):
        builder = builder.add_extension(authority, critical=False)
    certificate = builder.sign(key, _hash(key))
    return {
        "id": str(serial),
        "certPem": certificate.public_bytes(Encoding.PEM).decode(),
        "validityStartTime": start.isoformat().replace("+00:00", "Z"),
        "validityEndTime": end.isoformat().replace("+00:00", "Z"),
        "readyForRenewal": False,
    }


def _authority_id(inputs: Inputs, ca: x509.Certificate | None) -> x509.AuthorityKeyIdentifier | None:
    if ca is None:
        if inputs.flag("setAuthorityKeyId"):
            raise CloudError("Invalid Certificate Authority: Could not determine Authority Key Identifier")
        return None
    try:
        identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return None
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usages(uses: list[str]) -> tuple[x509.KeyUsage | None, x509.ExtendedKeyUsage | None]:
    plain = {name for name in uses if name in KEY_USAGES}
    extended = [EXTENDED_USAGES[name] for name in uses if name in EXTENDED_USAGES]
    usage = None
    if plain:
        usage = x509.KeyUsage(
            digital_signature="digital_signature" in plain,
            content_commitment="content_commitment" in plain,
            key_encipherment="key_encipherment" in plain,
            data_encipherment="data_encipherment" in plain,
            key_agreement="key_agreement" in plain,
            key_cert_sign="cert_signing" in plain,
            crl_sign="crl_signing" in plain,
            encipher_only="encipher_only" in plain and "key_agreement" in plain,
            decipher_only="decipher_only" in plain and "key_agreement" in plain,
        )
    return usage, x509.ExtendedKeyUsage(extended) if extended else None


def _subject(inputs: Inputs) -> x509.Name:
    subject = inputs.object("subject")
    if subject is None:
        return x509.Name([])
    attributes: list[x509.NameAttribute[str]] = []
    try:
        for name, oid in _NAMES.items():
            if text := subject.text(name):
                attributes.append(x509.NameAttribute(oid, text))
        for line in subject.texts("streetAddresses"):
            attributes.append(x509.NameAttribute(NameOID.STREET_ADDRESS, line))
    except ValueError as error:
        raise CloudError(f"Failed to create certificate: subject: {error}") from error
    return x509.Name(attributes)


def _alternative_names(inputs: Inputs) -> x509.SubjectAlternativeName | None:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in inputs.texts("dnsNames")]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in inputs.texts("ipAddresses")]
    names += [x509.UniformResourceIdentifier(uri) for uri in inputs.texts("uris")]
    return x509.SubjectAlternativeName(names) if names else None


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
