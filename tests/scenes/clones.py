"""Somebody in a fresh clone of the project, with a local cloud of its own, who types what a document says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from localcloud.cloud import NETNS, Cloud
from tests.documents import ROOT


class Clone:
    """A clone of the project as it is in the working tree, and the folder of a local cloud that is not yet up."""

    def __init__(self, folder: Path, path: str = "") -> None:
        """``path`` is the PATH of what is typed, the tests' own when empty."""
        self.path = folder / "clone"
        self.cloud = Cloud(folder / "cloud")
        home = folder / "home"
        home.mkdir()
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "LOCALCLOUD_DIR": str(self.cloud.directory),
            "NO_COLOR": "1",
            "PATH": path or os.environ["PATH"],
        }
        listed = self.bash("git ls-files -z --cached --others --exclude-standard", ROOT)
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.path / name)
        # The packages are those of this environment: what `make` looks at is older than they are.
        (self.path / ".venv").symlink_to(sys.prefix)
        for requirements in self.path.glob("requirements*.txt"):
            os.utime(requirements, (0, 0))
        author = "-c user.name=reader -c user.email=reader@localhost"
        self.bash(f"git init -q && git add -A && git {author} commit -q -m clone")

    def bash(self, command: str, where: Path | None = None) -> str:
        """What a command line prints, typed in the clone; AssertionError with what it said when it fails."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=where or self.path,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def left(self) -> list[str]:
        """What there still is of the local cloud: namespaces, its folder, processes that name it."""
        found = [str(path) for path in NETNS.glob(f"{self.cloud.prefix}*")]
        found += [str(path) for path in [self.cloud.directory] if path.exists()]
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = line.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has just ended
                continue
            if str(self.cloud.directory) in command or self.cloud.prefix in command:
                found.append(command)
        return found
