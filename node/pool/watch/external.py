"""A machine that somebody else made, who knows where: it is known by what it has itself, and nothing tells its end."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from pathlib import Path

from node.pool.watch import Sight

MACHINE_ID = Path("/etc/machine-id")
PRODUCT_UUID = Path("/sys/class/dmi/id/product_uuid")
_PURPOSE = b"hybridnet instance 1\n"
_LENGTH = 16
"""Hexadecimal digits of an id."""


class External:
    """A machine of whose cloud nothing is known.

    Its id is made of systemd's machine id, which is not to be shown (machine-id(5)), and the firmware's: machines from
    one image that was not cleaned have the first alike, and containers of one host the second.
    """

    replaces = False

    def __init__(self, machine_id: Path = MACHINE_ID, product_uuid: Path = PRODUCT_UUID) -> None:
        self._machine_id = machine_id
        self._product_uuid = product_uuid

    def instance_id(self) -> str:
        own = self._machine_id.read_text().strip()
        try:
            key = bytes.fromhex(own)
        except ValueError:
            key = b""
        if not key:
            raise OSError(f"{self._machine_id}: no machine id (yet)")
        firmware = ""
        with contextlib.suppress(OSError):
            firmware = self._product_uuid.read_text().strip().lower()
        return hmac.new(key, _PURPOSE + firmware.encode(), hashlib.sha256).hexdigest()[:_LENGTH]

    def proof(self, pool: str, public_key: str) -> None:
        """There is none."""
        del pool, public_key

    def look(self) -> Sight:
        return Sight()
