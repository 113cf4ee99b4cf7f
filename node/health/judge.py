"""What is wrong with a machine, and what a restart may mend: pure, from the facts."""

from __future__ import annotations

from typing import NamedTuple

from node.health.facts import SERVICE, TUNNEL, Facts, Unit
from node.wireguard import INTERFACE

STALE_SECONDS = 180.0
"""Without a handshake for so long a tunnel is dead: WireGuard makes one every two minutes while there is traffic."""
SILENT_SECONDS = 45.0
"""Stage 0 ends a release that is silent for 25 s, and starts another: after this it hangs itself."""


class Problem(NamedTuple):
    """``unit`` is what a restart may mend. What is not ``is_grave`` is worth knowing of a machine that is well."""

    text: str
    unit: str | None = None
    is_grave: bool = True


def problems(facts: Facts) -> list[Problem]:
    """The gravest first."""
    if not facts.is_member:
        return [Problem("this machine has not joined its pool yet"), *_service(facts)]
    found = [*_interface(facts), *_service(facts), *_others(facts), *_way(facts)]
    if facts.has_rules is False:
        found.append(Problem("the packet filter's table hybridnet is gone: `systemctl reload-or-restart nftables`"))
    if facts.forwards is False:
        found.append(Problem("the kernel does not forward: `sysctl -w net.ipv4.ip_forward=1`"))
    if facts.has_failed_setup:
        found.append(Problem("the pool's userSetup failed here: `journalctl -u hybridnet-setup`", is_grave=False))
    if facts.failed:
        number, reason = facts.failed
        found.append(Problem(f"release {number} failed here and an older one runs: {reason}", is_grave=False))
    return found


def _interface(facts: Facts) -> list[Problem]:
    is_agents = facts.role == "pool"
    tunnel, wanted, found = facts.units[TUNNEL], facts.place, facts.interface
    unit = None if is_agents or tunnel.is_stopped or tunnel.has_job else TUNNEL
    if found is None:
        return [_stopped(TUNNEL) if tunnel.is_stopped else Problem(f"{INTERFACE} is gone", unit)]
    if not found.is_up:
        return [Problem(f"{INTERFACE} is down", unit)]
    if wanted.address is not None and wanted.address not in found.addresses:
        return [Problem(f"{INTERFACE} has not the address {wanted.address}", unit)]
    if wanted.mtu is not None and found.mtu != wanted.mtu:
        return [Problem(f"{INTERFACE} has the MTU {found.mtu} and not {wanted.mtu}")]
    return []


def _way(facts: Facts) -> list[Problem]:
    """A gateway's way to another one may end for what is wrong there."""
    if facts.interface is None:
        return []
    is_grave, found = facts.role != "gateway", list[Problem]()
    for name, address in facts.place.gateways.items():
        age = facts.handshakes.get(name)
        if age is None:
            found.append(Problem(f"the tunnel has no peer for {name} at {address}", is_grave=is_grave))
        elif age == float("inf"):
            found.append(Problem(f"no handshake with {name} yet", is_grave=is_grave))
        elif age > STALE_SECONDS:
            found.append(Problem(f"no handshake with {name} for {age:.0f} s", is_grave=is_grave))
        elif facts.role != "gateway" and facts.rtt is None:
            found.append(Problem(f"{name} at {address} does not answer pings through the tunnel"))
    return found


def _service(facts: Facts) -> list[Problem]:
    service = facts.units[SERVICE]
    if (problem := _unit(SERVICE, service)) is not None:
        return [problem]
    if facts.silence is not None and facts.silence > SILENT_SECONDS:
        unit = None if service.has_job else SERVICE
        return [Problem(f"{SERVICE} hangs: nothing was heard of its release for {facts.silence:.0f} s", unit)]
    return []


def _others(facts: Facts) -> list[Problem]:
    found = (_unit(name, unit) for name, unit in facts.units.items() if name not in (SERVICE, TUNNEL))
    return [problem for problem in found if problem]


def _unit(name: str, unit: Unit) -> Problem | None:
    if unit.is_stopped:
        return _stopped(name)
    if unit.state in ("inactive", "failed"):
        return Problem(f"{name} is {unit.state}", None if unit.has_job else name)
    return None


def _stopped(name: str) -> Problem:
    """What somebody stops stays stopped."""
    return Problem(f"{name} was stopped: `systemctl start {name}`")
