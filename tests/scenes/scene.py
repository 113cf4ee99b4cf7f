"""A stack on a local cloud of its own, driven by the same commands that a person types."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from localcloud import fast
from localcloud.cloud import Cloud
from localcloud.fabric import Fabric

ROOT = Path(__file__).parents[2]
PREFIX = "hybrid-wireguard:"
ADDRESSES: Mapping[str, str] = {
    "hetzner-gw": "10.100.0.1",
    "hetzner-1": "10.100.1.1",
    "hetzner-2": "10.100.1.2",
    "aws-1": "10.100.2.1",
    "gcp-1": "10.100.3.1",
}
"""The dev stack's nodes, as the README and the settings say."""


def wait_for(what: str, condition: Callable[[], bool], seconds: float) -> float:
    """Seconds until ``condition()`` holds; AssertionError naming ``what`` when it does not in ``seconds``.

    A look that takes long comes less often: it takes time from what is waited for.
    """
    start = looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now - start < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(max(0.05, min(2 * (now - looked), 0.5)))
        looked = time.monotonic()
    return time.monotonic() - start


_PING_ALL = """
count=$1; shift
for address; do
    { ping -q -c "$count" -i 0.2 -W 2 "$address" | grep -q " $count received" && echo "$address"; } &
done
wait
"""
"""Prints each address of which every ping came back."""
_TRACE_ALL = """
set -f
for address; do
    { echo "$address" $(traceroute -I -n -q 1 -w 2 -m 8 "$address" | sed 1d | sed 's/^ *[0-9]* *//; s/ .*//'); } &
done
wait
"""
"""Prints each address and the hops to it, one line each."""


@dataclass(frozen=True)
class Ping:
    """What a ping that ran for a while saw."""

    sent: int
    received: int


