"""How the pool machine's agent starts."""

from __future__ import annotations

import signal

from node import config as machine
from node import release
from node.log import say
from node.network.running import machine_parts
from node.pool.agent import Agent
from node.pool.system import Systemd
from node.pool.tunnel import Tunnel
from node.pool.watch import Cloud
from node.pool.watch.aws import Aws
from node.pool.watch.external import External
from node.pool.watch.gcp import Gcp
from node.pool.watch.hetzner import Hetzner
from node.pool.watch.metadata import Metadata
from node.pulse import SIGN, OrphanedError, Pulse


def _load() -> tuple[machine.Config, machine.Membership]:
    config = machine.load()
    if config.membership is None:
        raise machine.ConfigError(f"{config.files / 'config.json'} is of role {config.role}, not pool")
    return config, config.membership


def _cloud(name: str) -> Cloud:
    metadata = Metadata()
    clouds: dict[str, Cloud] = {
        "aws": Aws(metadata),
        "gcp": Gcp(metadata),
        "hetzner": Hetzner(metadata),
        "external": External(),
    }
    if name not in clouds:
        raise machine.ConfigError(f"cloud {name!r} is unknown; known: {', '.join(clouds)}")
    return clouds[name]


def check() -> None:
    """What a release asks itself before it takes over; changes nothing."""
    _, membership = _load()
    _cloud(membership.cloud)
    say("the configuration is well")


def main(pulse: int) -> int:
    """Run the agent with stage 0's pipe; the exit status."""
    config, membership = _load()
    system, number = Systemd(), release.running().number
    release.leave_newer(number)
    agent = Agent(
        config,
        membership,
        Pulse(pulse, config.state / SIGN),
        system,
        _cloud(membership.cloud),
        Tunnel(system),
        machine_parts(config.state),
        number,
    )

    def end(*_: object) -> None:
        agent.terminated = True

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    try:
        return agent.run()
    except OrphanedError:
        say("stage 0 is gone")
        return 1
