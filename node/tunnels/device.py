"""The two interfaces: the one that first boot made, and the one that is there while somebody's key changes."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from node import files
from node.wireguard import INTERFACE, SECOND, WgTool, WireGuard, WireGuardError, run

_UNIT = "hybridnet-wg1.service"


class Device(WireGuard, Protocol):
    """An interface whose own key can be changed; every method raises WireGuardError."""

    def public_key(self) -> str | None:
        """Of its private key; None while it has none."""
        ...

    def set_private_key(self, private_key: str) -> None:
        """Change the key (base64, a secret): the sessions of all peers are over with that."""
        ...


class Second(Device, Protocol):
    """An interface that comes and goes."""

    def is_there(self) -> bool: ...

    def up(self, private_key: str, address: IPv4Address, port: int | None, mtu: int) -> None:
        """Make it, without peers and routes. ``port`` None is any; ``mtu`` in bytes.

        It has the first interface's ``address``: on one without any, Linux drops all that would be answered by another
        interface as soon as rp_filter is on, loose or strict (``__fib_validate_source`` in net/ipv4/fib_frontend.c).
        """
        ...

    def down(self) -> None:
        """Have it no more; its routes go with it."""
        ...


class WgDevice(WgTool):
    """A machine's interface, through wg(8) and ip(8)."""

    def public_key(self) -> str | None:
        found = run(["wg", "show", self.name, "public-key"]).strip()
        return None if found == "(none)" else found

    def set_private_key(self, private_key: str) -> None:
        run(["wg", "set", self.name, "private-key", "/dev/stdin"], private_key + "\n")


class SecondDevice(WgDevice):
    """Made by wg-quick(8), in a unit of its own: it knows how on every kernel, and outlives the agent.

    ``folder`` is the machine's state, where its configuration is while it is there.
    """

    def __init__(self, folder: Path, name: str = SECOND) -> None:
        super().__init__(name)
        self._path = folder / f"{name}.conf"

    def is_there(self) -> bool:
        return Path(f"/sys/class/net/{self.name}").exists()

    def up(self, private_key: str, address: IPv4Address, port: int | None, mtu: int) -> None:
        lines = ["[Interface]", f"PrivateKey = {private_key}", f"Address = {address}/32", f"MTU = {mtu}", "Table = off"]
        if port is not None:
            lines.append(f"ListenPort = {port}")
        try:
            files.write_text(self._path, "\n".join(lines) + "\n")
        except OSError as error:
            raise WireGuardError(f"{self._path}: {error.strerror}") from error
        try:
            self._stop()
            words = ["--property=Type=oneshot", "--property=RemainAfterExit=yes", "wg-quick", "up", str(self._path)]
            run(["systemd-run", "--quiet", "--collect", f"--unit={_UNIT}", *words])
        finally:
            self._path.unlink(missing_ok=True)

    def down(self) -> None:
        if self.is_there():
            run(["ip", "link", "del", "dev", self.name])
        self._stop()

    @staticmethod
    def _stop() -> None:
        # Not there is as good as stopped.
        with contextlib.suppress(WireGuardError):
            run(["systemctl", "--quiet", "stop", _UNIT])


def first_device() -> WgDevice:
    """The interface that first boot made."""
    return WgDevice(INTERFACE)
