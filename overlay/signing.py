"""The exact bytes that the stack's ED25519 key signs, one prefix for each kind of message, and who follows that key.

The prefix names kind and version, so a signature of one kind is never valid for the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from overlay.fields import FieldError, Fields, read

MAX_HANDOVERS = 256
"""More than anybody makes: each costs whoever reads them a verification."""
_VERSION = 1


def roster_message(body: bytes) -> bytes:
    """What is signed for a roster: its canonical bytes behind the prefix."""
    return b"hybridnet roster 1\n" + body


def release_message(number: int, archive_sha256: str) -> bytes:
    """What is signed for a release: its number and the SHA-256 of its archive (64 lower-case hex digits)."""
    return f"hybridnet release 1\n{number}\n{archive_sha256}\n".encode()


def credentials_message(body: bytes) -> bytes:
    """What is signed for serving credentials: their canonical bytes behind the prefix."""
    return b"hybridnet credentials 1\n" + body


def certificate_message(body: bytes) -> bytes:
    """What is signed for a control plane's certificate: the document's canonical bytes behind the prefix."""
    return b"hybridnet certificate 1\n" + body


def handover_message(public_key: str) -> bytes:
    """What a signing key signs so that ``public_key`` (base64), the next one, is believed instead of it."""
    return f"hybridnet signing 1\n{public_key}\n".encode()


def handovers_message(body: bytes) -> bytes:
    """What the newest key signs for the handovers that lead to it: :func:`handovers_body` behind the prefix."""
    return b"hybridnet handovers 1\n" + body


@dataclass(frozen=True)
class Handover:
    """That ``public_key`` signs from now on, by the ``signature`` of the key before it. Both are base64."""

    public_key: str
    signature: str


Verify = Callable[[bytes, str, str], bool]
"""Whether of a message (bytes) the signature (base64) was made with the private half of a public key (base64)."""


def trusted(first_key: str, handovers: Iterable[Handover], verify: Verify) -> tuple[str, ...]:
    """The keys that whoever believes ``first_key`` believed one after the other; the last one is the present key.

    The handovers are those since the stack's first key, in order. Those before ``first_key`` are not its own, and so
    is none that somebody else made up: both are passed over.
    """
    keys = [first_key]
    for handover in handovers:
        if verify(handover_message(handover.public_key), handover.signature, keys[-1]):
            keys.append(handover.public_key)
    return tuple(keys)


def handovers_body(handovers: Sequence[Handover]) -> bytes:
    """The handovers' bytes, as they are signed and sent: JSON, sorted keys, no spaces, ASCII."""
    document = {"schema_version": _VERSION, "handovers": handovers_document(handovers)}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def handovers_document(handovers: Iterable[Handover]) -> list[dict[str, str]]:
    """The same as a part of other documents."""
    return [{"public_key": each.public_key, "signature": each.signature} for each in handovers]


def read_handovers(found: Sequence[Fields]) -> tuple[Handover, ...]:
    """The handovers of :func:`handovers_document`; FieldError."""
    if len(found) > MAX_HANDOVERS:
        raise FieldError(f"handovers: at most {MAX_HANDOVERS} are taken")
    handovers: list[Handover] = []
    for fields in found:
        handovers.append(Handover(fields.key("public_key"), fields.text("signature")))
        fields.end()
    return tuple(handovers)


def parse_handovers(body: bytes) -> tuple[Handover, ...]:
    """The handovers of :func:`handovers_body`, one at least; FieldError when the bytes are anything else."""
    fields = read("signing", body)
    fields.number("schema_version", _VERSION, _VERSION)
    handovers = read_handovers(fields.object_list("handovers"))
    fields.end()
    if not handovers or handovers_body(handovers) != body:
        raise FieldError("signing: none, or not in canonical form: sorted keys, no spaces, ASCII")
    return handovers
