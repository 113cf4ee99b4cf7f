"""The tunnel of a simulated node, against the other end of the protocol."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import struct
import threading
from ipaddress import IPv4Address

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from bench import tunnel
from bench.tunnel import Tunnel, TunnelError
from node.ping import checksum


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def _hmac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "blake2s")


def _derive(chain: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    secret = _hmac(chain, material)
    first = _hmac(secret, b"\x01")
    second = _hmac(secret, first, b"\x02")
    return first, second, _hmac(secret, second, b"\x03")


def _answer(udp: socket.socket, private: X25519PrivateKey, *, echoes: bool) -> None:
    """One handshake and one echo as the kernel answers them, which pads what it seals to 16 bytes.

    Before each come messages that answer something else, as they do from a gateway that looks at its peers.
    """
    own = private.public_key().public_bytes_raw()
    initiation, client = udp.recvfrom(2048)
    theirs, sealed = initiation[8:40], initiation[40:88]
    chain = _hash(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    digest = _hash(_hash(_hash(chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), own), theirs)
    other = X25519PublicKey.from_public_bytes(theirs)
    chain = _derive(chain, theirs)[0]
    chain, key, _ = _derive(chain, private.exchange(other))
    static = X25519PublicKey.from_public_bytes(ChaCha20Poly1305(key).decrypt(bytes(12), sealed, digest))
    digest = _hash(_hash(digest, sealed), initiation[88:116])
    chain = _derive(chain, private.exchange(static))[0]
    ephemeral = X25519PrivateKey.generate()
    public = ephemeral.public_key().public_bytes_raw()
    digest, chain = _hash(digest, public), _derive(chain, public)[0]
    chain = _derive(chain, ephemeral.exchange(other))[0]
    chain = _derive(chain, ephemeral.exchange(static))[0]
    chain, tau, key = _derive(chain, bytes(32))
    digest = _hash(digest, tau)
    empty = ChaCha20Poly1305(key).encrypt(bytes(12), b"", digest)
    stale = struct.pack("<I4sQ", 4, os.urandom(4), 0) + os.urandom(48)
    udp.sendto(stale, client)
    udp.sendto(struct.pack("<I4s4s", 2, os.urandom(4), os.urandom(4)) + bytes(80), client)
    head = struct.pack("<I4s4s", 2, os.urandom(4), initiation[4:8])
    udp.sendto(head + public + empty + bytes(32), client)
    received, sent, _ = _derive(chain, b"")
    message, client = udp.recvfrom(2048)
    packet = ChaCha20Poly1305(received).decrypt(bytes(12), message[16:], b"")
    packet = packet[: int.from_bytes(packet[2:4], "big")]
    assert checksum(packet[:20]) == 0
    assert checksum(packet[20:]) == 0
    echo = packet[:12] + packet[16:20] + packet[12:16] + b"\0\0\0\0" + packet[24:]
    padded = echo + bytes(-len(echo) % 16)
    assert len(padded) > len(echo), "the test is to show that padding is taken off"
    udp.sendto(stale, client)
    # A keepalive, a probe of the gateway's own, the answer to somebody else's, and the one that is waited for.
    others = (b"", padded[:20] + b"\x08" + padded[21:], padded[:28] + bytes(8) + padded[36:])
    for counter, plain in enumerate((*others, padded) if echoes else others):
        nonce = bytes(4) + struct.pack("<Q", counter)
        answer = ChaCha20Poly1305(sent).encrypt(nonce, plain, b"")
        udp.sendto(struct.pack("<I4sQ", 4, initiation[4:8], counter) + answer, client)


def _ping(*, echoes: bool) -> None:
    """Ping through a tunnel whose other end also echoes the ping itself, or nothing but what comes beside it."""
    private, own = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(60)
        gateway = threading.Thread(target=_answer, args=(udp, private), kwargs={"echoes": echoes})
        gateway.start()
        keys = [
            base64.b64encode(key).decode() for key in (own.private_bytes_raw(), private.public_key().public_bytes_raw())
        ]
        try:
            Tunnel(keys[0], keys[1], udp.getsockname()).ping(IPv4Address("10.100.1.1"), IPv4Address("10.100.0.1"))
        finally:
            gateway.join()


def test_a_node_pings_through_its_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "_ANSWER_SECONDS", 60.0)
    _ping(echoes=True)


def test_what_comes_beside_an_echo_is_none() -> None:
    with pytest.raises(TunnelError, match=r"no echo from 10\.100\.0\.1"):
        _ping(echoes=False)
