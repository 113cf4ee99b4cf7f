"""How the gateway's service starts: the peers come back before anything that is slow to import."""

from __future__ import annotations

import os
import socket

from node import config as machine
from node.files import StateError
from node.firewall import NftTool
from node.gateway.network import Network
from node.log import say
from node.ping import Pinger
from node.pulse import OrphanedError, Pulse
from node.wireguard import WgTool, WireGuardError


def restore(network: Network, pinger: Pinger) -> None:
    """Bring the peers back and greet them: a greeted peer need not wait for its own next packet."""
    try:
        network.reconcile()
    except (WireGuardError, OSError) as error:
        say(f"the network cannot be restored yet: {error}")
        return
    pinger.send(network.addresses())


def check() -> None:
    """What a release asks itself before it takes over: imports, state and plan.

    It looks at nothing that the running release might find broken too: a newer one may be what mends it.
    """
    from node.gateway import service

    network = Network(machine.load(), WgTool(), NftTool())
    network.load(read_only=True)
    network.rosters.verify()
    network.plan()
    network.leases.close()
    say(f"the state and {service.__name__} are well")


def main(pulse: int, listener: int) -> int:
    """Run the service with stage 0's pipe and listening socket; the exit status."""
    network = Network(machine.load(), WgTool(), NftTool())
    try:
        network.load()
    except StateError as error:
        say(str(error))
        return 1
    pinger = Pinger()
    restore(network, pinger)

    import asyncio

    from node.gateway.service import serve
    from node.gateway.serving.nginx import SystemdNginx

    try:
        network.rosters.verify()
        os.set_inheritable(listener, False)
        asyncio.run(serve(network, pinger, Pulse(pulse), socket.socket(fileno=listener), SystemdNginx()))
    except StateError as error:
        say(str(error))
        return 1
    except OrphanedError:
        say("stage 0 is gone")
        return 1
    return 0
