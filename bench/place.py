"""An instance of the local cloud, driven by the commands that a person types, and what is measured on its machines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from bench.stacks import ROOT
from localcloud import fast
from localcloud.cli import desk
from localcloud.cloud import Cloud

PATIENCE = 120
"""Seconds that a measurement waits for what it measures."""
PING_SECONDS = 0.02
THROUGHPUT_OPTIONS = ("--time", "2", "--omit", "1", "--connect-timeout", "5000", "--json")
_REPLY = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from ", re.MULTILINE)


class Place:
    """The instance in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *words: str) -> str:
        """Standard output of `python -m localcloud WORDS`; RuntimeError with everything it said when it fails."""
        done = subprocess.run(
            self._command(*words), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(
                f"localcloud {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def execute(self, node: str, *command: str) -> str:
        """Standard output of a command on a machine."""
        return self.run("exec", node, "--", *command)

    def copy(self, folder: Path, node: str, to: str) -> None:
        """Put the files of a folder of this project into one on a machine."""
        packed = subprocess.run(["tar", "-c", "-C", str(folder), "."], stdout=subprocess.PIPE, check=True).stdout
        unpack = self._command("exec", node, "--", "sh", "-c", 'mkdir -p "$0" && tar -x --no-same-owner -C "$0"', to)
        done = subprocess.run(unpack, cwd=ROOT, input=packed, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{folder.name} could not be copied to {node}: {done.stderr.decode()}")

    def secret_outputs(self) -> dict[str, Any]:
        """What the stack exports, secrets in plain text."""
        cloud = Cloud(self.directory)
        choice = desk.chosen(cloud)
        return desk.engine(cloud, choice, desk.environment(cloud, choice.stack)).outputs(show_secrets=True)

    def client(self, *words: str, source: str = "internet") -> subprocess.Popen[str]:
        """`python WORDS` at a stranger's address on the internet or at the `desk`, with pipes to it."""
        return subprocess.Popen(
            self._command("run", "--from", source, "--", sys.executable, *words),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def first_ping(self, watcher: str, node: str, address: str, start: Callable[[], object]) -> float:
        """Seconds from the start of the init that `start` gives to `node`, to the first ping of `address` that returns.

        `watcher` pings all the while; answers of what had the address before do not count.
        """
        with tempfile.TemporaryDirectory() as folder:
            heard = Path(folder) / "pings"
            ping = ("ping", "-D", "-n", "-i", str(PING_SECONDS), address)
            with heard.open("w") as output, self._started(watcher, *ping, output=output) as process:
                try:
                    start()
                    born = self._born(node)
                    return _first_after(born, heard) - born
                finally:
                    process.terminate()

    def wait_until_reached(self, node: str, address: str) -> None:
        """Return when a ping from `node` to `address` does; RuntimeError when none does in time."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                self.execute(node, "ping", "-c", "1", "-W", "1", address)
            except RuntimeError:
                continue
            return
        raise RuntimeError(f"{node} does not reach {address} within {PATIENCE} s")

    def throughput(self, giver: str, taker: str, address: str) -> float:
        """TCP payload from one machine to another, bit/s, after a second in which TCP finds its pace."""
        with self._started(taker, "iperf3", "--server", "--one-off", "--forceflush") as server:
            try:
                assert server.stdout is not None
                while "listening" not in server.stdout.readline():
                    if server.poll() is not None:
                        raise RuntimeError(f"iperf3 on {taker} ended with {server.returncode}")
                measured = self.execute(giver, "iperf3", "--client", address, *THROUGHPUT_OPTIONS)
                server.communicate(timeout=PATIENCE)
            finally:
                server.terminate()
        return float(json.loads(measured)["end"]["sum_received"]["bits_per_second"])

    def _born(self, node: str) -> float:
        """When the init of the machine was started, seconds since the epoch."""
        field = self.execute(node, "cut", "-d", " ", "-f", "22", "/proc/1/stat")
        ticks = 100  # a second, as every architecture's proc(5) counts
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(field) / ticks

    def _started(self, node: str, *command: str, output: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command("exec", node, "--", *command),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _command(self, *words: str) -> Sequence[str]:
        ours = ["--dir", str(self.directory), *words]
        # `exec` becomes what it runs on the machine: without an interpreter's start it is that at once.
        return fast.command_line(ours) or [sys.executable, "-m", "localcloud", *ours]


def _first_after(born: float, heard: Path) -> float:
    """When the first answer after `born` came, by the time stamps of `ping -D`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for match in _REPLY.finditer(heard.read_text()):
            if float(match[1]) > born:
                return float(match[1])
        time.sleep(PING_SECONDS)
    raise RuntimeError(f"no ping returned within {PATIENCE} s")
