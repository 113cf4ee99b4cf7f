"""The tunnel, which is wg-quick's: it outlives the agent, and starts anew only for another end of this machine's."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

from node.joining import Answer
from node.pool.system import TUNNEL, System
from overlay.wgconf import Interface, wg_quick

CONFIGURATION = Path("/etc/wireguard/wg0.conf")


def configuration(private_key: str, lease: Answer) -> str:
    """wg-quick's configuration (a secret) of a machine with this lease."""
    address = IPv4Interface((lease.address, lease.overlay.prefixlen))
    peers = [replace(peer, public_key=lease.keys.get(peer.public_key, peer.public_key)) for peer in lease.peers]
    return wg_quick(Interface(address, private_key, lease.mtu), peers)


def _own_end(text: str) -> str:
    return text.partition("[Peer]")[0]


class Tunnel:
    """The interface by the configuration in ``path``. WireGuardError when it does not start, OSError for the disk."""

    def __init__(self, system: System, path: Path = CONFIGURATION) -> None:
        self._system = system
        self._path = path

    @property
    def is_configured(self) -> bool:
        return self._path.exists()

    def forget(self) -> None:
        """Have neither interface nor configuration."""
        if self._system.has_interface():
            # wg-quick(8) takes an interface down by its configuration.
            self._system.stop(TUNNEL)
        self._path.unlink(missing_ok=True)

    def restore(self) -> None:
        """Start what was configured before, if it does not run."""
        if self.is_configured and not self._system.has_interface():
            self._system.restart(TUNNEL)

    def keep(self, text: str) -> None:
        """Have the tunnel of ``text`` from the next start on, and now where this machine's own end is another one.

        Other peers are no reason to disturb a tunnel that is there: they come to the interface as it is.
        """
        before = self._path.read_text() if self.is_configured else ""
        if before != text:
            self._write(text)
        if _own_end(before) != _own_end(text):
            self._system.restart(TUNNEL)
        self.restore()

    def _write(self, text: str) -> None:
        new = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
