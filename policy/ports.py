"""Policies on what firewalls let in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from components.settings.models import Settings
from components.settings.types import EVERYWHERE, Source
from overlay.model import CONTROL_PORT, ROTATION_PORT, WG_PORT
from overlay.serving import SERVING_PORT
from policy.firewalls import Opening, is_wide, is_within, openings, wide
from policy.model import Finding, Resource, Rule
from policy.user_data import listen_ports

SSH_PORT = 22
_MANY = 4
"""More networks than these are counted rather than named."""
_Ports = tuple[int, int]


def _from(sources: Iterable[object]) -> str:
    found = [str(source) for source in sources]
    more = f" and {len(found) - _MANY} more" if len(found) > _MANY else ""
    return ", ".join(found[:_MANY]) + more


def _lets_ssh_in(opening: Opening) -> bool:
    return opening.protocol in ("tcp", "all") and opening.first <= SSH_PORT <= opening.last


def ssh_open_to_world(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """Neighbouring networks count as one, so that halves of the internet are the internet."""
    admins = () if settings is None else settings.admin_cidrs
    sources = chain.from_iterable(opening.sources for opening in openings(resource) if _lets_ssh_in(opening))
    world = wide([source for source in sources if not is_within(source, admins)])
    if world:
        yield Finding(
            f"lets SSH (TCP {SSH_PORT}) in from {_from(world)}",
            "whoever scans the internet tries passwords and keys there",
            "Name the networks you administer from in hybrid-wireguard:adminCidrs, or use the overlay",
        )


def _inside(settings: Settings) -> list[Source]:
    """The overlay and the sites' own networks, as far as they are known."""
    found: list[Source] = [settings.overlay]
    if settings.overlay6 is not None:
        found.append(settings.overlay6)
    return found + [site.own_range for site in settings.sites.values() if site.own_range is not None]


def _tcp_ports(source: Source, settings: Settings) -> Iterator[_Ports]:
    """The TCP ports that the settings open to all of ``source``."""
    balancer = settings.load_balancer
    yield CONTROL_PORT, CONTROL_PORT
    # Cloudflare's networks, which it makes known itself, stand in no settings.
    if balancer.enabled and (balancer.cloudflare is not None or is_within(source, balancer.sources)):
        yield SERVING_PORT, SERVING_PORT
    # What is open to the world is for the policy of that name to say.
    if is_within(source, settings.admin_cidrs) or is_wide(source):
        yield SSH_PORT, SSH_PORT


def _udp_ports(source: Source, settings: Settings) -> Iterator[_Ports]:
    """The UDP ports that WireGuard has for all of ``source``; only gateways rotate, and may be closed to some."""
    yield WG_PORT, WG_PORT
    if is_within(source, settings.wireguard_sources):
        yield ROTATION_PORT, ROTATION_PORT


def _covers(declared: Iterable[_Ports], opening: Opening) -> bool:
    """Whether every port of ``opening`` is among those ``declared``."""
    port = opening.first
    for first, last in sorted(declared):
        if first <= port <= last:
            port = last + 1
    return port > opening.last


def _strangers(opening: Opening, settings: Settings) -> list[Source]:
    """Whom ``opening`` lets in from elsewhere than the stack's own networks."""
    inside = _inside(settings)
    return [source for source in opening.sources if not is_within(source, inside)]


def undeclared_port(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """ICMP has no ports, and UDP is the tunnels' (``wireguard-port``)."""
    if settings is None:
        return
    for opening in openings(resource):
        if opening.protocol in ("icmp", "udp"):
            continue
        undeclared: list[Source | str] = [
            source
            for source in _strangers(opening, settings)
            if opening.protocol != "tcp" or not _covers(_tcp_ports(source, settings), opening)
        ]
        undeclared += opening.lists
        if undeclared:
            yield Finding(
                f"lets {opening.what} in from {_from(undeclared)}",
                f"the settings open TCP {CONTROL_PORT} to everybody, {_declared(settings)}, and no more",
                "Serve it inside the overlay, or to the networks that the settings name for the port "
                "(adminCidrs, loadBalancer.sources)",
            )


def _declared(settings: Settings) -> str:
    balancer = settings.load_balancer
    serving = "no port for requests"
    if balancer.enabled:
        sources: Sequence[object] = balancer.sources if balancer.cloudflare is None else ("Cloudflare",)
        serving = f"{SERVING_PORT} to {'everybody' if set(EVERYWHERE) <= set(sources) else _from(sources)}"
    return f"{serving}, {SSH_PORT} to {_from(settings.admin_cidrs) or 'nobody'}"


def wireguard_port(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """The only UDP that comes from outside is WireGuard's."""
    if settings is None:
        return
    for opening in openings(resource):
        if opening.protocol != "udp":
            continue
        undeclared: list[Source | str] = [
            source for source in _strangers(opening, settings) if not _covers(_udp_ports(source, settings), opening)
        ]
        undeclared += opening.lists
        if undeclared:
            yield Finding(
                f"lets {opening.what} in from {_from(undeclared)}",
                f"the tunnels' ports are UDP {WG_PORT}, and {ROTATION_PORT} at gateways for "
                f"{_from(settings.wireguard_sources)}; nothing else of the network speaks UDP to the outside",
                f"Let WireGuard listen on {WG_PORT}, and serve anything else inside the overlay",
            )
    for port in listen_ports(resource):
        if port not in (WG_PORT, ROTATION_PORT):
            yield Finding(
                f"is told by its user data to let WireGuard listen on UDP {port}",
                f"firewalls and peers of this network know {WG_PORT}, and {ROTATION_PORT} while keys change",
                f"Write ListenPort = {WG_PORT}, or leave it to hybridnet",
            )


RULES = (
    Rule("ssh-open-to-world", "SSH is open to administrators' networks alone.", ssh_open_to_world),
    Rule("undeclared-port", "No port is open that the settings do not name.", undeclared_port),
    Rule("wireguard-port", "WireGuard listens on the port that the network declares.", wireguard_port),
)
