"""nginx as systemd runs it, and the files it is told with.

``candidate.conf`` is what the service wants. nginx's own unit (``take-nginx`` of first boot) puts it in the place of
``nginx.conf`` if ``nginx -t`` takes it, so one that is not taken leaves the good one where it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Set
from pathlib import Path
from typing import Protocol

from node import files
from node.gateway.serving.conf import Pems
from overlay.serving import Credentials

UNIT = "nginx.service"
TIMEOUT = 30.0
"""nginx needs about 50 ms to check 10,000 machines; stopping it up to 20 s, for requests that are under way."""
_NOT_FOUND = 5
"""systemctl's status for a unit that there is not (systemd.exec(5), LSB's "not installed")."""


class NginxError(Exception):
    """nginx or systemd refused; the message has what is wrong and the way out."""


class Nginx(Protocol):
    """The machine's nginx; every method raises NginxError."""

    def take(self) -> None:
        """Have it take the candidate and go on with it, started if it did not run."""
        ...

    def stop(self) -> None: ...

    def is_running(self) -> bool: ...


class SystemdNginx:
    """The distribution's unit, through systemctl(1)."""

    def take(self) -> None:
        if problem := self._systemctl("reload-or-restart"):
            raise NginxError(f"nginx does not take its configuration ({problem}): see `journalctl -u {UNIT}`")

    def stop(self) -> None:
        if problem := self._systemctl("stop"):
            raise NginxError(f"nginx does not stop ({problem}): see `journalctl -u {UNIT}`")

    def is_running(self) -> bool:
        return self._run("is-active", "--quiet").returncode == 0

    def _systemctl(self, verb: str) -> str:
        done = self._run(verb)
        if done.returncode == _NOT_FOUND:
            if verb == "stop":
                return ""
            raise NginxError("no nginx: this gateway was made before gateways took requests; raise its `revision`")
        lines = done.stderr.strip().splitlines()
        return (lines[0] if lines else f"status {done.returncode}") if done.returncode else ""

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["systemctl", *words, UNIT]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NginxError(f"systemctl {words[0]}: {type(error).__name__}") from error


class Folder:
    """nginx's configuration and the PEM files beside it, in ``path``; OSError where the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._configuration = path / "nginx.conf"
        self._candidate = path / "candidate.conf"
        self._taken = path / "taken"

    def configuration(self) -> str | None:
        """What nginx has taken last, or None."""
        with contextlib.suppress(FileNotFoundError):
            return self._configuration.read_text()
        return None

    def is_taken(self, text: str) -> bool:
        """Whether nginx is known to go on with ``text``, and with nothing else before long."""
        if self._candidate.exists() or self.configuration() != text:
            return False
        with contextlib.suppress(FileNotFoundError):
            return self._taken.read_text() == _digest(text)
        return False

    def offer(self, text: str) -> None:
        """Lay ``text`` out for nginx."""
        files.write_text(self._candidate, text)

    def note_taken(self, text: str, pems: Pems) -> None:
        """Remove what nginx needs no more, and remember that it goes on with ``text``."""
        self._clean({self._configuration, self._taken, pems.certificate, pems.private_key, pems.client_ca})
        files.write_text(self._taken, _digest(text))

    def pems(self, credentials: Credentials) -> Pems:
        """Where the credentials' files belong: their names tell what is in them."""
        name = f"tls-{_digest(credentials.certificate + credentials.private_key)}"
        client_ca = credentials.client_ca
        return Pems(
            self.path / f"{name}.crt",
            self.path / f"{name}.key",
            self.path / f"client-ca-{_digest(client_ca)}.crt" if client_ca else None,
        )

    def write(self, pems: Pems, credentials: Credentials) -> None:
        """Write the credentials' files, those that are missing."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        for path, text in (
            (pems.certificate, credentials.certificate),
            (pems.private_key, credentials.private_key),
            (pems.client_ca, credentials.client_ca),
        ):
            if path and text and not path.exists():
                files.write_text(path, text)

    def exists(self) -> bool:
        return self.path.exists()

    def remove(self) -> None:
        """Remove everything, the folder included."""
        self._clean(set())
        self.path.rmdir()

    def _clean(self, staying: Set[Path | None]) -> None:
        for path in self.path.iterdir():
            if path not in staying:
                path.unlink()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
