"""The names of everybody on the overlay, for dnsmasq(8) on this gateway.

``hybridnet-dns.service`` of first boot runs it, on the files that are written here. It answers at the gateway's overlay
addresses, knows ``<node>.<site>.<domain>`` and the reverse, and asks nobody else.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from node.log import say
from node.names import reverse_zones
from node.wireguard import INTERFACE
from overlay.addresses import address6
from overlay.model import Network, Node, is_node_name

FOLDER = "dns"
"""In the service's state; the unit shows it, and nothing else of that, to dnsmasq."""
UNIT = "hybridnet-dns.service"
_SEEN_AT = f"/var/lib/hybridnet/{FOLDER}"
_TIMEOUT = 30.0
_NOT_FOUND = 5
"""systemctl's status for a unit that there is not (systemd.exec(5), LSB's "not installed")."""


class NamesError(Exception):
    """systemd or dnsmasq refused; the message has what is wrong and the way out."""


class NoDnsError(NamesError):
    """This gateway has no unit for dnsmasq."""


class Dns(Protocol):
    """The machine's dnsmasq; both methods raise NamesError."""

    def stop(self) -> None: ...

    def take(self) -> None:
        """Have it read the hosts anew, or start it."""
        ...


class SystemdDns:
    """First boot's unit, through systemctl(1)."""

    def stop(self) -> None:
        self._systemctl("stop")

    def take(self) -> None:
        self._systemctl("reload-or-restart")

    @staticmethod
    def _systemctl(verb: str) -> None:
        command = ["systemctl", verb, UNIT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NamesError(f"systemctl {verb}: {type(error).__name__}") from error
        if done.returncode == _NOT_FOUND:
            raise NoDnsError(
                "this gateway was made before gateways knew names, so it tells nobody any: raise its `revision`"
            )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            problem = lines[0] if lines else f"status {done.returncode}"
            raise NamesError(f"names are not told ({problem}): see `journalctl -u {UNIT}`")


def hosts(network: Network, nodes: Iterable[Node]) -> str:
    """The file of ``nodes`` as hosts(5) has it, in the order of their addresses.

    A name that is no label of DNS has no line.
    """
    lines: list[str] = []
    for node in sorted(nodes, key=lambda node: node.address):
        if is_node_name(node.name):
            name = f"{node.name}.{node.site}.{network.domain}"
            lines.append(f"{node.address} {name}\n")
            if network.overlay6:
                lines.append(f"{address6(network.overlay6, node.address)} {name}\n")
    return "".join(lines)


def configuration(network: Network) -> str:
    """dnsmasq's configuration: authority for the overlay's names, and a refusal for all others."""
    lines = [
        f"interface={INTERFACE}",
        "except-interface=lo",
        "bind-dynamic",
        "no-resolv",
        "no-hosts",
        f"addn-hosts={_SEEN_AT}/hosts",
        "pid-file=",
        "log-facility=-",
        *(f"local=/{zone}/" for zone in (network.domain, *reverse_zones(network))),
    ]
    return "".join(f"{line}\n" for line in lines)


class GatewayNames:
    """The files for dnsmasq in ``folder``, and dnsmasq itself.

    :meth:`keep` never raises, but waits for systemd: not on an event loop.
    """

    def __init__(self, folder: Path, dns: Dns) -> None:
        self._folder = folder
        self._dns = dns
        self._taken: tuple[str, str] | None = None
        """What dnsmasq goes on with; unknown at the start."""
        self._is_absent = False
        self._told: str | None = None

    def keep(self, network: Network, nodes: Iterable[Node]) -> bool:
        """Have the names of ``nodes`` answered, declared ones and pools' machines; whether anything had to change."""
        wanted = configuration(network), hosts(network, nodes)
        if self._is_absent or wanted == self._taken:
            return False
        try:
            self._put(*wanted)
        except NoDnsError as error:
            self._is_absent = True
            self._tell(str(error))
        except (NamesError, OSError) as error:
            self._tell(str(error))
        else:
            self._taken, self._told = wanted, None
            return True
        return False

    def _put(self, options: str, names: str) -> None:
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o755)
        _write(self._folder / "hosts", names)
        path = self._folder / "dnsmasq.conf"
        if _read(path) != options.encode():
            # It reads this when it starts, and only then. Ended here, it is started with the one or the other.
            self._dns.stop()
            _write(path, options)
        self._dns.take()

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            say(problem)


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; everybody may read it. After a power cut it may be the old one."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)
