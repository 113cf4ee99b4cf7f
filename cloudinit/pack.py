"""Packs the files that are the same on every machine of a role, its kit.

``python -m cloudinit`` does so after a change of what is in one. The packed kits are kept in the project because
different builds of zlib pack the same bytes differently, and a first-boot document must be the same wherever it is
rendered. Compressed and without comments, because stage 0 and the rest together would take more than a document may.
"""

from __future__ import annotations

import ast
import base64
import gzip
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_HERE = Path(__file__).parent
KIT = _HERE / "kit"
_UNITS = "etc/systemd/system"
_PROGRAMS = "usr/local/bin"
_COMMON = {
    f"{_UNITS}/hybridnet.service": KIT / "hybridnet.service",
    f"{_UNITS}/hybridnet-health.service": KIT / "hybridnet-health.service",
    f"{_UNITS}/hybridnet-health.timer": KIT / "hybridnet-health.timer",
    f"{_PROGRAMS}/hybridnet": KIT / "hybridnet",
    "usr/local/lib/hybridnet/stage0.py": _HERE.parent / "node" / "stage0.py",
}
_SPOKE = _COMMON | {"etc/nftables.conf": KIT / "spoke.nft"}
KITS: Mapping[str, Mapping[str, Path]] = MappingProxyType(
    {
        "gateway": _COMMON
        | {
            "etc/nftables.conf": KIT / "gateway.nft",
            "etc/sysctl.d/90-hybridnet.conf": KIT / "gateway.sysctl",
            f"{_UNITS}/hybridnet-dns.service": KIT / "hybridnet-dns.service",
            f"{_UNITS}/nginx.service.d/hybridnet.conf": KIT / "nginx.conf",
            "usr/local/lib/hybridnet/take-nginx": KIT / "take-nginx",
        },
        "spoke": _SPOKE,
        "external": _COMMON
        | {
            f"{_UNITS}/hybridnet.service.d/pool.conf": KIT / "pool.conf",
            "usr/local/lib/hybridnet/joined.py": _HERE.parent / "node" / "joined.py",
        },
        "pool": _SPOKE
        | {
            f"{_UNITS}/hybridnet.service.d/pool.conf": KIT / "pool.conf",
            f"{_UNITS}/hybridnet-setup.service": KIT / "hybridnet-setup.service",
            f"{_UNITS}/hybridnet-drain.service": KIT / "hybridnet-drain.service",
        },
    }
)
"""Role -> path on the machine, without its leading slash -> the file here."""


def packed_file(role: str) -> Path:
    """Where the packed kit of ``role`` is kept: one line of base64."""
    return KIT / f"{role}.tar.gz.b64"


def pack(role: str) -> str:
    """The kit of ``role`` as base64 of a gzipped tar archive; files of root, 0644 or 0755, no times."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, source in sorted(KITS[role].items()):
            content = bare(source).encode()
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            entry.mode = 0o755 if path.startswith(_PROGRAMS) else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return base64.b64encode(gzip.compress(archive.getvalue(), 9, mtime=0)).decode() + "\n"


def bare(source: Path) -> str:
    """What a machine gets of a file: all but comments, docstrings and the types of functions."""
    text = source.read_text()
    if source.suffix == ".py":
        bare_text = ast.unparse(_Bare().visit(ast.parse(text)))
        return re.sub("^(?: {4})+", lambda found: " " * (len(found[0]) // 4), bare_text, flags=re.MULTILINE) + "\n"
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#") or line.startswith("#!"))


class _Bare(ast.NodeTransformer):
    """Takes out docstrings and the types of functions."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        is_documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if is_documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return node


def unpack(packed: str) -> dict[str, bytes]:
    """Path -> content of every file in a packed kit."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed)), mode="r:gz") as tar:
        return {entry.name: _content(tar, entry) for entry in tar.getmembers()}


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    found = tar.extractfile(entry)
    if found is None:
        raise ValueError(f"{entry.name} is no file")
    return found.read()
