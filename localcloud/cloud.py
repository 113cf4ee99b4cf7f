"""An instance of the local cloud: one directory, and the names of everything that belongs to it.

Instances do not know each other: their namespaces carry a tag made from the directory's path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DIRECTORY_VARIABLE = "LOCALCLOUD_DIR"
CACHE = Path("/var/cache/hybrid-wireguard-localcloud")
"""Images, shared by the instances of this host."""
NETNS = Path("/run/netns")

DESK_ADDRESS = "203.0.113.10"
"""Where whoever runs the program sits; inside the dev stack's admin CIDRs."""
STRANGER_ADDRESS = "198.51.100.7"
"""Somebody else on the internet."""
GOOGLE_ADDRESS = "192.0.2.10"
"""What stands for Google's own servers."""
EDGE_ADDRESS = "192.0.2.130"
"""What stands for a server of Cloudflare's edge; among the addresses that are published as Cloudflare's here."""


class LocalCloudError(Exception):
    """Something the user can act on: the text says what, why and what to do."""


class Cloud:
    """Paths and names of the instance in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()

    @classmethod
    def default(cls) -> Cloud:
        """The instance that LOCALCLOUD_DIR names, else `.localcloud` in the project."""
        named = os.environ.get(DIRECTORY_VARIABLE)
        return cls(Path(named) if named else PROJECT / ".localcloud")

    @cached_property
    def tag(self) -> str:
        """Five hex digits that tell this instance's namespaces from others'."""
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:5]

    @property
    def prefix(self) -> str:
        """What every namespace and control group of this instance begins with."""
        return f"lc-{self.tag}-"

    @property
    def internet(self) -> str:
        """Network namespace between the clouds."""
        return f"{self.prefix}internet"

    @property
    def desk(self) -> str:
        """Network namespace of whoever runs the program."""
        return f"{self.prefix}desk"

    @property
    def stranger(self) -> str:
        """Network namespace of somebody else on the internet."""
        return f"{self.prefix}stranger"

    @property
    def google(self) -> str:
        """Network namespace of what stands for Google's own servers."""
        return f"{self.prefix}google"

    @property
    def edge(self) -> str:
        """Network namespace of what stands for Cloudflare's edge."""
        return f"{self.prefix}edge"

    def machine_namespace(self, slot: int) -> str:
        """Network namespace of the machine in `slot`."""
        return f"{self.prefix}m{slot:02d}"

    def network_namespace(self, number: int) -> str:
        """Network namespace of the router of private network `number`."""
        return f"{self.prefix}n{number:02d}"

    @property
    def machines(self) -> Path:
        """One folder a machine: its spec, seed and disk."""
        return self.directory / "machines"

    def machine(self, machine_id: str) -> Path:
        """Folder of the machine; ids with characters that a mount option or a path could trip over are hashed."""
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", machine_id):
            return self.machines / machine_id
        digest = hashlib.sha256(machine_id.encode()).hexdigest()[:8]
        return self.machines / (re.sub(r"[^A-Za-z0-9_-]+", "-", machine_id)[-50:].strip("-") + "_" + digest)

    @property
    def world(self) -> Path:
        """The provider's resources (0600)."""
        return self.directory / "world.json"

    @property
    def providers(self) -> Path:
        """Package -> port on the desk's 127.0.0.1, written by the daemon."""
        return self.directory / "providers.json"

    @property
    def backend(self) -> Path:
        """Pulumi's file:// backend."""
        return self.directory / "backend"

    @property
    def pulumi_home(self) -> Path:
        """PULUMI_HOME of whatever runs at the desk."""
        return self.directory / "pulumi-home"

    @property
    def choice(self) -> Path:
        """Which stack the instance is for."""
        return self.directory / "stack.json"

    def project(self, name: str) -> Path:
        """Folder of another project's stack here: which it is, and the copy of its configuration."""
        return self.directory / "projects" / name

    @property
    def outputs(self) -> Path:
        """What the stack exported last, secrets masked (0600)."""
        return self.directory / "outputs.json"

    @property
    def daemon_lock(self) -> Path:
        """Held by the daemon while it lives."""
        return self.directory / "daemon.lock"

    @property
    def daemon_pid(self) -> Path:
        """The daemon's process number, written when it starts."""
        return self.directory / "daemon.pid"

    @property
    def control(self) -> Path:
        """The daemon's socket for commands."""
        return self.directory / "control"

    @property
    def daemon_log(self) -> Path:
        """What the daemon had to say."""
        return self.directory / "daemon.log"

    def claim(self) -> None:
        """Make the directory an instance's. Raises LocalCloudError when it holds somebody else's files."""
        mark = self.directory / "instance"
        if mark.exists():
            return
        if self.directory.exists() and not self.directory.is_dir():
            raise LocalCloudError(f"{self.directory} is no folder: give one that is empty or not there yet")
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if any(self.directory.iterdir()):
            raise LocalCloudError(
                f"{self.directory} holds other files: `down` removes an instance's whole folder, so give an empty one"
            )
        mark.write_text(f"{self.tag}\n")

    def remove(self) -> None:
        """Remove the directory; what says that it is an instance's goes last, so that a broken removal can go on."""
        mark = self.directory / "instance"
        for path in self.directory.iterdir():
            if path != mark:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        mark.unlink(missing_ok=True)
        self.directory.rmdir()

    @contextmanager
    def locked(self, name: str, waiting: Callable[[], None] = lambda: None) -> Generator[None]:
        """Hold the instance's inter-process lock `name`; it ends with the process, however that ends.

        `waiting` is called when somebody else holds it.
        """
        path = self.directory / f"{name}.lock"
        while True:
            self.claim()
            try:
                file = path.open("w")
            except FileNotFoundError:
                continue  # the folder went while this one came
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    waiting()
                    fcntl.flock(file, fcntl.LOCK_EX)
                # `down` removes the folder, locks and all: then nobody else would meet this one.
                if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    yield
                    return


def is_locked(path: Path) -> bool:
    """Whether a process holds `path` locked. Two that ask at once do not take each other for it."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def write_private(path: Path, text: str) -> None:
    """Replace `path` with `text` in one step, readable by its owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
