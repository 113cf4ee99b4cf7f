"""The spoke's agent: keeps the machine in the network, and follows the release that its gateway runs.

The tunnel itself is wg-quick's, and needs no agent.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from node import config as machine
from node import release
from node.control import ControlPlane, trust
from node.follow import Follower
from node.log import say
from node.network import tunnel_file
from node.network.agent import Myself
from node.network.asker import Doorway
from node.network.running import machine_parts, network
from node.pulse import OrphanedError, Pulse
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
    config, stop, line, is_ended = machine.load(), threading.Event(), Pulse(pulse), False
    tls, own, workers = trust(config.files), Own(config), Workers(stop)
    running = network(config, tls, machine_parts(), own.myself, own.doorway, stop)

    def gateways() -> list[ControlPlane]:
        hosts = running.agent.controls() or [config.control[0]]
        return [ControlPlane(host, config.control[1], tls) for host in hosts]

    number = release.running().number

    def follow(beat: Callable[[], None]) -> None:
        Follower(config, number, gateways, stop, beat).run()

    def end(*_: object) -> None:
        # Not `stop`: it could wait for a lock that the interrupted code holds.
        nonlocal is_ended
        is_ended = True

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    for run in (running.rounds, running.questions, follow):
        workers.start(run)
    try:
        while not is_ended and not stop.wait(_BEAT_SECONDS):
            if workers.are_well():
                line.beat()
    except OrphanedError:
        say("stage 0 is gone")
        return 1
    finally:
        running.end()
        workers.join(1.0)
    return int(workers.is_failed)
