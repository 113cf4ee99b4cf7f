"""The key that a machine enrolled with: in the configuration of its tunnel, which no change of keys touches."""

from __future__ import annotations

from pathlib import Path

from node.log import say
from overlay.model import is_wireguard_key


class Enrolment:
    """The private key (base64) in wg-quick's configuration at ``path``, read again when the file is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[object, str | None] = (None, None)
        self._problem = ""

    def __call__(self) -> str | None:
        """None while there is none to be read, which is said once."""
        try:
            found = self._path.stat()
            mark = found.st_mtime_ns, found.st_ino
            if mark != self._read[0]:
                self._read = mark, private_key_in(self._path.read_text())
            self._problem = ""
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            if type(error).__name__ != self._problem:
                self._problem = type(error).__name__
                say(f"{self._path} cannot be read ({self._problem}), so this machine changes no keys")
            return None
        return self._read[1]

    @property
    def since(self) -> int | None:
        """When the file was written, in ms since 1970."""
        try:
            return self._path.stat().st_mtime_ns // 1_000_000
        except OSError:
            return None


def private_key_in(text: str) -> str | None:
    """The private key in wg-quick's configuration; None when it has none."""
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip().lower() == "privatekey" and is_wireguard_key(value.strip()):
            return value.strip()
    return None
