"""A machine for looks at its health: its files, and what its tools say."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node import stage0
from node.config import Config, Membership
from node.health.facts import SERVICE, TUNNEL, Facts, Machine
from node.wireguard import WireGuardError
from tests.node.support import Stack, key, write_config

GATEWAY = IPv4Address("10.100.0.1")


def shown(
    unit: str,
    state: str = "active",
    result: str = "success",
    pid: int = 7,
    since: int = 5,
    ended: int = 0,
    job: int = 0,
) -> str:
    return (
        f"Id={unit}\nActiveState={state}\nResult={result}\nMainPID={pid}\n{f'Job={job}{chr(10)}' if job else ''}"
        f"ActiveEnterTimestampMonotonic={since * 10**6}\nInactiveEnterTimestampMonotonic={ended}\n"
    )


class Place:
    """A machine's files, and what its tools say."""

    def __init__(self, folder: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
        self.state, self.devices, self.proc = folder / "state", folder / "net", folder / "proc"
        (self.state / "releases").mkdir(parents=True)
        monkeypatch.setattr(stage0, "RELEASES", self.state / "releases")
        write_config(folder / "config", stack, role, "10.100.0.1:8443")
        self.tunnel = folder / "wg0.conf"
        monkeypatch.setenv("HYBRIDNET_WIREGUARD", str(self.tunnel))
        monkeypatch.setenv("STATE_DIRECTORY", str(self.state))
        monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(folder / "config"))
        self.ran: list[str] = []
        self.pinged: list[IPv4Address] = []
        self.rtt: float | None = 0.002
        self.said = {
            "ip -json -4 address show dev wg0": json.dumps([{}, {"addr_info": [{"local": "10.100.1.1"}]}]),
            "wg show wg0 latest-handshakes": f"{key('gw')}\t{int(time.time()) - 60}\n{key('x')}\t0\n",
            "wg show wg0 allowed-ips": f"{key('gw')}\t10.100.0.0/16 fd00::/64\n{key('x')}\t(none)\n",
            "systemctl show": "\n".join(map(shown, (SERVICE, TUNNEL))),
            "nft list chain": "table inet hybridnet",
            "systemctl show --property=SystemState": "running\n",
        }
        self.config = Config(
            role, "spoke-1", (GATEWAY, 8443), stack.public_key, self.state, folder / "config",
            Membership("aws", key("gw")) if role == "pool" else None,
        )  # fmt: skip
        self.device("wg0")
        self.tunnel.write_text("[Interface]\nAddress = 10.100.1.1/32, fd00::1/128\nPrivateKey = x\nMTU = 1400\n")
        (self.proc / "sys/net/ipv4").mkdir(parents=True)
        (self.proc / "sys/net/ipv4/ip_forward").write_text("1\n")

    def device(self, name: str, flags: str = "0x91", mtu: int = 1400) -> None:
        (self.devices / name).mkdir(parents=True, exist_ok=True)
        (self.devices / name / "flags").write_text(flags)
        (self.devices / name / "mtu").write_text(f"{mtu}\n")

    def run(self, words: Sequence[str]) -> str:
        line = " ".join(words)
        self.ran.append(line)
        found = [
            said for start, said in sorted(self.said.items(), key=lambda item: -len(item[0])) if line.startswith(start)
        ]
        if not found:
            raise WireGuardError(f"{line}: no such thing")
        return found[0]

    def ping(self, address: IPv4Address) -> float | None:
        self.pinged.append(address)
        return self.rtt

    def machine(self) -> Machine:
        return Machine(self.config, self.run, self.ping, self.devices, self.proc)

    def look(self) -> Facts:
        return self.machine().look()
