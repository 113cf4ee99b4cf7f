"""The image that every machine starts from, built once on this host and shared by its instances.

It is the host's own Debian release from the host's own package sources, slimmed so that a machine is up in about a
second and a half. What first boots install comes from an offline repository beside it, so that they really install.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcloud import host
from localcloud.cloud import CACHE, LocalCloudError
from localcloud.recipe import FILES, LINKS, MASKED, OFFLINE, PACKAGES, REMOVED

Progress = Callable[[str], None]
REPOSITORY_MOUNT = "/srv/packages"
"""Where machines see the offline repository."""


@dataclass(frozen=True)
class Image:
    """A built image."""

    root: Path
    """The file system that machines' disks are laid over."""
    repository: Path
    """The flat package repository for `REPOSITORY_MOUNT`."""


def digest(codename: str) -> str:
    """Names the image of the present recipe for that release: another recipe is another image."""
    recipe = [PACKAGES, OFFLINE, MASKED, FILES, LINKS, REMOVED, codename, os.uname().machine]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def cached(codename: str) -> Image | None:
    """The image if it was built before."""
    folder = CACHE / digest(codename)
    return Image(folder / "root", folder / "packages") if folder.is_dir() else None


def ensure(progress: Progress) -> Image:
    """The image, built now if this host has none. Two that ask at once build it once."""
    codename = host.codename()
    if image := cached(codename):
        return image
    with _everyone_reads():
        return _made(codename, progress)


@contextmanager
def _everyone_reads() -> Generator[None]:
    """Whatever the umask: first boots read the repository as apt's own user."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _made(codename: str, progress: Progress) -> Image:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds the image")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if image := cached(codename):
            return image
        for left in CACHE.glob("building-*"):
            shutil.rmtree(left)
        building = CACHE / f"building-{digest(codename)}"
        building.mkdir(mode=0o755)
        _build(building, codename, progress)
        building.rename(CACHE / digest(codename))
    built = cached(codename)
    assert built is not None
    return built


def _build(building: Path, codename: str, progress: Progress) -> None:
    root, packages = building / "root", building / "packages"
    packages.mkdir(mode=0o755)
    progress(f"building the machines' image from {codename} (once on this host)")
    _bootstrap(root, packages, codename, progress)
    progress("image: slimming")
    _slim(root)
    _index(packages)


def _bootstrap(root: Path, packages: Path, codename: str, progress: Progress) -> None:
    options = root.parent / "apt.conf"
    options.write_text("".join(f"{line}\n" for line in _acquire_options()))
    fetch = 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes --no-install-recommends --download-only install '
    command = [
        # What it mounts, the host's devices among it, ends with it: after a crash the next build removes the folder.
        "unshare",
        "--mount",
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={options}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={path}" for path in ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")),
        f"--customize-hook={fetch}{' '.join(OFFLINE)}",
        f'--customize-hook=cp "$1"/var/cache/apt/archives/*.deb {packages}/',
        '--customize-hook=rm -rf "$1"/var/cache/apt/archives/*.deb',
        codename,
        str(root),
        "-",
    ]
    sources = "".join(f"{line}\n" for line in apt_sources(codename))
    said: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, umask=0o022
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(sources)
        process.stdin.close()
        for line in process.stderr:
            said.append(line.rstrip())
            if match := re.match(r"I: (running apt-get update|downloading|extracting|installing)(.*)", line):
                progress(f"image: {match[1]}{match[2]}")
    if process.returncode:
        tail = "\n".join(said[-12:])
        raise LocalCloudError(
            f"mmdebstrap could not build the image:\n{tail}\nIs there a network, and are the apt sources right?"
        )
    options.unlink()


def _acquire_options() -> list[str]:
    """The host's own settings of how packages are fetched (a proxy, a frozen archive), as lines of an apt.conf."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    wanted = re.compile(r"Acquire::(https?::(Proxy|Verify|CaInfo)|Retries|Check-Valid-Until|Check-Date|ForceIPv[46])\b")
    return [line for line in dump.splitlines() if wanted.match(line) and '""' not in line]


def apt_sources(codename: str, folder: Path = Path("/etc/apt")) -> list[str]:
    """The host's sources of the distribution itself as one-line entries. Raises LocalCloudError when it has none."""
    entries: list[str] = []
    for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]:
        if path.suffix == ".list" and path.exists():
            entries.extend(_one_line_entries(path.read_text()))
        elif path.suffix == ".sources":
            entries.extend(_deb822_entries(path.read_text()))
    suites = {codename, f"{codename}-updates", f"{codename}-security"}
    own = [
        entry
        for entry in entries
        if (words := re.sub(r"\[.*?\]", "", entry).split())[2] in suites and "main" in words[3:]
    ]
    if not own:
        raise LocalCloudError(
            f"no apt source for {codename} with the component main below {folder}: the machines' image is made from "
            f"the host's own sources, so add the distribution's entry to {folder}/sources.list"
        )
    return own


def _one_line_entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if re.match(r"deb\s+(\[.*?\]\s+)?\S+\s+\S+\s+\S", line):
            yield line.partition("#")[0].strip()


def _deb822_entries(text: str) -> Iterator[str]:
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] += "\n" + line
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        signed_by = fields.get("signed-by", "")
        option = f"[signed-by={signed_by}] " if signed_by.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield f"deb {option}{uri} {suite} {' '.join(fields.get('components', '').split())}"


def _slim(root: Path) -> None:
    """Leave what a machine needs: no units that a container cannot use, no package source but the offline one."""
    units = root / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    for pattern in REMOVED:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    for name, target in LINKS.items():
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)


def _index(packages: Path) -> None:
    """Make a flat repository of the folder's .deb files."""
    stanzas: list[str] = []
    for deb in sorted(packages.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "--field", str(deb)], capture_output=True, text=True, check=True).stdout
        sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
        stanzas.append(f"{control.strip()}\nFilename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256}\n")
    index = "\n".join(stanzas).encode()
    (packages / "Packages").write_bytes(index)
    (packages / "Release").write_text(
        "Suite: local\nComponents: main\nDate: Thu, 01 Jan 1970 00:00:00 UTC\nSHA256:\n"
        f" {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    )
