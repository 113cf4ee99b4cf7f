"""WireGuard keys: they are made on the machine that uses them, and never leave it."""

from __future__ import annotations

import base64
from functools import lru_cache

from node.wireguard import run


def new() -> str:
    """A new private key (base64); WireGuardError without wg(8)."""
    return run(["wg", "genkey"]).strip()


@lru_cache(maxsize=32)
def public_key(private_key: str) -> str:
    """The public half (base64) of a private key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = X25519PrivateKey.from_private_bytes(base64.b64decode(private_key)).public_key()
    return base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
