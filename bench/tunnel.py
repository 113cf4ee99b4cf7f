"""One end of a WireGuard tunnel without a machine: shakes hands with a gateway and pings through it.

A simulated node uses it to show that its lease works. The protocol is the WireGuard white paper's, section 5.4
(wireguard.com/papers/wireguard.pdf): Noise_IKpsk2 over Curve25519, ChaCha20-Poly1305 and BLAKE2s, without a
pre-shared key, cookies or rekeying. Whatever else comes meanwhile, such as what is left of an earlier session or the
gateway's own probes, is passed over.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from node import ping

_CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
_IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
_MAC_LABEL = b"mac1----"
_INITIATION, _RESPONSE, _TRANSPORT = 1, 2, 4
_RESPONSE_BYTES = 92
_TAI_OFFSET = (1 << 62) + 10
"""What TAI64N adds to Unix seconds (the label's base, and the ten leap seconds before 1972)."""
_ANSWER_SECONDS = 2.0


class TunnelError(Exception):
    """The gateway did not answer as it does to a peer that it knows."""


class Keys(NamedTuple):
    """A session: the keys of both directions and the index by which each end knows it."""

    send: bytes
    receive: bytes
    own: bytes
    peer: bytes


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def _derive(count: int, key: bytes, material: bytes) -> list[bytes]:
    """``count`` keys of 32 bytes: HKDF with HMAC-BLAKE2s, as the white paper's KDF_n."""
    secret = hmac.new(key, material, hashlib.blake2s).digest()
    found: list[bytes] = []
    last = b""
    for number in range(1, count + 1):
        last = hmac.new(secret, last + bytes([number]), hashlib.blake2s).digest()
        found.append(last)
    return found


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")


class Tunnel:
    """The tunnel of the node with ``private_key`` to the gateway with ``gateway_key`` at ``endpoint`` (host, port)."""

    def __init__(self, private_key: str, gateway_key: str, endpoint: tuple[str, int]) -> None:
        self._private = X25519PrivateKey.from_private_bytes(base64.b64decode(private_key))
        self._public = self._private.public_key().public_bytes_raw()
        self._gateway_raw = base64.b64decode(gateway_key)
        self._gateway = X25519PublicKey.from_public_bytes(self._gateway_raw)
        self._endpoint = endpoint

    def ping(self, own: IPv4Address, other: IPv4Address) -> None:
        """Shake hands, and echo from the overlay address ``own`` to ``other`` and back; TunnelError when it fails."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(self._endpoint)
            keys = self._shake_hands(udp)
            sent = time.monotonic_ns()
            udp.send(self._sealed(keys, _echo(own, other, sent)))
            for message in _answers(udp, _TRANSPORT, keys.own):
                try:
                    answer = ping.reply(self._opened(keys, message))
                except InvalidTag:
                    raise TunnelError(f"what {other} sent is not the session's") from None
                if answer and answer.sent == sent:
                    return
        raise TunnelError(f"no echo from {other}")

    def _shake_hands(self, udp: socket.socket) -> Keys:
        ephemeral, own = X25519PrivateKey.generate(), os.urandom(4)
        public = ephemeral.public_key().public_bytes_raw()
        chain = _hash(_CONSTRUCTION)
        digest = _hash(_hash(chain, _IDENTIFIER), self._gateway_raw)
        digest = _hash(digest, public)
        (chain,) = _derive(1, chain, public)
        chain, key = _derive(2, chain, ephemeral.exchange(self._gateway))
        static = ChaCha20Poly1305(key).encrypt(_nonce(0), self._public, digest)
        digest = _hash(digest, static)
        chain, key = _derive(2, chain, self._private.exchange(self._gateway))
        now = time.time_ns()
        stamp = struct.pack(">QI", _TAI_OFFSET + now // 10**9, now % 10**9)
        stamped = ChaCha20Poly1305(key).encrypt(_nonce(0), stamp, digest)
        digest = _hash(digest, stamped)
        body = struct.pack("<I4s", _INITIATION, own) + public + static + stamped
        mac = hashlib.blake2s(body, key=_hash(_MAC_LABEL, self._gateway_raw), digest_size=16).digest()
        udp.send(body + mac + bytes(16))
        for answer in _answers(udp, _RESPONSE, own):
            return self._finish(answer, own, ephemeral, chain, digest)
        raise TunnelError("no answer to the handshake")

    def _finish(self, answer: bytes, own: bytes, ephemeral: X25519PrivateKey, chain: bytes, digest: bytes) -> Keys:
        if len(answer) != _RESPONSE_BYTES:
            raise TunnelError(f"an answer of {len(answer)} bytes to the handshake")
        theirs, empty = answer[12:44], answer[44:60]
        (chain,) = _derive(1, chain, theirs)
        digest = _hash(digest, theirs)
        other = X25519PublicKey.from_public_bytes(theirs)
        (chain,) = _derive(1, chain, ephemeral.exchange(other))
        (chain,) = _derive(1, chain, self._private.exchange(other))
        chain, tau, key = _derive(3, chain, bytes(32))
        try:
            ChaCha20Poly1305(key).decrypt(_nonce(0), empty, _hash(digest, tau))
        except InvalidTag:
            raise TunnelError("the answer to the handshake is somebody else's") from None
        send, receive = _derive(2, chain, b"")
        return Keys(send, receive, own, answer[4:8])

    @staticmethod
    def _sealed(keys: Keys, packet: bytes) -> bytes:
        padded = packet + bytes(-len(packet) % 16)
        head = struct.pack("<I4sQ", _TRANSPORT, keys.peer, 0)
        return head + ChaCha20Poly1305(keys.send).encrypt(_nonce(0), padded, b"")

    @staticmethod
    def _opened(keys: Keys, message: bytes) -> bytes:
        counter = int.from_bytes(message[8:16], "little")
        padded = ChaCha20Poly1305(keys.receive).decrypt(_nonce(counter), message[16:], b"")
        return padded[: int.from_bytes(padded[2:4], "big")]  # by the total length in the IPv4 header


def _answers(udp: socket.socket, kind: int, own: bytes) -> Iterator[bytes]:
    """The messages of that kind for the session that this end knows as ``own``, for as long as an answer may take."""
    end = time.monotonic() + _ANSWER_SECONDS
    index = slice(8, 12) if kind == _RESPONSE else slice(4, 8)
    while (left := end - time.monotonic()) > 0:
        udp.settimeout(left)
        try:
            message = udp.recv(2048)
        except OSError:
            continue
        if message[:1] == bytes([kind]) and message[index] == own:
            yield message


def _echo(own: IPv4Address, other: IPv4Address, sent: int) -> bytes:
    """An IPv4 packet with an ICMP echo request."""
    request = ping.request(os.getpid() & 0xFFFF, 1, sent)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(request), 0, 0, 64, 1, 0, own.packed, other.packed)
    return head[:10] + struct.pack("!H", ping.checksum(head)) + head[12:] + request
