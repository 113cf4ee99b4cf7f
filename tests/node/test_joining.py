"""What a joining machine and its gateway say to each other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from node.joining import (
    Answer,
    AwsProof,
    GcpProof,
    JoinError,
    Proof,
    Request,
    answer_body,
    is_possessed,
    parse_answer,
    parse_request,
    possession,
    request_body,
)
from overlay.model import Peer


def pair() -> tuple[str, str]:
    """A private and its public key, base64."""
    private = X25519PrivateKey.generate()
    raw = private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode(), base64.b64encode(public).decode()


KEY, LATER_KEY = sorted(pair()[1] for _ in range(2))
"""In the order in which the peers of an answer are read."""
REQUEST = Request("aws-burst", KEY, "i-0123456789abcdef0")
ANSWER = Answer(
    name="aws-burst-9abcdef0",
    address=IPv4Address("10.100.2.130"),
    overlay=IPv4Network("10.100.0.0/16"),
    mtu=1380,
    control=IPv4Address("10.100.0.1"),
    peers=(
        Peer(KEY, "198.51.100.10:51820", (IPv4Network("10.100.0.0/16"), IPv6Network("fd00:0:0:1::a64:0/112")), 25),
        Peer(LATER_KEY, None, (IPv4Network("10.100.2.131/32"),), None),
    ),
    secret="a secret",
    ticket="a ticket",
)


@pytest.mark.parametrize("proof", [None, AwsProof('{"region": "eu"}\n', "c2ln"), GcpProof("a.b.c")])
@pytest.mark.parametrize("address", [None, IPv4Address("10.100.2.130")])
def test_a_request_is_read_as_it_was_written(proof: Proof | None, address: IPv4Address | None) -> None:
    request = Request(REQUEST.pool, REQUEST.public_key, REQUEST.instance_id, address, "ticket", proof)
    assert parse_request(request_body(request)) == request


def test_an_answer_is_read_as_it_was_written() -> None:
    assert parse_answer(answer_body(ANSWER)) == ANSWER


def changed(body: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(body)
    change(document)
    return json.dumps(document).encode()


REFUSALS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("another version", lambda d: d.update(schema_version=2), "schema_version"),
    ("no pool", lambda d: d.pop("pool"), "join.pool: missing"),
    ("a long pool", lambda d: d.update(pool="p" * 64), "pool: at most 63"),
    ("a line in the instance's id", lambda d: d.update(instance_id="i-0\nfake"), "instance_id"),
    ("a long instance's id", lambda d: d.update(instance_id="i" * 65), "instance_id"),
    ("a short key", lambda d: d.update(public_key="c2hvcnQ="), "public_key: not a WireGuard key"),
    ("a key of zeros", lambda d: d.update(public_key=base64.b64encode(bytes(32)).decode()), "not a WireGuard key"),
    ("a number for a key", lambda d: d.update(public_key=7), "public_key: a text"),
    ("no address", lambda d: d.update(address="here"), "address"),
    ("another field", lambda d: d.update(admin=True), "unknown field 'admin'"),
    ("a proof of no cloud", lambda d: d.update(proof={"cloud": "mars"}), "neither aws nor gcp"),
    ("half a proof", lambda d: d.update(proof={"cloud": "aws", "document": "{}"}), "proof.signature: missing"),
    ("a proof that is a text", lambda d: d.update(proof="yes"), "object is needed"),
]


@pytest.mark.parametrize(("change", "reason"), [pytest.param(c, why, id=name) for name, c, why in REFUSALS])
def test_a_request_that_is_none_is_refused_with_the_field(
    change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(JoinError, match=reason):
        parse_request(changed(request_body(REQUEST), change))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, '{"é": 1}'.encode()])
def test_what_is_no_object_is_no_request_and_no_answer(body: bytes) -> None:
    with pytest.raises(JoinError):
        parse_request(body)
    with pytest.raises(JoinError):
        parse_answer(body)


def test_an_answer_whose_peer_has_no_key_is_refused() -> None:
    body = changed(answer_body(ANSWER), lambda d: d["peers"].update({"nobody": d["peers"][KEY]}))
    with pytest.raises(JoinError, match="not a WireGuard key"):
        parse_answer(body)


def test_possession_is_shown_by_the_private_key_alone_and_for_these_bytes_alone() -> None:
    (own, public), (gateway, gateway_public), (other, other_public) = pair(), pair(), pair()
    claim = possession(own, gateway_public, b"body")
    assert is_possessed(claim, gateway, public, b"body")
    assert not is_possessed(claim, gateway, public, b"Body")
    assert not is_possessed(claim, gateway, other_public, b"body")
    assert not is_possessed(claim, other, public, b"body")
    assert not is_possessed(None, gateway, public, b"body")
    assert not is_possessed("é", gateway, public, b"body")


SMALL_ORDER = ["AQ" + "A" * 41 + "=", "7P///////////////////////////////////////38=", "A" * 43 + "="]
"""Points with which every exchange gives zeros: 1, p - 1 and 0 (RFC 7748, section 6.1)."""


@pytest.mark.parametrize("public", SMALL_ORDER)
def test_a_key_of_small_order_is_refused(public: str) -> None:
    with pytest.raises(JoinError, match="no secret can be shared"):
        is_possessed("claim", pair()[0], public, b"body")
