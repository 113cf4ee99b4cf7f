"""Building the machines' image: from the host's own sources, once, all or nothing."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from localcloud import image
from localcloud.cloud import LocalCloudError

BUILDER = """\
#!/bin/sh
[ "$MOUNTS" = own ] || exit 2
echo built >>"$COUNT"
for last; do :; done
root=$(eval echo "\\${$(($# - 1))}")
cat >/dev/null
echo "I: installing essential packages..." >&2
mkdir -p "$root/etc/ssh" "$root/etc/systemd/system" "$root/etc/apt/sources.list.d"
touch "$root/etc/ssh/ssh_host_ed25519_key" "$root/etc/apt/sources.list.d/x.sources"
ln -s /nowhere "$root/etc/resolv.conf"
[ ! -e "$FAIL" ] || { echo "E: no network" >&2; exit 1; }
"""


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for mmdebstrap that counts its runs, and fails while the file `fail` is there."""
    program = tmp_path / "bin/mmdebstrap"
    program.parent.mkdir()
    program.write_text(BUILDER)
    program.chmod(0o755)
    unshare = program.with_name("unshare")
    unshare.write_text('#!/bin/sh\n[ "$1" = --mount ] && shift && MOUNTS=own exec "$@"\n')
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    monkeypatch.setenv("FAIL", str(tmp_path / "fail"))
    monkeypatch.setattr(image, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(image.host, "codename", lambda: "bookworm")
    monkeypatch.setattr(image, "apt_sources", lambda codename: [f"deb uri {codename} main"])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(image, "_acquire_options", list[str])
    return tmp_path


def runs(folder: Path) -> int:
    return len((folder / "count").read_text().splitlines())


def test_it_is_built_once_and_slimmed(builder: Path) -> None:
    said: list[str] = []
    first = image.ensure(said.append)
    assert image.ensure(said.append) == first
    assert runs(builder) == 1
    assert "image: installing essential packages..." in said
    assert (first.root / "etc/machine-id").read_text() == ""
    assert (first.root / "etc/systemd/system/getty.target").readlink() == Path("/dev/null")
    assert not (first.root / "etc/ssh/ssh_host_ed25519_key").exists(), "no two machines share a host key"
    assert not (first.root / "etc/apt/sources.list.d/x.sources").exists()
    assert (first.root / "etc/resolv.conf").readlink() == Path("../run/systemd/resolve/stub-resolv.conf")
    assert (first.repository / "Release").exists()


def test_everyone_reads_it_whatever_the_umask(builder: Path) -> None:
    before = os.umask(0o077)
    try:
        made = image.ensure(lambda _: None)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    for path in (made.root.parent, made.repository, made.repository / "Release", made.root / "etc/systemd"):
        assert path.stat().st_mode & 0o004, path


def test_a_failed_build_leaves_no_image_and_says_what_failed(builder: Path) -> None:
    (builder / "fail").touch()
    with pytest.raises(LocalCloudError, match=r"(?s)E: no network.*apt sources"):
        image.ensure(lambda _: None)
    assert image.cached("bookworm") is None
    (builder / "fail").unlink()
    assert image.ensure(lambda _: None).root.is_dir()
    assert not list((builder / "cache").glob("building-*"))


def test_two_that_ask_at_once_build_it_once(builder: Path) -> None:
    found: list[image.Image] = []
    threads = [threading.Thread(target=lambda: found.append(image.ensure(lambda _: None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert runs(builder) == 1


def test_another_recipe_or_release_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.digest("bookworm")
    assert image.digest("trixie") != before
    monkeypatch.setattr(image, "PACKAGES", ("systemd",))
    assert image.digest("bookworm") != before


def test_only_the_distributions_own_sources_are_taken(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://mirror/old bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib\n"
        "deb-src http://mirror/debian bookworm main\n"
        "deb http://vendor/apt stable main\n"
    )
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb deb-src\nURIs: http://mirror/debian\n# a comment\nSuites: bookworm-updates\n bookworm-security\n"
        "Components: main\nSigned-By: /usr/share/keyrings/d.gpg\n\n"
        "Types: deb\nURIs: http://vendor/docker\nSuites: bookworm\nComponents: stable\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://mirror/off\nSuites: bookworm\nComponents: main\n"
    )
    (tmp_path / "sources.list.d/vendor.sources.disabled").write_text(
        "Types: deb\nURIs: http://vendor/x\nSuites: bookworm\nComponents: main\n"
    )
    assert image.apt_sources("bookworm", tmp_path) == [
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib",
        "deb [signed-by=/usr/share/keyrings/d.gpg] http://mirror/debian bookworm-updates main",
        "deb [signed-by=/usr/share/keyrings/d.gpg] http://mirror/debian bookworm-security main",
    ]


def test_a_host_without_such_sources_is_told_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match="no apt source for bookworm with the component main"):
        image.apt_sources("bookworm", tmp_path)


@pytest.mark.localcloud
def test_first_boots_install_from_the_offline_repository() -> None:
    built = image.ensure(lambda _: None)
    assert not (built.root / "usr/bin/wg").exists()
    index = (built.repository / "Packages").read_text()
    for package in ("dnsmasq-base", "nginx", "wireguard-tools"):
        assert f"\nPackage: {package}\n" in f"\n{index}"
    digest, size, name = (built.repository / "Release").read_text().split()[-3:]
    assert (digest, int(size), name) == (hashlib.sha256(index.encode()).hexdigest(), len(index.encode()), "Packages")
