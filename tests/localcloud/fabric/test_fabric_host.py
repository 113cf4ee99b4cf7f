"""What this host must have, and putting back what was changed on it."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud import host
from localcloud.cloud import LocalCloudError
from localcloud.fabric.process import wait_until


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the kernel's limit on inotify instances."""
    file = tmp_path / "max_user_instances"
    file.write_text("128\n")
    monkeypatch.setattr(host, "INOTIFY", file)
    monkeypatch.setattr(host, "INOTIFY_BEFORE", tmp_path / "before")
    return file


def test_the_last_instance_puts_the_limit_back(limit: Path, tmp_path: Path) -> None:
    host.raise_inotify_limit("one")
    host.raise_inotify_limit("two")
    assert limit.read_text() == f"{host.INOTIFY_INSTANCES}\n"
    host.release_inotify_limit("one")
    assert limit.read_text() == f"{host.INOTIFY_INSTANCES}\n"
    host.release_inotify_limit("two")
    assert limit.read_text() == "128\n"
    assert not (tmp_path / "before").exists()


def test_a_limit_that_is_high_enough_is_left_alone(limit: Path, tmp_path: Path) -> None:
    limit.write_text("8192\n")
    host.raise_inotify_limit("one")
    host.release_inotify_limit("one")
    assert limit.read_text() == "8192\n"
    assert not (tmp_path / "before").exists()


def test_releasing_what_was_never_raised_changes_nothing(limit: Path) -> None:
    host.release_inotify_limit("one")
    assert limit.read_text() == "128\n"


@pytest.mark.parametrize("change", [host.raise_inotify_limit, host.release_inotify_limit])
def test_instances_change_the_limit_one_at_a_time(limit: Path, tmp_path: Path, change: Callable[[str], None]) -> None:
    host.raise_inotify_limit("one")
    changing = threading.Thread(target=change, args=("one",))
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        (tmp_path / "before" / "two").touch()
        changing.start()
        waiter = re.compile(rf"-> FLOCK.*:{os.fstat(folder).st_ino} ")
        assert wait_until(lambda: bool(waiter.search(Path("/proc/locks").read_text())), 60, 0.01)
    finally:
        os.close(folder)
        changing.join()
    assert limit.read_text() == f"{host.INOTIFY_INSTANCES}\n"


def test_missing_commands_are_named_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def which(command: str, path: str | None = None) -> str | None:
        return None if command in ("nft", "systemd-nspawn") else f"/usr/bin/{command}"

    monkeypatch.setattr(host.shutil, "which", which)
    assert host.missing_packages() == ["nftables", "systemd-container"]
    assert "needs the packages nftables, systemd-container (`make up` installs them)" in host.problems()


@pytest.mark.parametrize("broken", [[], ["update"], ["update", "install"]])
def test_what_is_missing_is_installed(broken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, int(command[2] in broken), "", f"E: no {command[2]}")

    monkeypatch.setattr(host, "unmet", list[str])
    monkeypatch.setattr(host, "missing_packages", lambda: ["nftables"])
    monkeypatch.setattr(host.subprocess, "run", run)
    said: list[str] = []
    if "install" in broken:
        with pytest.raises(LocalCloudError, match=r"(?s)E: no install.*E: no update"):
            host.prepare(said.append)
    else:
        host.prepare(said.append)
    assert said == ["installing nftables"]
    assert ran[-1] == ["apt-get", "-q", "install", "--yes", "--no-install-recommends", "nftables"]


def test_without_root_it_says_so_and_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.os, "geteuid", lambda: 1000)
    assert any("needs root" in problem for problem in host.problems())
    with pytest.raises(LocalCloudError, match="needs root"):
        host.prepare(lambda _: None)


def test_the_release_is_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "OS_RELEASE", tmp_path / "os-release")
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    assert host.codename() == "bookworm"
    (tmp_path / "os-release").write_text("ID=something\n")
    with pytest.raises(LocalCloudError, match="VERSION_CODENAME"):
        host.codename()
