"""EC2's instance identity document (EC2 user guide, "Verify the instance identity document for an instance").

The signature is RSA with SHA-256 (PKCS#1 v1.5) over the document's exact bytes, by a certificate of the region. A
document never expires and any process on the machine can read it: so the first key that uses it keeps it.
"""

from __future__ import annotations

import base64
import json
from typing import Any, cast

from node.gateway.lease import Evidence, Refusal
from node.joining import AwsProof
from overlay.pools import AwsIdentity


def _is_signed(document: bytes, signature: bytes, certificate: str) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
        if not isinstance(key, RSAPublicKey):
            return False
        key.verify(signature, document, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def verified(identity: AwsIdentity, proof: AwsProof, instance_id: str) -> Evidence:
    """The machine of a document that holds for the pool and names ``instance_id``; Refusal (403)."""
    try:
        document = proof.document.encode()
        # The metadata service breaks the signature into lines.
        signature = base64.b64decode("".join(proof.signature.split()), validate=True)
    except ValueError:
        raise Refusal(403, "proof: no text, or its signature is not base64", kind="proof") from None
    if not any(_is_signed(document, signature, each) for each in identity.certificates):
        raise Refusal(403, "proof: none of the pool's certificates has signed this document", kind="proof")
    try:
        told: object = json.loads(document)
    except (ValueError, RecursionError):
        told = None
    fields = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    wanted = {"accountId": identity.account, "region": identity.region, "instanceId": instance_id}
    for name, value in wanted.items():
        if fields.get(name) != value:
            raise Refusal(403, f"proof: the document's {name} is not {value}", kind="proof")
    return Evidence(f"aws:{identity.account}:{identity.region}:{instance_id}", binds=True)
