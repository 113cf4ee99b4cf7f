"""First boot's ``hybridnet``: it runs the release that works, and says so when there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudinit.pack import KIT

STATE = "/var/lib/hybridnet"


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    return tmp_path / "state" / "releases"


def hybridnet(releases: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The script with another folder of state."""
    script = releases.parents[1] / "hybridnet"
    script.write_text((KIT / "hybridnet").read_text().replace(STATE, str(releases.parent)))
    return subprocess.run(["/bin/sh", str(script), *words], cwd="/", capture_output=True, text=True, check=False)


def install(releases: Path, number: int | str, *marks: str) -> None:
    command = releases / str(number) / "node" / "command"
    command.mkdir(parents=True)
    (releases / str(number) / "node" / "__init__.py").touch()
    (command / "__init__.py").touch()
    (command / "__main__.py").write_text(f"import sys\nprint({number!r}, sys.argv[1:])\nsys.exit(7)\n")
    for mark in marks:
        (releases / str(number) / mark).touch()


def test_it_runs_the_newest_release_that_is_good_and_not_bad(releases: Path) -> None:
    install(releases, 2, "good")
    install(releases, 9, "good")
    install(releases, 10, "good")
    install(releases, 11, "good", "bad")
    install(releases, 12, "bad")
    install(releases, 13)
    install(releases, "new")
    done = hybridnet(releases, "health", "--json", "two words")
    assert (done.returncode, done.stdout) == (7, "10 ['health', '--json', 'two words']\n")
    assert done.stderr == ""


@pytest.mark.parametrize("numbers", [None, (), (3,)], ids=["no state", "no release", "none is good"])
def test_without_a_release_that_works_it_says_so(releases: Path, numbers: tuple[int, ...] | None) -> None:
    if numbers is not None:
        releases.mkdir(parents=True)
        for number in numbers:
            install(releases, number)
    done = hybridnet(releases, "health")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("hybridnet: only for root, once a release works: journalctl -u hybridnet\n")
