"""What the agent asks of systemd and the kernel of its machine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from node.wireguard import INTERFACE, run

TUNNEL = f"wg-quick@{INTERFACE}.service"
SETUP = "hybridnet-setup.service"
DRAIN = "hybridnet-drain.service"


class System(Protocol):
    """Raises WireGuardError for a command that fails."""

    def restart(self, unit: str) -> None:
        """Start a unit anew, and wait until it has started."""
        ...

    def start(self, unit: str) -> None:
        """Start a unit, and do not wait."""
        ...

    def stop(self, unit: str) -> None:
        """Stop a unit, and wait until it has stopped."""
        ...

    def state(self, unit: str) -> str:
        """``inactive``, ``activating``, ``active``, ``failed`` or another of systemd's states."""
        ...

    def is_stopping(self) -> bool:
        """Whether the machine shuts down."""
        ...

    def power_off(self) -> None: ...

    def has_interface(self) -> bool:
        """Whether the tunnel's interface is there."""
        ...

    def connections(self, port: int) -> int:
        """How many TCP connections to a port of this machine are open."""
        ...

    def boot_id(self) -> str:
        """Another one after each boot."""
        ...


class Systemd:
    """The machine's own, through systemctl(1)."""

    def restart(self, unit: str) -> None:
        run(["systemctl", "restart", unit])

    def start(self, unit: str) -> None:
        run(["systemctl", "start", "--no-block", unit])

    def stop(self, unit: str) -> None:
        run(["systemctl", "stop", unit])

    def state(self, unit: str) -> str:
        return run(["systemctl", "show", "--property=ActiveState", "--value", unit]).strip()

    def is_stopping(self) -> bool:
        return run(["systemctl", "show", "--property=SystemState", "--value"]).strip() == "stopping"

    def power_off(self) -> None:
        run(["systemctl", "poweroff"])

    def has_interface(self) -> bool:
        return Path(f"/sys/class/net/{INTERFACE}").exists()

    def connections(self, port: int) -> int:
        return len(run(["ss", "-Htn", "state", "established", f"sport = :{port:d}"]).splitlines())

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
