"""What is known of this machine while the doctor looks, and its end of the tunnel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from node.config import Config
from node.doctor import knowledge, machine
from node.doctor.facts import Tunnel
from node.doctor.knowledge import Knowledge
from node.doctor.machine import Link, ToolError
from node.wireguard import INTERFACE, PeerState, WireGuardError
from overlay.model import WG_PORT

_Found = TypeVar("_Found")


@dataclass
class Look:
    """What is known while the doctor looks."""

    config: Config
    known: Knowledge
    tunnel: Tunnel | None = None
    states: Mapping[str, PeerState] = field(default_factory=dict[str, PeerState])
    mark: str = "off"
    """What the tunnel's own packets are marked with, for the rules by which they are routed."""
    lacking: list[str] = field(default_factory=list[str])

    def tried(self, job: Callable[[], _Found], instead: _Found) -> _Found:
        """What ``job`` finds; where its tool fails that is noted, and it is ``instead``."""
        try:
            return job()
        except (ToolError, WireGuardError, OSError, ValueError) as error:
            self.lacking.append(str(error))
            return instead


def see_tunnel(look: Look) -> None:
    links = look.tried(lambda: machine.parse_links(machine.run("ip", "-j", "address", "show")), dict[str, Link]())
    link = links.get(INTERFACE)
    if link is None:
        return
    key, look.states = look.tried(
        lambda: knowledge.interface_keys(look.config.state, look.known, INTERFACE), ("", look.states)
    )
    port = look.tried(lambda: int(machine.run("wg", "show", INTERFACE, "listen-port")), WG_PORT)
    look.mark = look.tried(lambda: machine.run("wg", "show", INTERFACE, "fwmark").strip(), "off")
    strangers = tuple(sorted(look.states.keys() - look.known.keys)) if look.known.keys else ()
    # An address of the overlay may stand on any interface.
    own = [each for other in links.values() for each in other.addresses if each in look.known.expected.others]
    addresses = tuple(dict.fromkeys((*link.addresses, *own)))
    look.tunnel = Tunnel(link.is_up, link.mtu, addresses, key, port, strangers)
