"""Where this machine asks for names of the overlay: its gateways, through systemd-resolved's settings of the tunnel.

They go with the interface, and with systemd-resolved when that restarts, so they are looked at again and again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Protocol

from node.log import say
from node.wireguard import INTERFACE
from overlay.addresses import network6
from overlay.model import Network

_TIMEOUT = 10.0


class Names(Protocol):
    """The machine's resolver; never raises, but waits for systemd-resolved: not on an event loop."""

    def keep(self, network: Network, servers: Sequence[IPv4Address]) -> bool:
        """Have names of ``network`` asked for at ``servers``: overlay addresses of gateways, nearest first.

        Whether anything had to change. Where that cannot be done it is said once.
        """
        ...


def reverse_zones(network: Network) -> list[str]:
    """The zones of the overlay's addresses (RFC 1035, section 3.5, and RFC 3596), which are names of octets or nibbles.

    Another prefix has several, at most 128.
    """
    zones = [_zone4(each) for each in _aligned(network.overlay, 8)]
    if network.overlay6:
        zones += [_zone6(each) for each in _aligned(network6(network.overlay6, network.overlay), 4)]
    return zones


def _aligned(prefix: IPv4Network | IPv6Network, step: int) -> list[IPv4Network | IPv6Network]:
    return list(prefix.subnets(new_prefix=-(-prefix.prefixlen // step) * step))


def _zone4(prefix: IPv4Network | IPv6Network) -> str:
    octets = str(prefix.network_address).split(".")[: prefix.prefixlen // 8]
    return ".".join([*reversed(octets), "in-addr.arpa"])


def _zone6(prefix: IPv4Network | IPv6Network) -> str:
    nibbles = prefix.network_address.exploded.replace(":", "")[: prefix.prefixlen // 4]
    return ".".join([*reversed(nibbles), "ip6.arpa"])


class _ResolvedError(Exception):
    """resolvectl(1) is not there or refused; the message has what it said."""


class ResolvedNames:
    """systemd-resolved, through resolvectl(1)."""

    def __init__(self, interface: str = INTERFACE) -> None:
        self._interface = interface
        self._told: str | None = None

    def keep(self, network: Network, servers: Sequence[IPv4Address]) -> bool:
        zones = [f"~{zone}" for zone in (network.domain, *reverse_zones(network))]
        # Servers last: without them nothing is asked for, whatever else is set.
        wanted = {"default-route": ["no"], "domain": zones, "dns": [str(address) for address in servers]}
        try:
            if all(self._asked(verb) == wanted[verb] for verb in ("dns", "domain")):
                self._told = None
                return False
            for verb, words in wanted.items():
                self._resolvectl(verb, *words)
        except _ResolvedError as error:
            self._tell(str(error))
            return False
        self._told = None
        return True

    def _asked(self, verb: str) -> list[str]:
        """The present values, as ``Link 3 (wg0): 10.100.0.1`` tells them; long lists take several lines."""
        return self._resolvectl(verb).partition("):")[2].split()

    def _resolvectl(self, verb: str, *words: str) -> str:
        command = ["resolvectl", verb, self._interface, *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except FileNotFoundError:
            raise _ResolvedError("there is no systemd-resolved") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _ResolvedError(f"resolvectl {verb}: {type(error).__name__}") from error
        if done.returncode:
            raise _ResolvedError(f"resolvectl {verb}: {' '.join(done.stderr.split()) or f'status {done.returncode}'}")
        return done.stdout

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            say(f"names of the overlay are not known on this machine ({problem}); its addresses are")
