"""How the gateway's service starts: the peers come back before anything that is slow to import."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from ipaddress import IPv6Interface

from node import config as machine
from node.files import StateError
from node.firewall import Firewall, NftTool
from node.gateway.names import FOLDER, GatewayNames, SystemdDns
from node.gateway.network import Network
from node.gateway.rotation import Rotation, takes_second
from node.log import say
from node.names import ResolvedNames
from node.network import addresses6, tunnel_file
from node.network.addresses6 import Addresses6, Ip6
from node.ping import Pinger
from node.pulse import SIGN, OrphanedError, Pulse
from node.segments import NftSegments, Segments
from node.tunnels.device import SecondDevice, first_device
from node.tunnels.enrolment import Enrolment
from node.tunnels.own import KEYS, OwnKeys
from node.tunnels.routes import IpRoutes
from node.tunnels.tunnels import Tunnels
from node.wireguard import WgTool, WireGuardError
from overlay.addresses import address6, network6
from overlay.roster import Roster

RESOLVER_SECONDS = 30.0
"""Between two looks at where this machine asks for names: each starts a few processes."""


class Rules:
    """A gateway's rules: first boot's sets, and those of the groups. And its IPv6 address, which it may get later.

    A machine that takes no IPv6 address says so and does without.
    """

    def __init__(self, firewall: Firewall, segments: Segments, addresses: Addresses6) -> None:
        self._firewall = firewall
        self._segments = segments
        self._addresses = addresses
        self._problem = ""

    def keep(self, roster: Roster, name: str) -> str:
        network, me = roster.network, roster.node(name)
        has_changed = self._segments.keep(network, roster.nodes, me)
        own6 = None
        if network.overlay6:
            length = network6(network.overlay6, network.overlay).prefixlen
            own6 = IPv6Interface((address6(network.overlay6, me.address), length))
        try:
            addresses6.keep(self._addresses, own6)
            problem = ""
        except WireGuardError as error:
            problem = f"IPv6 cannot be kept on this machine: {error}"
        if problem and problem != self._problem:
            say(problem)
        self._problem = problem
        return ", ".join(filter(None, ["groups" if has_changed else "", self._firewall.keep(roster, name)]))


def naming(network: Network) -> Callable[[], None]:
    """Keeps the names that this gateway answers for, and those that it asks for itself, up to date when called."""
    answered = GatewayNames(network.config.state / FOLDER, SystemdDns())
    asked, at = ResolvedNames(), float("-inf")

    def keep() -> None:
        nonlocal at
        kept = network.rosters.kept
        if kept is None:
            return
        answered.keep(kept.roster.network, network.whole.nodes())
        if time.monotonic() - at < RESOLVER_SECONDS:
            return
        at = time.monotonic()
        others = [node.address for node in kept.gateways.values() if node.name != network.config.name]
        asked.keep(kept.roster.network, [network.config.control[0], *others])

    return keep


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
    from node.gateway import serve

    network = Network(machine.load(), WgTool(), Rules(NftTool(), NftSegments(), Ip6()))
    network.load(read_only=True)
    network.rosters.verify()
    network.plan()
    network.leases.close()
    say(f"the state and {serve.__name__} are well")


def main(pulse: int, listener: int) -> int:
    """Run the service with stage 0's pipe and listening socket; the exit status."""
    config = machine.load()
    enrolment = Enrolment(tunnel_file.path())
    own = OwnKeys(config.state / KEYS, enrolment)
    own.load(enrolment.since)
    tunnels = Tunnels(first_device(), SecondDevice(config.state), IpRoutes(), own)
    rotation = Rotation(tunnels, config.name, config.state, is_able=takes_second())
    network = Network(config, tunnels, Rules(NftTool(), NftSegments(), Ip6()), rotation=rotation)
    try:
        network.load()
    except StateError as error:
        say(str(error))
        return 1
    pinger = Pinger()
    restore(network, pinger)

    import asyncio

    from node import release
    from node.gateway.serve import serve
    from node.gateway.serving.nginx import SystemdNginx

    release.leave_newer(release.running().number)
    try:
        network.rosters.verify()
        os.set_inheritable(listener, False)
        sock, nginx = socket.socket(fileno=listener), SystemdNginx()
        asyncio.run(serve(network, pinger, Pulse(pulse, network.config.state / SIGN), sock, nginx, naming(network)))
    except StateError as error:
        say(str(error))
        return 1
    except OrphanedError:
        say("stage 0 is gone")
        return 1
    return 0
