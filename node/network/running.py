"""The network's two threads: one looks at the interface every second, the other asks the gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.config import Config
from node.control import ControlPlane
from node.names import ResolvedNames
from node.network import tunnel_file
from node.network.addresses6 import Ip6
from node.network.agent import Myself, NetworkAgent, Parts
from node.network.asker import Asker, Doorway
from node.network.bell import Bell
from node.network.kept import State
from node.segments import NftSegments
from node.trust.trust import Trust
from node.tunnels.device import SecondDevice, first_device
from node.tunnels.enrolment import Enrolment
from node.tunnels.own import KEYS, OwnKeys
from node.tunnels.routes import IpRoutes
from node.tunnels.tunnels import Tunnels
from node.tunnels.turn import Turn

ROUND_SECONDS = 1.0
IDLE_SECONDS = 3.0
"""Between two looks where there is nobody to be watched."""
TURN_SECONDS = 0.2
"""Between two looks while keys change."""


def machine_parts(state: Path) -> Parts:
    """The machine's own; ``state`` is its state folder."""
    enrolment = Enrolment(tunnel_file.path())
    own = OwnKeys(state / KEYS, enrolment)
    own.load(enrolment.since)
    tunnels = Tunnels(first_device(), SecondDevice(state), IpRoutes(), own)
    return Parts(tunnels, Ip6(), NftSegments(), ResolvedNames(), Turn(tunnels, state))


@dataclass(frozen=True)
class Running:
    """A machine's network, and what its two threads run; each gets what it has to call while it is well."""

    agent: NetworkAgent
    asker: Asker
    bell: Bell
    stop: threading.Event

    def rounds(self, beat: Callable[[], None] = lambda: None) -> None:
        """Until ``stop`` is set."""
        while not self.stop.is_set():
            self.agent.round()
            beat()
            self.stop.wait(self._pause())

    def _pause(self) -> float:
        if self.agent.is_turning:
            return TURN_SECONDS
        return ROUND_SECONDS if self.agent.is_linked else IDLE_SECONDS

    def questions(self, beat: Callable[[], None] = lambda: None) -> None:
        """Until ``stop`` is set."""
        self.asker.run(beat)

    def end(self) -> None:
        """Set ``stop``, and have both threads see it at once."""
        self.stop.set()
        self.bell.ring()


def network(
    config: Config,
    trust: Trust,
    parts: Parts,
    myself: Callable[[], Myself | None],
    doorway: Callable[[], Doorway | None],
    stop: threading.Event,
) -> Running:
    """The network of the machine of ``config``, with what it knew before."""
    bell = Bell()
    state = State(config.state / "network.json", trust)
    agent = NetworkAgent(state, trust, parts, myself, bell.ring)
    agent.load()
    asker = Asker(agent, bell, lambda host: ControlPlane(host, config.control[1], trust.tls), doorway, stop)
    return Running(agent, asker, bell, stop)
