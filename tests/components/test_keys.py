"""Keys: what is derived from what, and signatures. The golden values protect deployed stacks."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from components.keys import join_token, public_key_of, seal_key, sign, signing_public_key, wireguard_key
from overlay.model import is_wireguard_key
from tests.components.recorder import key_pem

SEED = bytes(range(32))
WIREGUARD_KEY = "yNAbAwwLhTVP7dQiL9D/DWjPl9jn7e0WKcicyyu3O20="
TOKEN = "fJnThNi2l6BI0MzM6N1--fQYraa2pbu_OkWc__WR5BI"
SEAL_KEY = "HyjarFFNhBJ05FQfCscgrtwaGAEnnhRLqC5q2MHJWS0="
PUBLIC_KEY = "5VXQGYgHLatfFjTcQlDFZvokTa0P2w3SydFV4pidIFo="
"""What `wg pubkey` makes of it."""


def pem_of(seed: bytes) -> str:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    bare = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, bare).decode()


def test_the_wireguard_key_of_a_seed_never_changes() -> None:
    assert wireguard_key(pem_of(SEED)) == WIREGUARD_KEY


def test_the_wireguard_key_is_hkdf_of_the_seed_clamped() -> None:
    extracted = hmac.new(bytes(32), SEED, hashlib.sha256).digest()
    expanded = bytearray(hmac.new(extracted, b"wireguard\x01", hashlib.sha256).digest())
    expanded[0] &= 0b11111000
    expanded[31] = expanded[31] & 0b01111111 | 0b01000000
    assert wireguard_key(pem_of(SEED)) == base64.b64encode(expanded).decode(), "RFC 5869 without salt, RFC 7748 clamp"


def hkdf(info: bytes) -> bytes:
    """RFC 5869 without salt, for one block."""
    return hmac.new(hmac.new(bytes(32), SEED, hashlib.sha256).digest(), info + b"\x01", hashlib.sha256).digest()


def test_the_join_token_of_a_seed_never_changes() -> None:
    assert join_token(pem_of(SEED), 1) == TOKEN
    assert base64.urlsafe_b64decode(f"{TOKEN}=") == hkdf(b"join token 1")


def test_each_revision_has_a_token_of_its_own() -> None:
    tokens = {join_token(pem_of(SEED), revision) for revision in range(1, 50)}
    assert len(tokens) == 49
    assert {len(token) for token in tokens} == {43}


def test_the_key_that_seals_leases_never_changes() -> None:
    assert seal_key(pem_of(SEED)) == SEAL_KEY
    assert base64.b64decode(SEAL_KEY) == hkdf(b"seal")


def test_the_public_key_is_what_wg_makes_of_the_private_one() -> None:
    assert public_key_of(WIREGUARD_KEY) == PUBLIC_KEY


def test_every_seed_gives_keys_that_wireguard_takes() -> None:
    keys = {wireguard_key(pem_of(hashlib.sha256(bytes([number])).digest())) for number in range(50)}
    assert len(keys) == 50
    assert all(is_wireguard_key(key) and is_wireguard_key(public_key_of(key)) for key in keys)


def test_a_signature_is_checked_with_the_public_key_that_machines_hold() -> None:
    pem = pem_of(SEED)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(signing_public_key(pem)))
    signature = base64.b64decode(sign(pem, b"message"))
    public.verify(signature, b"message")
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"another message")


def test_the_same_message_has_the_same_signature() -> None:
    assert sign(pem_of(SEED), b"message") == sign(pem_of(SEED), b"message")


def test_a_key_of_another_kind_signs_nothing() -> None:
    with pytest.raises(TypeError, match="ED25519"):
        sign(key_pem("other", "ECDSA")[0], b"message")
