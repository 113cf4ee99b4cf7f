"""``python -m tests.screenshots DIR``: the pictures of the status page in docs/, of a network that needs no machine."""

from __future__ import annotations

import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.browser import PROGRAM, REASON, browsing
from tests.node.page_site import serving
from tests.statuses import troubled

PICTURES = (
    ("status-page-light.png", 1200, 1080, "light"),
    ("status-page-dark.png", 1200, 620, "dark"),
    ("status-page-phone.png", 360, 1180, "light"),
)
"""File, width and height in CSS pixels, colour scheme."""
_LEVELS = 24
"""So many steps of each colour's brightness are kept: nobody sees the others, and the files are half as large."""
_CHUNK = struct.Struct(">I4s")


def smaller(png: bytes) -> bytes:
    """A PNG of eight-bit RGB or RGBA (its specification, ISO 15948) with fewer colours, without alpha, well packed."""
    at, kinds = 8, dict[bytes, bytes]()
    while at < len(png):
        length, kind = _CHUNK.unpack_from(png, at)
        kinds[kind] = kinds.get(kind, b"") + png[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, depth, colours = struct.unpack_from(">IIBB", kinds[b"IHDR"])
    assert (depth, colours) in ((8, 2), (8, 6)), "the browser writes other pictures than it did"
    rows = _rows(zlib.decompress(kinds[b"IDAT"]), width, 3 if colours == 2 else 4)
    step = 255 / _LEVELS
    table = bytes(round(round(each / step) * step) for each in range(256))
    packed = zlib.compress(b"".join(b"\0" + row.translate(table) for row in rows), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png[:8] + b"".join(_chunk(*each) for each in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return _CHUNK.pack(len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def _rows(data: bytes, width: int, depth: int) -> Iterator[bytes]:
    """The unfiltered rows, as RGB."""
    size = width * depth
    before = bytearray(size)
    for start in range(0, len(data), size + 1):
        row = bytearray(data[start + 1 : start + 1 + size])
        for at in range(size):
            left, up = row[at - depth] if at >= depth else 0, before[at]
            corner = before[at - depth] if at >= depth else 0
            row[at] = (row[at] + _predicted(data[start], left, up, corner)) & 0xFF
        before = row
        yield bytes(row) if depth == 3 else bytes(each for at, each in enumerate(row) if at % 4 != 3)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    """What a row's filter of this kind has taken off."""
    if kind == 4:
        near = left + up - corner
        return min((left, up, corner), key=lambda each: abs(near - each))
    return (0, left, up, (left + up) // 2)[kind]


def main(folder: Path) -> int:
    """Write them; the exit status."""
    if PROGRAM is None:
        print(f"no pictures: this {REASON}", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as files, serving(troubled) as url, browsing(Path(files)) as browser:
        for name, width, height, scheme in PICTURES:
            browser.look_like(width, height, scheme)
            browser.open(f"{url}/")
            browser.wait("document.querySelectorAll('#node-rows tr').length > 0")
            browser.wait(f"document.getElementById('map').clientWidth < {width}")
            path = folder / name
            browser.screenshot(path, height)
            path.write_bytes(smaller(path.read_bytes()))
            print(f"{path}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.screenshots DIR")
    sys.exit(main(Path(sys.argv[1])))
