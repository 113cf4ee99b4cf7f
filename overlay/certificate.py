"""What a gateway shows at its control plane, as the program pushes it: a document of its own, for one gateway alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace

from overlay.fields import FieldError, read
from overlay.model import is_node_name

CERTIFICATE_VERSION = 1
_MAX_NUMBER = 2**53 - 1


class CertificateError(ValueError):
    """The bytes are no valid document; the message names the field and what is wrong, and shows no secret."""


@dataclass(frozen=True)
class ControlCertificate:
    """The certificate of the control plane of the node ``gateway``, so that a signature is good at no other.

    ``certificate`` is PEM: the gateway's own, and then what leads from the stack's present authority to each that it
    had before. ``private_key`` (PEM) is a secret.
    """

    number: int
    gateway: str
    certificate: str
    private_key: str = field(repr=False)


def canonical_certificate(certificate: ControlCertificate) -> bytes:
    """The document's bytes, as they are signed, sent and stored: JSON, sorted keys, no spaces, ASCII."""
    document = {
        "schema_version": CERTIFICATE_VERSION,
        "number": certificate.number,
        "gateway": certificate.gateway,
        "certificate": certificate.certificate,
        "private_key": certificate.private_key,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def certificate_digest(certificate: ControlCertificate) -> str:
    """SHA-256 (hex) of the document without its number."""
    return hashlib.sha256(canonical_certificate(replace(certificate, number=0))).hexdigest()


def parse_certificate(body: bytes) -> ControlCertificate:
    """The document of canonical bytes; CertificateError unless they are what :func:`canonical_certificate` makes.

    Whether certificate and key fit each other is for a reader with a library for that.
    """
    try:
        fields = read("certificate", body)
        fields.number("schema_version", CERTIFICATE_VERSION, CERTIFICATE_VERSION)
        number, gateway = fields.number("number", 1, _MAX_NUMBER), fields.text("gateway")
        if not is_node_name(gateway):
            raise FieldError(f"certificate.gateway: {gateway!r} is not a lower-case DNS label")
        found = ControlCertificate(number, gateway, fields.pem("certificate"), fields.pem("private_key"))
        fields.end()
    except FieldError as error:
        raise CertificateError(str(error)) from None
    if canonical_certificate(found) != body:
        raise CertificateError("not in canonical form: sorted keys, no spaces, ASCII")
    return found
