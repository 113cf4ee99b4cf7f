"""The WireGuard interface, through wg(8): what it has, and changes to it."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

from overlay.model import Prefix

INTERFACE = "wg0"
SECOND = "wg1"
"""Is there while a key changes (``node.tunnels``)."""
_TIMEOUT = 10.0
_PEERS_A_COMMAND = 500
"""Keeps a command line under the kernel's limit (execve(2): 2 MiB with the default stack)."""


class WireGuardError(Exception):
    """wg(8) or ip(8) refused or did not answer; the message has what it said."""


class PeerState(NamedTuple):
    """A peer as the interface has it. ``handshake`` is in seconds since 1970, 0 for never; the rest counts bytes.

    A tuple, for there are thousands, made anew at every look.
    """

    public_key: str
    endpoint: str | None
    allowed_ips: frozenset[str]
    handshake: int
    received: int
    sent: int
    keepalive: int | None


@dataclass(frozen=True)
class Change:
    """One change to one peer. What is None stays as it is; ``keepalive`` 0 means none, and an empty tuple no prefix."""

    public_key: str
    remove: bool = False
    allowed_ips: tuple[Prefix, ...] | None = None
    endpoint: str | None = None
    keepalive: int | None = None


class WireGuard(Protocol):
    """An interface that can be looked at and changed; every method raises WireGuardError."""

    def peers(self) -> Mapping[str, PeerState]:
        """Public key -> peer."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes, in their order."""
        ...

    def mtu(self) -> int:
        """The interface's MTU in bytes."""
        ...

    def set_mtu(self, mtu: int) -> None:
        """Change the MTU (bytes)."""
        ...


@lru_cache(maxsize=1 << 14)
def _prefixes(allowed: str) -> frozenset[str]:
    """The prefixes in a dump's column: one object for the same text, since every look finds the same ones."""
    return frozenset(() if allowed == "(none)" else allowed.split(","))


def parse_dump(text: str) -> dict[str, PeerState]:
    """The peers in the output of ``wg show wg0 dump``; its first line has the private key and is passed over.

    wg(8) prints prefixes in their shortest form (inet_ntop(3)), so they are taken as they stand.
    """
    # Ten thousand tuples that all stay would make the collector search everything, again and again, for nothing.
    gc.disable()
    try:
        return {state.public_key: state for state in map(_state, text.splitlines()[1:])}
    finally:
        gc.enable()


def _state(line: str) -> PeerState:
    key, _, endpoint, allowed, handshake, received, sent, keepalive = line.split("\t")
    return PeerState(
        key,
        None if endpoint == "(none)" else endpoint,
        _prefixes(allowed),
        int(handshake),
        int(received),
        int(sent),
        None if keepalive == "off" else int(keepalive),
    )


def arguments(change: Change) -> list[str]:
    """The words of ``wg set`` for one change."""
    words = ["peer", change.public_key]
    if change.remove:
        return [*words, "remove"]
    if change.endpoint is not None:
        words += ["endpoint", change.endpoint]
    if change.keepalive is not None:
        words += ["persistent-keepalive", str(change.keepalive)]
    if change.allowed_ips is not None:
        words += ["allowed-ips", ",".join(str(network) for network in change.allowed_ips)]
    return words


def run(command: Iterable[str], text: str | None = None) -> str:
    """A command's output; WireGuardError when it fails or takes longer than ten seconds."""
    words = list(command)
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WireGuardError(f"{words[0]}: {type(error).__name__}") from error
    if done.returncode:
        raise WireGuardError(f"{' '.join(words[:3])}: {done.stderr.strip()}")
    return done.stdout


class WgTool:
    """The machine's own interface, through wg(8) and ip(8)."""

    def __init__(self, name: str = INTERFACE) -> None:
        self.name = name

    def peers(self) -> Mapping[str, PeerState]:
        return parse_dump(run(["wg", "show", self.name, "dump"]))

    def apply(self, changes: Sequence[Change]) -> None:
        for start in range(0, len(changes), _PEERS_A_COMMAND):
            words = [word for change in changes[start : start + _PEERS_A_COMMAND] for word in arguments(change)]
            run(["wg", "set", self.name, *words])

    def mtu(self) -> int:
        try:
            return int(Path(f"/sys/class/net/{self.name}/mtu").read_text())
        except OSError as error:
            raise WireGuardError(f"no interface {self.name}") from error

    def set_mtu(self, mtu: int) -> None:
        run(["ip", "link", "set", "dev", self.name, "mtu", str(mtu)])
