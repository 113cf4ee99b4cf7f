"""One line of the audit log: how it is written, and how its hash ties it to the line before.

A line is a JSON object in ASCII whose last field is ``hash``: the SHA-256 of the hash of the line before, a newline,
and this line's bytes as they would be without that field. So whoever changes, removes, inserts or moves a line has to
write every later one anew, and then the last hash is another one than those that were told elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

VERSION = 1
"""Of the lines' format, in the first line of each file."""
ORIGIN = "0" * 64
"""Stands for the hash before the first line of all."""
RESERVED = frozenset({"number", "time", "event", "version", "previous", "oldest", "lost", "hash"})
"""Fields that are the log's own."""
_LINE = re.compile(rb'(\{.*), "hash": "([0-9a-f]{64})"\}', re.DOTALL)
_HEAD = re.compile(r"audit ([1-9][0-9]{0,17}) ([0-9a-f]{64}) ")
_PLAIN = re.compile(r"[\w.:/+=@,-]+", re.ASCII)

Value = str | float
"""What a field of an event may hold."""


@dataclass(frozen=True)
class Line:
    """A line of the log as it was read. ``document`` has all its fields."""

    number: int
    digest: str
    body: bytes
    document: Mapping[str, Any]

    def follows(self, previous: str) -> bool:
        """Whether its hash is that of its content and of ``previous``, the hash of the line before."""
        return self.digest == digest_of(previous, self.body)


def digest_of(previous: str, body: bytes) -> str:
    """The hash of a line; ``body`` is the line as it would be without it."""
    return hashlib.sha256(previous.encode("ascii") + b"\n" + body).hexdigest()


def made(previous: str, document: Mapping[str, Any]) -> tuple[bytes, str]:
    """The line, its newline included, of what it is to say, and its hash."""
    body = json.dumps(document).encode("ascii")
    digest = digest_of(previous, body)
    return body[:-1] + f', "hash": "{digest}"}}\n'.encode("ascii"), digest


def read(text: bytes) -> Line | None:
    """The line in ``text``, which is without its newline; None when it is none of ours."""
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    body = found[1] + b"}"
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    fields = cast("dict[str, Any]", document)
    number = fields.get("number")
    if type(number) is not int or number < 1:
        return None
    return Line(number, found[2].decode("ascii"), body, fields)


def worded(value: object) -> str:
    """A value as one word: as it is when that is plain, else as JSON, in ASCII and without control characters."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value).replace("\x7f", "\\u007f")


def journal_head(message: object) -> tuple[int, str] | None:
    """Number and hash in a message of the journal; None when it is no line of the log."""
    found = _HEAD.match(message) if isinstance(message, str) else None
    return (int(found[1]), found[2]) if found else None


def journal_line(number: int, digest: str, event: str, fields: Mapping[str, Any]) -> str:
    """What the journal gets of a line."""
    words = [f"{name}={worded(value)}" for name, value in fields.items()]
    return " ".join(["audit", str(number), digest, worded(event), *words])
