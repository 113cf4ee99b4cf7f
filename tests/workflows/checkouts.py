"""Repositories as a workflow's checkout leaves them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.workflows.steps import ROOT

_WHO = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")


def git(repository: Path, *words: str) -> str:
    """What a git command says."""
    command = ["git", *_WHO, *words]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.strip()


def checkout(place: Path, base: Callable[[Path], object], change: Callable[[Path], object], *only: str) -> Path:
    """A pull request's checkout in ``place``: the merge (tag `change`) of ``change(place)`` into ``base(place)``.

    It is made of this tree's files, or of those under ``only``, with its .venv.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *only],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, place / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    (place / ".venv").symlink_to(ROOT / ".venv")
    # A file that is new asks `make` to install what it lists, into the .venv that everybody uses.
    for requirements in place.glob("requirements*"):
        os.utime(requirements, (0, 0))
    git(place, "init", "--quiet", "--initial-branch", "main")
    (place / ".git" / "info" / "exclude").write_text("/.venv\n")
    base(place)
    _commit(place, "base")
    git(place, "checkout", "--quiet", "-b", "branch")
    change(place)
    _commit(place, "change")
    git(place, "checkout", "--quiet", "main")
    git(place, "merge", "--quiet", "--no-ff", "-m", "merge", "branch")
    git(place, "tag", "change")
    git(place, "checkout", "--quiet", "--detach", "change")
    return place


def _commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", message)
