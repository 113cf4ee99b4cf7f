"""What a look at the machine finds, without any judgement."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, ip_network
from pathlib import Path
from typing import NamedTuple

from node import files, release
from node.config import Config
from node.network import tunnel_file
from node.network_document import parse_document
from node.ping import Pinger
from node.pool.system import SETUP
from node.pulse import SIGN
from node.wireguard import INTERFACE, SECOND, WireGuardError, run
from overlay.model import gateways_of
from overlay.roster import Roster, parse

SERVICE = "hybridnet.service"
TUNNEL = f"wg-quick@{INTERFACE}.service"
NGINX = "nginx.service"
DNS = "hybridnet-dns.service"
_PINGS = 3
_PING_SECONDS = 0.7
_PROPERTIES = "Id,ActiveState,Result,MainPID,Job,ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic"
_DEVICES = Path("/sys/class/net")
_IFF_UP = 1
"""linux/if.h"""


class Unit(NamedTuple):
    """A unit as systemd has it. ``since`` is when it became active (s, monotonic), 0 for never.

    ``has_job`` is whether systemd is about to start or stop it, or waits with that, as at a boot, for something else.
    """

    state: str
    result: str = "success"
    main_pid: int = 0
    since: float = 0.0
    was_ended: bool = False
    has_job: bool = False

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped it: no unit of ours ends well by itself."""
        return self.state == "inactive" and self.result == "success" and self.was_ended


class Interface(NamedTuple):
    """``mtu`` in bytes."""

    is_up: bool
    addresses: frozenset[IPv4Address]
    mtu: int


class Place(NamedTuple):
    """Where the machine should be: its own address, the tunnel's MTU, and the gateways by name."""

    address: IPv4Address | None
    mtu: int | None
    gateways: Mapping[str, IPv4Address]
    """For a gateway the others, for any other machine the one that it hangs on."""


@dataclass(frozen=True)
class Facts:
    """What was found. ``handshakes`` are ages in seconds by gateway, infinite for never; who is missing is no peer.

    ``rtt`` is how long the way to the gateway and back takes, None when nobody answers. ``silence`` are the seconds
    since the release gave a sign, None while none runs. ``has_rules`` and ``forwards`` are None where it does not
    matter. ``failed`` is (number, reason) of a release that failed here.
    """

    role: str
    is_member: bool
    place: Place
    interface: Interface | None
    handshakes: Mapping[str, float]
    rtt: float | None
    units: Mapping[str, Unit]
    silence: float | None
    has_rules: bool | None
    forwards: bool | None
    failed: tuple[int, str] | None
    has_failed_setup: bool = False
    """Whether the ``userSetup`` of the machine's pool ended badly."""


