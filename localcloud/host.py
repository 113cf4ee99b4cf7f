"""What this host must have to run the local cloud, and getting it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from localcloud.cloud import LocalCloudError

PACKAGE_OF: Mapping[str, str] = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "conntrack": "conntrack",
    "wg": "wireguard-tools",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
"""Command -> the Debian package that brings it."""

TUN = Path("/dev/net/tun")
OS_RELEASE = Path("/etc/os-release")

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 4096
"""A machine holds about six; the kernel's usual 128 ends before twenty machines."""
INOTIFY_BEFORE = Path("/run/hybrid-wireguard-localcloud")
"""One file an instance that needs the raise, named by its tag; `value` holds what stood there before."""


def unmet() -> list[str]:
    """What keeps this host from ever running the local cloud, in words; nothing that could be installed."""
    found: list[str] = []
    if not sys.platform.startswith("linux"):
        return [f"the local cloud needs Linux, this is {sys.platform}"]
    if os.geteuid() != 0:
        found.append("the local cloud needs root (it makes namespaces and boots machines): run it with sudo")
    elif not _has_capability(21):  # CAP_SYS_ADMIN
        found.append("root lacks CAP_SYS_ADMIN here: run the container privileged, or use a machine of its own")
    if not TUN.exists():
        found.append(
            "/dev/net/tun is missing, which WireGuard in user space needs: load the module with `modprobe tun`"
        )
    if not Path("/sys/fs/cgroup").is_mount():
        found.append("/sys/fs/cgroup is not mounted: machines are kept apart by control groups")
    if not shutil.which("apt-get") and missing_packages():
        found.append("this is no Debian: machines are made with Debian's " + ", ".join(missing_packages()))
    return found


def missing_packages() -> list[str]:
    """Packages that `install` would bring, sorted."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted({package for command, package in PACKAGE_OF.items() if not shutil.which(command, path=path)})


def problems() -> list[str]:
    """Why the local cloud cannot run as things are, in words that a skipped test or a user can act on."""
    missing = missing_packages()
    return unmet() + ([f"needs the packages {', '.join(missing)} (`make up` installs them)"] if missing else [])


def prepare(progress: Callable[[str], None]) -> None:
    """Install what is missing. Raises LocalCloudError with everything that stands in the way."""
    if blocking := unmet():
        raise LocalCloudError("this host cannot run the local cloud:\n" + "\n".join(f"  - {line}" for line in blocking))
    if missing := missing_packages():
        progress(f"installing {', '.join(missing)}")
        # One source that does not answer must not keep the others from being enough.
        update = _apt("update")
        if install := _apt("install", "--yes", "--no-install-recommends", *missing):
            raise LocalCloudError(f"{install}\n{update}\nIs there a network, and are the apt sources right?")


def codename() -> str:
    """This host's release by name, such as `bookworm`."""
    for line in OS_RELEASE.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise LocalCloudError(
        f"{OS_RELEASE} names no VERSION_CODENAME: machines are made from the release that the host runs"
    )


def raise_inotify_limit(tag: str) -> None:
    """Make room for many machines; the instance `tag` gives it back with `release_inotify_limit`."""
    with _inotify_to_itself():
        now = int(INOTIFY.read_text())
        before = INOTIFY_BEFORE / "value"
        if now < INOTIFY_INSTANCES:
            INOTIFY_BEFORE.mkdir(mode=0o700, exist_ok=True)
            before.write_text(f"{now}\n")
            INOTIFY.write_text(f"{INOTIFY_INSTANCES}\n")
        if before.exists():
            (INOTIFY_BEFORE / tag).touch()


def release_inotify_limit(tag: str) -> None:
    """The last instance to go puts the limit back."""
    with _inotify_to_itself():
        (INOTIFY_BEFORE / tag).unlink(missing_ok=True)
        before = INOTIFY_BEFORE / "value"
        if before.exists() and list(INOTIFY_BEFORE.iterdir()) == [before]:
            INOTIFY.write_text(before.read_text())
            before.unlink()
            INOTIFY_BEFORE.rmdir()


@contextmanager
def _inotify_to_itself() -> Generator[None]:
    """One instance at a time. The lock is on the folder above, which stays when the last instance goes."""
    folder = os.open(INOTIFY_BEFORE.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _apt(*arguments: str) -> str:
    """What went wrong, in apt's words; nothing if it went well."""
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
    return f"apt-get {' '.join(arguments)} failed:\n{tail}"
