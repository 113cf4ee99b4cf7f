"""The release: the same files are the same bytes, wherever and whenever they are packed."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from components import release
from components.release import build, gzip_stored


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "node/__main__.py": "main\n",
        "node/health/probe.py": "probe\n",
        "overlay/model.py": "model\n",
        "components/keys.py": "not for machines\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return {entry.name: stored.read() for entry in archive if (stored := archive.extractfile(entry))}


def test_it_holds_node_and_overlay_and_nothing_else(project: Path) -> None:
    assert members(build(project).data) == {
        "node/__main__.py": b"main\n",
        "node/health/probe.py": b"probe\n",
        "overlay/model.py": b"model\n",
    }


def test_its_bytes_do_not_depend_on_times_modes_or_caches(project: Path) -> None:
    first = build(project)
    cache = project / "node" / "__pycache__" / "probe.cpython-311.pyc"
    cache.parent.mkdir()
    cache.write_bytes(b"cache")
    os.utime(project / "node/__main__.py", (1, 1))
    (project / "node/__main__.py").chmod(0o700)
    assert build(project) == first


def test_a_changed_file_is_another_release(project: Path) -> None:
    first = build(project)
    (project / "overlay/model.py").write_text("modern\n")
    assert build(project).sha256 != first.sha256


def test_the_digest_is_the_archives(project: Path) -> None:
    archive = build(project)
    assert archive.sha256 == hashlib.sha256(archive.data).hexdigest()


def test_entries_name_no_owner_and_no_time(project: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(build(project).data), mode="r:gz") as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime, e.mode) for e in entries} == {(0, 0, "", "", 0, 0o644)}


@pytest.mark.parametrize("size", [0, 1, 65534, 65535, 65536, 200_000])
def test_any_gzip_reads_what_is_stored(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert gzip.decompress(gzip_stored(data)) == data


def test_a_release_that_no_gateway_takes_is_refused(project: Path) -> None:
    (project / "node/data.bin").write_bytes(bytes(release.MAX_BYTES))
    with pytest.raises(ValueError, match="gateways take 4194304"):
        build(project)


def test_the_projects_own_release_starts_on_machines() -> None:
    found = members(build().data)
    assert {"node/__main__.py", "overlay/topology.py"} <= set(found)