class Scene:
    """One local cloud in ``directory`` with a copy of the dev stack's settings that a test may change."""

    def __init__(self, directory: Path, stack: str = "dev", path: str = "", control: str = "10.100.0.1") -> None:
        """``path`` is the PATH of the commands, the tests' own when empty; ``control`` a gateway's overlay address."""
        self.directory = directory
        self.stack = stack
        self.config_file = directory.parent / f"Pulumi.{stack}.yaml"
        self.config_file.write_bytes((ROOT / f"Pulumi.{stack}.yaml").read_bytes())
        self.project = ROOT
        self.control = control
        self.environment = {**os.environ, "NO_COLOR": "1", "PATH": path or os.environ["PATH"]}
        self.logs: list[str] = []
        self._outputs = ("", "")

    def run(self, *words: str, timeout: float = 600, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``python -m localcloud WORDS`` for this cloud; AssertionError with its output when it fails."""
        ours = ["--dir", str(self.directory), *words]
        done = subprocess.run(
            # `exec` as a command becomes just that, after an interpreter's start.
            fast.command_line(ours, self.environment) or [sys.executable, "-m", "localcloud", *ours],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        self.logs.append(done.stdout + done.stderr)
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def up(self, *, preview: bool = False, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``up``, without the ``preview`` first unless that is wanted: it takes as long again."""
        return self.run(*self._up(preview=preview), check=check)

    def up_without_waiting(
        self, until: str = "waiting until every node reaches every node", *, preview: bool = False
    ) -> None:
        """``up``, interrupted once the changes are made and it says that it waits ``until`` what will not come."""
        with subprocess.Popen(
            [sys.executable, "-m", "localcloud", "--dir", str(self.directory), *self._up(preview=preview)],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if until in line:
                    process.send_signal(signal.SIGINT)
                    break
            said += process.stdout.read()
        self.logs.append(said)
        assert process.returncode == 130, said

    def _up(self, *, preview: bool) -> list[str]:
        how = [] if preview else ["--skip-preview"]
        return ["up", "--stack", self.stack, "--config-file", str(self.config_file), *how]

    def exec(self, node: str, *words: str, check: bool = True) -> str:
        """The standard output of a command on a machine."""
        return self.run("exec", node, "--", *words, check=check).stdout

    def succeeds(self, node: str, *words: str) -> bool:
        return self.run("exec", node, "--", *words, check=False).returncode == 0

    def pings(self, node: str, address: str, count: int = 1) -> bool:
        """Whether any of ``count`` pings, one a second, comes back."""
        return self.succeeds(node, "ping", "-q", "-c", str(count), "-W", "1", address)

    def nodes(self) -> dict[str, str]:
        """Overlay address by node name, of everything the stack declares."""
        return {peer["name"]: peer["address"] for peer in self.outputs()["peers"]}

    def everyone(self) -> dict[str, str]:
        """Overlay address by node name, of what the stack declares and of the machines that joined."""
        return {**self.nodes(), **{lease["name"]: lease["address"] for lease in self.leases()}}

    def unreachable(self, count: int = 1, nodes: Mapping[str, str] | None = None) -> list[str]:
        """Every ``node -> node`` over which a ping of ``count`` packets lost any; by default of the declared nodes."""

        known = nodes or self.nodes()

        def lost(source: str) -> list[str]:
            others = {address: name for name, address in known.items() if name != source}
            said = self.exec(source, "sh", "-c", _PING_ALL, "sh", str(count), *others, check=False).split()
            return [f"{source} -> {name}" for address, name in others.items() if address not in said]

        with ThreadPoolExecutor(4) as pool:
            return [pair for found in pool.map(lost, known) for pair in found]

    def outputs(self) -> dict[str, Any]:
        """What the stack exports, asked for again when an engine has written a state since."""
        states = (path for folder in ("state", "backend") for path in (self.directory / folder).rglob("*.json"))
        version = str(sorted((str(path), path.stat().st_mtime_ns) for path in states))
        if version != self._outputs[0]:
            self._outputs = (version, self.run("outputs", "--json").stdout)
        return cast("dict[str, Any]", json.loads(self._outputs[1]))

    def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.run("status", "--json").stdout))

    def boot_ids(self, nodes: Iterable[str] | None = None) -> dict[str, str]:
        """What changes when a machine is replaced or rebooted, by node; by default of what the stack declares."""
        return {
            node: self.exec(node, "sh", "-c", "cat /etc/machine-id; cut -d' ' -f22 /proc/1/stat")
            for node in nodes or self.nodes()
        }

    def gateway_peers(self) -> dict[str, str]:
        """Allowed IPs by public key, as the gateway's interface has them."""
        lines = self.exec("hetzner-gw", "wg", "show", "wg0", "allowed-ips").splitlines()
        return dict(cast("tuple[str, str]", tuple(line.split("\t", 1))) for line in lines)

    def wanted_peers(self) -> dict[str, str]:
        """Allowed IPs by public key, as the stack's outputs declare them for the hub, and the leases that live."""
        peers = [peer for peer in self.outputs()["peers"] if peer["role"] != "gateway"]
        return {peer["public_key"]: f"{peer['address']}/32" for peer in [*peers, *self.leases()]}

    def peers_and_wanted(self) -> tuple[dict[str, str], dict[str, str]]:
        """The peers of the gateway's interface and those it should have, in one look: nothing comes or goes between."""
        ask = "curl -sSk https://10.100.0.1:8443/v1/status; echo; wg show wg0 allowed-ips"
        said, *lines = self.exec("hetzner-gw", "sh", "-c", ask).splitlines()
        status = cast("dict[str, Any]", json.loads(said))
        wanted = {peer["public_key"]: f"{peer['address']}/32" for peer in [*status["peers"], *status["leases"]]}
        return dict(cast("tuple[str, str]", tuple(line.split("\t", 1))) for line in lines), wanted

    def leases(self, pool: str = "") -> list[dict[str, Any]]:
        """The leases that live at the gateway, of every pool or of one."""
        leases = cast("list[dict[str, Any]]", self.gateway_status()["leases"])
        return [lease for lease in leases if pool in ("", lease["pool"])]

    def members(self, pool: str) -> list[str]:
        """The names of the machines that run in a pool, whether they joined or not."""
        return [
            machine.spec.node
            for machine in Fabric(Cloud(self.directory)).machines()
            if machine.spec.node.startswith(f"{pool}-") and machine.status in ("running", "booting")
        ]

    def audit(self) -> list[dict[str, Any]]:
        """The gateway's audit log, oldest first."""
        lines = self.exec("hetzner-gw", "cat", "/var/lib/hybridnet/audit.jsonl").splitlines()
        return [cast("dict[str, Any]", json.loads(line)) for line in lines]

    @contextmanager
    def pinging(self, node: str, address: str) -> Generator[list[Ping]]:
        """Pings 20 times a second while the block runs; the one element is there after it."""
        log = f"/tmp/ping-{node}-{address}"
        pid = self.exec(node, "sh", "-c", f"setsid ping -i 0.05 {address} >{log} 2>&1 </dev/null & echo $!").strip()
        seen: list[Ping] = []
        try:
            yield seen
        finally:
            self.exec(node, "kill", "-INT", pid)
        wait_for("the ping's summary", lambda: self.succeeds(node, "grep", "-q", "packets transmitted", log), 30)
        words = self.exec(node, "grep", "packets transmitted", log).split()
        sent, received = int(words[0]), int(words[3])
        # The last one may have been under way when the ping was told to end.
        if received < sent and not self.succeeds(node, "grep", "-q", f"icmp_seq={sent} ", log):
            sent -= 1
        seen.append(Ping(sent, received))

    @contextmanager
    def altered(self, place: Path, change: Callable[[Path], object]) -> Generator[None]:
        """The stack's program as it is in a copy of the project in ``place`` after ``change(copy)``."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
        (place / ".venv").symlink_to(ROOT / ".venv")
        change(place)
        self.project = place
        try:
            yield
        finally:
            self.project = ROOT

    def gateway_status(self, address: str = "") -> dict[str, Any]:
        """A gateway's own account, as it tells it over the overlay at ``address``; by default the first one's."""
        return cast("dict[str, Any]", json.loads(self._ask_gateway(address, check=True).stdout))

    def gateway_answer(self) -> dict[str, Any] | None:
        """The first gateway's account in one question; None when nobody answers, as between two of its releases.

        A release that hangs lets whoever asks wait: stage 0 has the socket and outlives it.
        """
        done = self._ask_gateway("", "-m", "5", check=False)
        return cast("dict[str, Any]", json.loads(done.stdout)) if done.returncode == 0 else None

    def _ask_gateway(self, address: str, *options: str, check: bool) -> subprocess.CompletedProcess[str]:
        url = f"https://{address or self.control}:8443/v1/status"
        ask = ["curl", "-sS", "--fail", "--cacert", "/etc/hybridnet/ca.pem", *options, url]
        return self.run("exec", "hetzner-1", "--", *ask, check=check)

    def hops(self, node: str, address: str) -> list[str]:
        """The addresses that traceroute(8) finds on the way, the last one included; ``*`` where nobody answers."""
        return self.hops_to(node, [address])[address]

    def hops_to(self, node: str, addresses: Iterable[str]) -> dict[str, list[str]]:
        """The same for several addresses at once.

        Linux answers one expired packet a second for each who asks (icmp(7)); gateways that run are told to answer all.
        """
        for gateway in self.outputs()["gateways"]:
            self.exec(gateway["name"], "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", check=False)
        said = self.exec(node, "sh", "-c", _TRACE_ALL, "sh", *addresses).splitlines()
        return {address: hops for address, *hops in map(str.split, said)}

    def settings(self) -> dict[str, Any]:
        return cast("dict[str, Any]", yaml.safe_load(self.config_file.read_text()))

    @contextmanager
    def changed(self, change: Callable[[dict[str, Any]], object]) -> Generator[None]:
        """The stack with its ``hybrid-wireguard:`` settings changed, and as it was again after the block."""
        before = self.config_file.read_text()
        document = self.settings()
        config = document["config"]
        ours = {key.removeprefix(PREFIX): config.pop(key) for key in list(config) if key.startswith(PREFIX)}
        change(ours)
        config.update({f"{PREFIX}{key}": value for key, value in ours.items()})
        self.config_file.write_text(yaml.safe_dump(document, sort_keys=False))
        try:
            yield
        finally:
            self.config_file.write_text(before)
