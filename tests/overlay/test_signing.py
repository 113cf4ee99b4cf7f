"""From one signing key to the next: whoever believes one finds the present one, and nobody goes back."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import pairwise

import pytest

from overlay.certificate import (
    CertificateError,
    ControlCertificate,
    canonical_certificate,
    certificate_digest,
    parse_certificate,
)
from overlay.fields import FieldError
from overlay.signing import (
    MAX_HANDOVERS,
    Handover,
    certificate_message,
    handover_message,
    handovers_body,
    handovers_message,
    parse_handovers,
    trusted,
)

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(5)]


def signed_by(key: str, message: bytes) -> str:
    """Stands for a signature: who knows the key's name can make it."""
    return hashlib.sha256(key.encode() + message).hexdigest()


def verify(message: bytes, signature: str, key: str) -> bool:
    return signature == signed_by(key, message)


def handed(before: str, after: str) -> Handover:
    return Handover(after, signed_by(before, handover_message(after)))


CHAIN = [handed(before, after) for before, after in pairwise(KEYS[:4])]


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_whichever_key_a_machine_began_with_it_comes_to_the_present_one(first: int) -> None:
    assert trusted(KEYS[first], CHAIN, verify) == tuple(KEYS[first:4])


def test_without_handovers_the_first_key_holds() -> None:
    assert trusted(KEYS[2], [], verify) == (KEYS[2],)


def test_who_is_further_on_follows_no_earlier_key() -> None:
    """The thief of the first key names one of his own, which the present one does not vouch for."""
    assert trusted(KEYS[3], [handed(KEYS[0], KEYS[4])], verify) == (KEYS[3],)
    assert trusted(KEYS[1], [handed(KEYS[0], KEYS[4]), *CHAIN], verify) == tuple(KEYS[1:4])


def test_a_gap_or_a_wrong_signature_leads_nowhere() -> None:
    assert trusted(KEYS[0], CHAIN[1:], verify) == (KEYS[0],)
    assert trusted(KEYS[0], [Handover(KEYS[1], "no signature"), *CHAIN[1:]], verify) == (KEYS[0],)


def test_what_is_signed_names_its_kind() -> None:
    assert handover_message(KEYS[0]) == b"hybridnet signing 1\n" + KEYS[0].encode() + b"\n"
    assert handovers_message(b"{}") == b"hybridnet handovers 1\n{}"
    assert certificate_message(b"{}") == b"hybridnet certificate 1\n{}"


def test_handovers_come_back_from_their_bytes() -> None:
    body = handovers_body(CHAIN)
    assert parse_handovers(body) == tuple(CHAIN)
    assert json.loads(body) == {
        "schema_version": 1,
        "handovers": [{"public_key": each.public_key, "signature": each.signature} for each in CHAIN],
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b'{"handovers":[],"schema_version":1}', "none, or not in canonical form"),
        (handovers_body(CHAIN) + b"\n", "not in canonical form"),
        (handovers_body(CHAIN).replace(b'"schema_version":1', b'"schema_version":2'), "schema_version"),
        (handovers_body([Handover("short", "x")]), "public_key"),
        (handovers_body(CHAIN[:1] * (MAX_HANDOVERS + 1)), f"at most {MAX_HANDOVERS}"),
    ],
)
def test_handovers_that_are_none_are_refused(body: bytes, says: str) -> None:
    with pytest.raises(FieldError, match=says):
        parse_handovers(body)


PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
DOCUMENT = ControlCertificate(3, "gw", PEM * 2, PEM.replace("CERTIFICATE", "EC PRIVATE KEY"))


def test_a_certificate_comes_back_from_its_bytes_and_hides_its_key() -> None:
    assert parse_certificate(canonical_certificate(DOCUMENT)) == DOCUMENT
    assert "PRIVATE" not in repr(DOCUMENT)
    other = ControlCertificate(4, DOCUMENT.gateway, DOCUMENT.certificate, DOCUMENT.private_key)
    assert certificate_digest(other) == certificate_digest(DOCUMENT), "the number is no content"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("gateway", "GW", "certificate.gateway"),
        ("certificate", "AAAA", "certificate.certificate: not PEM"),
        ("private_key", "AAAA", "certificate.private_key: not PEM"),
        ("number", 0, "number"),
        ("schema_version", 2, "schema_version"),
        ("more", 1, "unknown field 'more'"),
    ],
)
def test_a_certificate_that_is_none_is_refused_and_not_shown(field: str, value: object, says: str) -> None:
    document = {**json.loads(canonical_certificate(DOCUMENT)), field: value}
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(CertificateError, match=says) as caught:
        parse_certificate(body)
    assert "AAAA" not in str(caught.value)
