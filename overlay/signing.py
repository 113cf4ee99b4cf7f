"""The exact bytes that the stack's ED25519 key signs, one prefix for each kind of message.

The prefix names kind and version, so a signature of one kind is never valid for the other.
"""

from __future__ import annotations


def roster_message(body: bytes) -> bytes:
    """What is signed for a roster: its canonical bytes behind the prefix."""
    return b"hybridnet roster 1\n" + body


def release_message(number: int, archive_sha256: str) -> bytes:
    """What is signed for a release: its number and the SHA-256 of its archive (64 lower-case hex digits)."""
    return f"hybridnet release 1\n{number}\n{archive_sha256}\n".encode()


def credentials_message(body: bytes) -> bytes:
    """What is signed for serving credentials: their canonical bytes behind the prefix."""
    return b"hybridnet credentials 1\n" + body
