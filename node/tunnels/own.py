"""A machine's own WireGuard keys beside its enrolment key, on disk before anybody hears of them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from node import files
from node.keys import public_key
from node.network_words import NO_KEYS, Keys
from overlay.fields import FieldError, Fields
from overlay.model import is_wireguard_key

_REMEDY = "The machine goes back to the key of its first boot, with which it may always come back."
_LATEST = 2**53 - 1
KEYS = "keys.json"
"""In the machine's state."""


class _Held(NamedTuple):
    """``first`` and ``second`` are private keys (base64), ``made`` says when each was made (ms since 1970)."""

    identity: str
    first: str | None
    second: str | None
    made: int
    second_made: int


def new_key() -> str:
    """A private key (base64) that nobody else has."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = X25519PrivateKey.generate()
    return base64.b64encode(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()


class OwnKeys:
    """The keys in the file at ``path``; ``clock`` gives seconds since 1970.

    ``enrolment`` gives the private key of first boot or of the machine's lease, None while there is none to be read:
    what was made beside another one is of no use. A change is on disk when its method returns; OSError when it is not.
    """

    def __init__(self, path: Path, enrolment: Callable[[], str | None], clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._enrolment = enrolment
        self._clock = clock
        self._held: _Held | None = None
        self._since = int(clock() * 1000)

    def load(self, since: int | None = None) -> None:
        """Read what was kept. ``since`` (ms since 1970) is when the enrolment key was made, if that is known."""
        if since is not None:
            self._since = since
        try:
            document = files.read(self._path, _REMEDY)
            if document is not None:
                self._held = self._read(Fields("keys", dict(document)))
        except FieldError as error:
            files.put_aside(files.StateError(self._path, str(error), _REMEDY))
        except files.StateError as error:
            files.put_aside(error)

    @staticmethod
    def _read(fields: Fields) -> _Held:
        fields.number("schema_version", files.SCHEMA_VERSION, files.SCHEMA_VERSION)
        found = _Held(
            fields.key("identity"),
            fields.maybe_text("first"),
            fields.maybe_text("second"),
            fields.number("made", 0, _LATEST),
            fields.number("second_made", 0, _LATEST),
        )
        fields.end()
        if not all(key is None or is_wireguard_key(key) for key in (found.first, found.second)):
            raise FieldError("keys: not a WireGuard key (base64 of 32 bytes)")
        return found

    @property
    def identity(self) -> str | None:
        """The enrolment public key."""
        private = self._enrolment()
        return None if private is None else public_key(private)

    def _mine(self) -> _Held | None:
        held = self._held
        return held if held is not None and held.identity == self.identity else None

    @property
    def keys(self) -> Keys:
        """The public halves, as others are told of them."""
        held = self._mine()
        if held is None:
            return NO_KEYS
        return Keys(*(None if key is None else public_key(key) for key in (held.first, held.second)))

    @property
    def is_turning(self) -> bool:
        held = self._mine()
        return held is not None and held.second is not None

    @property
    def is_back(self) -> bool:
        """Whether the first interface has the new key already."""
        held = self._mine()
        return held is not None and held.second is not None and held.second == held.first

    @property
    def first(self) -> str | None:
        """The private key of the interface; None while there is none to be read."""
        held = self._mine()
        return held.first if held and held.first else self._enrolment()

    @property
    def second(self) -> str | None:
        """The private key of the second interface: that of the first one where it is others who change theirs."""
        held = self._mine()
        return held.second if held and held.second else self.first

    @property
    def made(self) -> int:
        """When the interface's key was made, in ms since 1970, as far as is known."""
        held = self._mine()
        return held.made if held else self._since

    def begin(self) -> None:
        """Have a new key, for the second interface."""
        identity, held, now = self.identity, self._mine(), int(self._clock() * 1000)
        if identity is not None and not self.is_turning:
            first = held.first if held else None
            self._save(_Held(identity, first, new_key(), self.made, now))

    def turn(self) -> None:
        """Use the new key for the first interface, too."""
        held = self._mine()
        if held is not None and held.second is not None:
            self._save(held._replace(first=held.second, made=held.second_made))

    def end(self) -> None:
        """Have done with the second interface; before :meth:`turn` that is to keep the key of before."""
        held = self._mine()
        if held is not None and held.second is not None:
            self._save(held._replace(second=None))

    def forget(self) -> None:
        """Go back to the enrolment key."""
        self._held = None
        self._path.unlink(missing_ok=True)

    def _save(self, held: _Held) -> None:
        files.write(self._path, held._asdict())
        self._held = held
