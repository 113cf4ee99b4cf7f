"""The network's two threads: one looks at the interface every second, the other asks the gateway."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

from node.config import Config
from node.control import ControlPlane
from node.names import ResolvedNames
from node.network.addresses6 import Ip6
from node.network.agent import Myself, NetworkAgent, Parts
from node.network.asker import Asker, Doorway
from node.network.bell import Bell
from node.network.kept import State
from node.segments import NftSegments
from node.wireguard import WgTool

ROUND_SECONDS = 1.0


def machine_parts() -> Parts:
    """The machine's own."""
    return Parts(WgTool(), Ip6(), NftSegments(), ResolvedNames())


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
            self.stop.wait(ROUND_SECONDS)

    def questions(self, beat: Callable[[], None] = lambda: None) -> None:
        """Until ``stop`` is set."""
        self.asker.run(beat)

    def end(self) -> None:
        """Set ``stop``, and have both threads see it at once."""
        self.stop.set()
        self.bell.ring()


def network(
    config: Config,
    tls: ssl.SSLContext,
    parts: Parts,
    myself: Callable[[], Myself | None],
    doorway: Callable[[], Doorway | None],
    stop: threading.Event,
) -> Running:
    """The network of the machine of ``config``, with what it knew before."""
    bell = Bell()
    state = State(config.state / "network.json", config.signing_public_key)
    agent = NetworkAgent(state, config.signing_public_key, parts, myself, bell.ring)
    agent.load()
    asker = Asker(agent, bell, lambda host: ControlPlane(host, config.control[1], tls), doorway, stop)
    return Running(agent, asker, bell, stop)
