"""Whether the stack signed a message."""

from __future__ import annotations

import base64


def is_signed(message: bytes, signature: str | None, public_key: str) -> bool:
    """Whether ``signature`` (base64) over ``message`` was made with the private half of ``public_key``.

    The key is the base64 of a raw ED25519 key. Anything that is no signature at all is no valid one either.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if signature is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).verify(
            base64.b64decode(signature, validate=True), message
        )
    except (InvalidSignature, ValueError):
        return False
    return True
