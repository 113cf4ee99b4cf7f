"""The spoke's agent: follows the release that its gateway runs. The tunnel itself is wg-quick's, and needs no agent."""

from __future__ import annotations

import signal
import threading

from node import config as machine
from node import release
from node.control import ControlPlane, trust
from node.follow import Follower
from node.log import say
from node.pulse import OrphanedError, Pulse


def check() -> None:
    """What a release asks itself before it takes over; changes nothing."""
    machine.load()
    say("the configuration is well")


def main(pulse: int) -> int:
    """Run the agent with stage 0's pipe; the exit status."""
    config, stop = machine.load(), threading.Event()
    gateway = ControlPlane(*config.control, trust(config.files))
    follower = Follower(config, release.running().number, lambda: [gateway], stop, Pulse(pulse).beat)

    def end(*_: object) -> None:
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    try:
        follower.run()
    except OrphanedError:
        say("stage 0 is gone")
        return 1
    return 0
