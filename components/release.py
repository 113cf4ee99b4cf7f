"""The release: what runs on the machines, as one archive whose bytes depend on nothing but the files in it."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
ROOMS = ("node", "overlay")
MAX_BYTES = 4 * 1024 * 1024
"""What a gateway takes."""
_STORED_BLOCK = 0xFFFF


@dataclass(frozen=True)
class Archive:
    """A release's tar.gz and its SHA-256 (hex)."""

    data: bytes
    sha256: str


def gzip_stored(data: bytes) -> bytes:
    """``data`` as a gzip file without compression (RFC 1951, 3.2.4; RFC 1952).

    Builds of zlib compress differently, and a release must be the same bytes from whichever desk it is pushed.
    """
    blocks: list[bytes] = []
    for start in range(0, max(len(data), 1), _STORED_BLOCK):
        block = data[start : start + _STORED_BLOCK]
        last = start + _STORED_BLOCK >= len(data)
        blocks.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return header + b"".join(blocks) + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def build(project: Path = PROJECT) -> Archive:
    """The archive of the project's ``node/`` and ``overlay/``: sorted, without times, owners or caches."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for room in ROOMS:
            for path in sorted((project / room).rglob("*")):
                if not path.is_file() or path.suffix == ".pyc":
                    continue
                content = path.read_bytes()
                entry = tarfile.TarInfo(path.relative_to(project).as_posix())
                entry.size = len(content)
                entry.mode = 0o644
                archive.addfile(entry, io.BytesIO(content))
    data = gzip_stored(buffer.getvalue())
    if len(data) > MAX_BYTES:
        raise ValueError(f"the release has {len(data)} bytes, and gateways take {MAX_BYTES}: remove what is not code")
    return Archive(data, hashlib.sha256(data).hexdigest())
