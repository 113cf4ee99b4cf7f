"""The spoke's agent: keeps the machine in the network, and follows the release that its gateway runs.

The tunnel itself is wg-quick's, and needs no agent.
"""

from __future__ import annotations

import signal
import threading

from node import config as machine
from node import release
from node.control import ControlPlane
from node.exporter.node import exporter
from node.follow import Follower
from node.health.reporter import Reporter
from node.log import say
from node.network import tunnel_file
from node.network.agent import Myself
from node.network.asker import Doorway
from node.network.running import machine_parts, network
from node.pulse import SIGN, OrphanedError, Pulse
from node.trust.trust import Trust
from node.workers import Workers

_BEAT_SECONDS = 0.5


class Own:
    """What the tunnel's configuration says of this spoke; read again until it can be."""

    def __init__(self, config: machine.Config) -> None:
        self._config = config
        self._found: tunnel_file.TunnelFile | None = None
        self._problem = ""

    def _file(self) -> tunnel_file.TunnelFile | None:
        if self._found is None:
            try:
                self._found = tunnel_file.read(tunnel_file.path())
            except tunnel_file.TunnelFileError as error:
                if str(error) != self._problem:
                    say(str(error))
                self._problem = str(error)
        return self._found

    def myself(self) -> Myself | None:
        found = self._file()
        return None if found is None else Myself(self._config.name, found.address, self._config.control[0])

    def doorway(self) -> Doorway | None:
        found = self._file()
        return None if found is None else Doorway(found.private_key, found.gateway)


def check() -> None:
    """What a release asks itself before it takes over; changes nothing."""
    machine.load()
    say("the configuration is well")


def main(pulse: int) -> int:
    """Run the agent with stage 0's pipe; the exit status."""
    config, stop, is_ended = machine.load(), threading.Event(), False
    line = Pulse(pulse, config.state / SIGN)
    trust, own, workers = Trust.of(config), Own(config), Workers(stop)
    trust.load()
    parts, number = machine_parts(config.state), release.running().number
    release.leave_newer(number)
    running = network(config, trust, parts, own.myself, own.doorway, stop)
    shown = exporter(running, "spoke", number)

    def gateways() -> list[ControlPlane]:
        hosts = running.agent.controls() or [config.control[0]]
        return [ControlPlane(host, config.control[1], trust.tls) for host in hosts]

    follower = Follower(config, trust, number, gateways, stop)

    def end(*_: object) -> None:
        # Not `stop`: it could wait for a lock that the interrupted code holds.
        nonlocal is_ended
        is_ended = True

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    reporter = Reporter(gateways, stop)
    for run in (running.rounds, running.questions, follower.run, shown.run, reporter.run):
        workers.start(run)
    try:
        while not is_ended and not stop.wait(_BEAT_SECONDS):
            if hung := workers.hung():
                say(f"{hung} hangs, so this release ends")
                return 1
            if workers.are_well():
                line.beat()
    except OrphanedError:
        say("stage 0 is gone")
        return 1
    finally:
        running.end()
        workers.join(1.0)
    return int(workers.is_failed)