class Machine:
    """This machine. ``run`` runs a command and gives its output; WireGuardError when that fails."""

    def __init__(
        self,
        config: Config,
        run: Callable[[Sequence[str]], str] = run,
        ping: Callable[[IPv4Address], float | None] | None = None,
        devices: Path = _DEVICES,
        proc: Path = Path("/proc"),
    ) -> None:
        self._config = config
        self._run = run
        self._ping = ping or once_answered
        self._devices = devices
        self._proc = proc

    def look(self) -> Facts:
        """Look at everything; WireGuardError when the machine's own tools do not work."""
        role, state = self._config.role, self._config.state
        is_member = role != "pool" or (tunnel_file.path().exists() and (state / "lease.json").exists())
        place = self._place()
        interface = self._interface() if is_member else None
        is_gateway = role == "gateway"
        gateway = None if is_gateway else next(iter(place.gateways.values()), None)
        units = self._units()
        setup = units.pop(SETUP, None)
        return Facts(
            role,
            is_member,
            place,
            interface,
            self._handshakes(place.gateways) if interface else {},
            self._ping(gateway) if interface and gateway else None,
            units,
            self._silence(units[SERVICE]),
            self._has_rules() if self._has_own_rules() else None,
            (self._proc / "sys/net/ipv4/ip_forward").read_text().strip() == "1" if is_gateway else None,
            release.failed(),
            setup is not None and setup.state == "failed",
        )

    def is_stopping(self) -> bool:
        """Whether the machine shuts down."""
        return self._run(["systemctl", "show", "--property=SystemState", "--value"]).strip() == "stopping"

    def restart(self, unit: str) -> None:
        """Start a unit anew, and wait until it has; WireGuardError."""
        self._run(["systemctl", "restart", unit])

    # The network.

    def _place(self) -> Place:
        config, address, mtu = self._config, None, None
        for line in _lines(tunnel_file.path()):
            name, _, value = (part.strip() for part in line.partition("="))
            if name == "Address":
                address = next((IPv4Interface(each.strip()).ip for each in value.split(",") if ":" not in each), None)
            elif name == "MTU" and value.isdigit():
                mtu = int(value)
        roster, at = self._roster()
        if roster is None:
            return Place(address, mtu, {} if config.role == "gateway" else {"the gateway": self._control()})
        gateways = {node.name: node.address for node in gateways_of(roster.nodes)}
        if config.role == "gateway":
            return Place(address, roster.mtu, {name: each for name, each in gateways.items() if name != config.name})
        return Place(address, roster.mtu, {at: gateways[at]} if at in gateways else {"the gateway": self._control()})

    def _roster(self) -> tuple[Roster | None, str]:
        """The roster that this machine follows, and the name of the gateway that it hangs on."""
        state = self._config.state
        try:
            if self._config.role == "gateway":
                kept = files.read(state / "roster.json", "")
                return (None if kept is None else parse(str(kept["body"]).encode())), ""
            known = files.read(state / "network.json", "")
            if known is None:
                return None, ""
            signed = parse_document(str(known["document"]).encode()).roster
            return (None if signed is None else parse(signed.body)), str(known["gateway"])
        except (OSError, ValueError, KeyError, files.StateError):
            return None, ""

    def _control(self) -> IPv4Address:
        """The gateway's address on the overlay while the machine has no roster."""
        try:
            lease = files.read(self._config.state / "lease.json", "")
            return IPv4Address(json.loads(lease["answer"])["control"]) if lease else self._config.control[0]
        except (OSError, ValueError, KeyError, files.StateError):
            return self._config.control[0]

    def _interface(self) -> Interface | None:
        device = self._devices / INTERFACE
        try:
            is_up, mtu = int((device / "flags").read_text(), 16) & _IFF_UP, int((device / "mtu").read_text())
            # Of an interface without an address some versions say nothing at all.
            links = json.loads(self._run(["ip", "-json", "-4", "address", "show", "dev", INTERFACE]) or "[]")
        except (OSError, WireGuardError):
            return None
        addresses = (each["local"] for link in links for each in link.get("addr_info", ()))
        return Interface(bool(is_up), frozenset(map(IPv4Address, addresses)), mtu)

    def _handshakes(self, gateways: Mapping[str, IPv4Address]) -> dict[str, float]:
        """By gateway, over both interfaces: keys differ while one changes, prefixes do not."""
        now, found = time.time(), dict[str, float]()
        for interface in (INTERFACE, SECOND):
            if not (self._devices / interface).exists():
                continue
            stamps = self._shown(interface, "latest-handshakes")
            ages = {key: now - int(at) if int(at) else float("inf") for key, at in stamps}
            for key, prefixes in self._shown(interface, "allowed-ips"):
                for name, address in gateways.items():
                    if _is_within(address, prefixes.split()):
                        found[name] = min(found.get(name, float("inf")), ages.get(key, float("inf")))
        return found

    def _shown(self, interface: str, what: str) -> Iterable[tuple[str, str]]:
        lines = self._run(["wg", "show", interface, what]).splitlines()
        return [(key, value) for key, _, value in (line.partition("\t") for line in lines)]

    # The machine.

    def _units(self) -> dict[str, Unit]:
        state, wanted = self._config.state, [SERVICE, TUNNEL]
        if self._config.role == "pool":
            wanted.append(SETUP)
        if self._config.role == "gateway":
            wanted += [NGINX] if any((state / "nginx").glob("*.conf")) else []
            wanted += [DNS] if (state / "dns" / "dnsmasq.conf").exists() else []
        shown = self._run(["systemctl", "show", f"--property={_PROPERTIES}", *wanted])
        blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n"))
        found = {block["Id"]: _unit(block) for block in blocks if block}
        return {name: found.get(name, Unit("inactive")) for name in wanted}

    def _silence(self, service: Unit) -> float | None:
        """No longer than the release runs: stage 0 starts it anew, and waits without one after failures.

        None, too, when the sign cannot be read: it could not be written where the disk is full.
        """
        age = self._age_of_release(service.main_pid) if service.main_pid else None
        if age is None:
            return None
        now, at = time.monotonic(), service.since
        try:
            sign = float((self._config.state / SIGN).read_text())
        except FileNotFoundError:
            sign = 0.0
        except (OSError, ValueError):
            return None
        at = max(at, sign if sign <= now else 0.0)
        return max(0.0, min(now - at, age))

    def _age_of_release(self, pid: int) -> float | None:
        """Seconds since stage 0, the process ``pid``, started the release that runs; None while none does (proc(5))."""
        try:
            child = (self._proc / f"{pid}/task/{pid}/children").read_text().split()[0]
            began = int((self._proc / child / "stat").read_text().rpartition(")")[2].split()[19])
        except (OSError, IndexError, ValueError):
            return None
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")

    def _has_own_rules(self) -> bool:
        """Whether first boot gave the machine rules: not to one that others made."""
        return self._config.membership is None or self._config.membership.cloud != "external"

    def _has_rules(self) -> bool:
        try:
            self._run(["nft", "list", "chain", "inet", "hybridnet", "output"])
        except WireGuardError:
            return False
        return True


def once_answered(address: IPv4Address) -> float | None:
    """Seconds to ``address`` and back, by the first of a few pings that is answered."""
    pinger = Pinger()
    try:
        for _ in range(_PINGS):
            began = time.monotonic()
            pinger.send([address])
            while (left := began + _PING_SECONDS - time.monotonic()) > 0:
                select.select([pinger.socket], [], [], left)
                if address in (answered := pinger.answered()):
                    took = answered[address]
                    return time.monotonic() - began if took is None else took
        return None
    finally:
        pinger.close()


def _is_within(address: IPv4Address, prefixes: Iterable[str]) -> bool:
    return any(":" not in each and each != "(none)" and address in ip_network(each) for each in prefixes)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _unit(block: Mapping[str, str]) -> Unit:
    return Unit(
        block["ActiveState"],
        block["Result"],
        int(block.get("MainPID") or 0),
        int(block["ActiveEnterTimestampMonotonic"]) / 1e6,
        block["InactiveEnterTimestampMonotonic"] != "0",
        block.get("Job", "") not in ("", "0"),
    )
