"""What a joining machine and its gateway say to each other; docs/control-plane.md is the contract.

The machine proves that it holds its key without showing it: both ends compute the same Diffie-Hellman secret, the
machine from its private key and the gateway's public one, the gateway the other way round, and it authenticates the
request's bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from overlay.fields import FieldError, Fields, read
from overlay.model import Peer, is_wireguard_key

SCHEMA_VERSION = 1
LIMIT = 32 * 1024
"""Bytes of a request."""
POSSESSION = "X-Hybridnet-Possession"
"""Header with :func:`possession` of the request's body."""
NAME = "X-Hybridnet-Name"
"""Header of who shows that on the internet: its node's name."""
_KEY_PURPOSE = b"hybridnet join 1\n"


class JoinError(ValueError):
    """A request or an answer is not as it should be; the message names the field. Never a secret."""


@dataclass(frozen=True)
class AwsProof:
    """EC2's instance identity document as the metadata service gives it, and its signature (base64)."""

    document: str
    signature: str


@dataclass(frozen=True)
class GcpProof:
    """An identity token (JWT) of Compute Engine's, for ``overlay.pools.token_audience``."""

    token: str


Proof = AwsProof | GcpProof


@dataclass(frozen=True)
class Request:
    """``POST /v1/join``. The join token stands in the header ``Authorization: Bearer …``.

    ``address`` asks for a certain one; ``ticket`` is what an earlier answer gave (base64).
    """

    pool: str
    public_key: str
    instance_id: str
    address: IPv4Address | None = None
    ticket: str | None = None
    proof: Proof | None = None


@dataclass(frozen=True)
class Answer:
    """What the machine needs for its tunnel. ``overlay`` gives the prefix length, ``mtu`` is in bytes.

    ``keys`` are by public key those that some of ``peers`` have come to use in the place of these.

    ``secret`` authenticates what it asks through the tunnel; ``ticket`` (base64) gives it its address again from a
    gateway that has lost its disk. ``control`` is the gateway's control plane on the overlay.
    """

    name: str
    address: IPv4Address
    overlay: IPv4Network
    mtu: int
    control: IPv4Address
    peers: tuple[Peer, ...]
    secret: str
    ticket: str
    keys: Mapping[str, str] = field(default_factory=dict[str, str])


def _packed(document: dict[str, Any]) -> bytes:
    return json.dumps({"schema_version": SCHEMA_VERSION, **document}, sort_keys=True).encode("ascii")


def request_body(request: Request) -> bytes:
    """The bytes of a request."""
    proof: dict[str, str] | None = None
    if isinstance(request.proof, AwsProof):
        proof = {"cloud": "aws", "document": request.proof.document, "signature": request.proof.signature}
    elif isinstance(request.proof, GcpProof):
        proof = {"cloud": "gcp", "token": request.proof.token}
    return _packed(
        {
            "pool": request.pool,
            "public_key": request.public_key,
            "instance_id": request.instance_id,
            "address": str(request.address) if request.address else None,
            "ticket": request.ticket,
            "proof": proof,
        }
    )


def parse_request(body: bytes) -> Request:
    """The request in ``body``; JoinError when it is none."""
    try:
        fields = _versioned("join", body)
        request = Request(
            _short(fields, "pool", 63),
            fields.key("public_key"),
            _short(fields, "instance_id", 64),
            fields.maybe_address("address"),
            fields.maybe_text("ticket"),
            _proof(fields.maybe("proof")),
        )
        fields.end()
    except FieldError as error:
        raise JoinError(str(error)) from None
    return request


def answer_body(answer: Answer) -> bytes:
    """The bytes of an answer; they hold the lease's secret."""
    return _packed(
        {
            "name": answer.name,
            "address": str(answer.address),
            "overlay": str(answer.overlay),
            "mtu": answer.mtu,
            "control": str(answer.control),
            "peers": {
                peer.public_key: {
                    "endpoint": peer.endpoint,
                    "allowed_ips": [str(network) for network in peer.allowed_ips],
                    "keepalive": peer.keepalive or 0,
                    **({"key": answer.keys[peer.public_key]} if peer.public_key in answer.keys else {}),
                }
                for peer in answer.peers
            },
            "secret": answer.secret,
            "ticket": answer.ticket,
        }
    )


def parse_answer(body: bytes) -> Answer:
    """The answer in ``body``; JoinError when it is none."""
    try:
        fields = _versioned("answer", body)
        peers = [_peer(key, peer) for key, peer in fields.objects("peers").items()]
        answer = Answer(
            fields.text("name"),
            fields.address("address"),
            fields.network("overlay"),
            fields.number("mtu", 576, 9000),
            fields.address("control"),
            tuple(peer for peer, _ in peers),
            fields.text("secret"),
            fields.text("ticket"),
            {peer.public_key: key for peer, key in peers if key is not None},
        )
        fields.end()
    except FieldError as error:
        raise JoinError(str(error)) from None
    return answer


def _versioned(where: str, body: bytes) -> Fields:
    fields = read(where, body)
    fields.number("schema_version", SCHEMA_VERSION, SCHEMA_VERSION)
    return fields


def _short(fields: Fields, key: str, longest: int) -> str:
    value = fields.text(key)
    if len(value) > longest or not value.isascii() or not value.isprintable():
        raise FieldError(f"{key}: at most {longest} printable ASCII characters are taken")
    return value


def _proof(fields: Fields | None) -> Proof | None:
    if fields is None:
        return None
    cloud = fields.text("cloud")
    proof: Proof
    if cloud == "aws":
        proof = AwsProof(fields.text("document"), fields.text("signature"))
    elif cloud == "gcp":
        proof = GcpProof(fields.text("token"))
    else:
        raise FieldError("proof.cloud: neither aws nor gcp")
    fields.end()
    return proof


def _peer(key: str, fields: Fields) -> tuple[Peer, str | None]:
    """A peer, and the key that it uses if that is another one."""
    if not is_wireguard_key(key):
        raise FieldError("peers: not a WireGuard key")
    endpoint, allowed = fields.endpoint("endpoint"), fields.sources("allowed_ips")
    keepalive = fields.number("keepalive", 0, 65535)
    # States and gateways from before keys changed have none.
    used = fields.maybe_text("key") if "key" in fields.names() else None
    fields.end()
    if used is not None and not is_wireguard_key(used):
        raise FieldError("peers: not a WireGuard key")
    return Peer(key, endpoint, allowed, keepalive or None), used


def possession(private_key: str, public_key: str, body: bytes) -> str:
    """The proof (base64) over ``body`` by whoever holds one of two WireGuard private keys and knows the other's public.

    JoinError when ``public_key`` is no key that a secret can be shared with: not 32 bytes, or of small order (RFC
    7748, section 6.1).
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    try:
        private = X25519PrivateKey.from_private_bytes(base64.b64decode(private_key))
        shared = private.exchange(X25519PublicKey.from_public_bytes(base64.b64decode(public_key)))
    except ValueError:
        raise JoinError("public_key: no secret can be shared with it") from None
    secret = hmac.new(shared, _KEY_PURPOSE, hashlib.sha256).digest()
    return base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()).decode()


def is_possessed(claim: str | None, private_key: str, public_key: str, body: bytes) -> bool:
    """Whether ``claim`` is :func:`possession` of ``body``; JoinError as there."""
    return hmac.compare_digest((claim or "").encode(), possession(private_key, public_key, body).encode())
