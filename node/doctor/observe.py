"""Looks at this machine and at its peers, and changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any, cast

from node.command.local import ask as ask_locally
from node.command.shape import CommandError
from node.config import Config
from node.doctor import knowledge, machine, packets, probe
from node.doctor.away import Away, is_ipv4
from node.doctor.facts import (
    REKEY_SECONDS,
    Facts,
    Filter,
    Names,
    PeerFacts,
    Reach,
    Release,
    Rules,
    Unit,
    Way,
)
from node.doctor.knowledge import Known
from node.doctor.look import Look, see_tunnel
from node.doctor.probe import Echo, Target
from node.segments import TABLE as GROUPS
from node.wireguard import INTERFACE, SECOND
from overlay.model import CONTROL_PORT

_PINGS = 20
_MANY = 64
"""From so many peers on each gets few pings."""
_FEW = 4
_ANSWER_SECONDS = 2.0
_HANDSHAKE_SECONDS = 4.0
"""More for peers without a session: a first handshake that is lost is tried again after 5 s."""
_LARGE = 3
_OUTER = 16
"""So many silent peers are asked after outside of the tunnel."""
_FOLLOW_SECONDS = 13.0
"""How long a machine may take, while the doctor waits, to follow a release that its gateway has just got."""
_SETTLE_SECONDS = 9.0
"""How long the agent may take, while the doctor waits, to set where names are asked for, after the interface is new."""
_SIZES = (1440, 1420, 1400, 1380, 1370, 1360, 1340, 1320, 1300, 1280, 1240, 1200, 1100, 1000, 800, 576)
_ANYWHERE = ("1.1.1.1", "2606:4700:4700::1111")
"""Addresses on the internet, to which nothing is sent: they ask the routes for a way out."""
Say = Callable[[str], None]
_Pings = tuple[Reach, "Reach | None", "Reach | None", "int | None"]
"""Pings; once more where some were lost; large ones; and the largest that passed where those did not."""


def observe(config: Config, say: Say = lambda _: None) -> Facts:
    """The facts of this machine; OSError without the rights for a raw socket."""
    echo = Echo()
    try:
        with ThreadPoolExecutor(16) as pool:
            return _observed(config, echo, pool, say)
    finally:
        echo.close()


def _observed(config: Config, echo: Echo, pool: ThreadPoolExecutor, say: Say) -> Facts:
    before = machine.filtered()
    look = Look(config, knowledge.of(config))
    look.lacking += look.known.lacking
    see_tunnel(look)
    say("looking at the machine")
    units = pool.submit(look.tried, machine.units, dict[str, Unit]())
    releases = pool.submit(look.tried, lambda: machine.releases(config.state, config.role), Release())
    disk = pool.submit(look.tried, lambda: machine.disk(config.state), None)
    listing = pool.submit(look.tried, machine.firewall, None)
    journal = pool.submit(machine.journal)
    own = pool.submit(_own_status, config)

    say("asking whether the peers answer")
    told, peers = _see_peers(look, echo, pool, say)
    beyond = _beyond(look, echo, peers)
    found = units.result()
    names = _names(look, peers, found.get("systemd-resolved"), say)
    status, answers = own.result()
    release = _offered(releases.result(), told, status)
    if 0 < release.running < release.offered and release.failed is None and config.role != "gateway":
        say("this machine's release is older than its gateway's: waiting whether it follows")
        release = _following(config, release)
    uplink = _uplink(look, peers)
    expected = look.known.expected
    if config.role == "pool" and not any(peer.reach.answers for peer in peers) and told and told.answer == "yes":
        expected = replace(expected, refusal=machine.refusal())
    modes = machine.filter_modes([INTERFACE, *([uplink] if uplink else [])])
    return Facts(
        look.known.name,
        config.role,
        expected,
        look.tunnel,
        tuple(peers),
        found,
        release,
        disk.result(),
        _rules(look, listing.result(), peers),
        Filter(modes, machine.filtered() - before),
        names,
        machine.forwarding(),
        machine.conntrack(),
        uplink,
        told.skew if told else None,
        told.certificate if told else None,
        answers,
        status.get("healthy"),
        beyond,
        journal.result(),
        tuple(look.lacking),
    )


def _names(look: Look, peers: Sequence[PeerFacts], resolver: Unit | None, say: Say) -> Names:
    """How this machine and its gateway answer for a name; nothing where there are no names.

    Nor where another resolver is asked than systemd-resolved: whoever set that up has to tell it of the overlay's.
    """
    asked, wanted = knowledge.pair_of_names(look.known)
    can_ask = look.config.role == "gateway" or any(peer.reach.answers for peer in peers)
    if not asked or not can_ask or resolver is None or resolver.load == "not-found" or not machine.asks_resolved():
        return Names()
    here, there = machine.resolved(asked), probe.lookup(IPv4Address(wanted), asked)
    end = time.monotonic() + (_SETTLE_SECONDS if there == wanted and resolver.active == "active" else 0.0)
    while here != wanted and time.monotonic() < end:
        say("names are not known here: waiting whether the agent has them asked for at the gateway")
        time.sleep(0.5)
        here = machine.resolved(asked)
    return Names(resolver.active, machine.servers(INTERFACE) or (), asked, wanted, here, there)


def _see_peers(look: Look, echo: Echo, pool: ThreadPoolExecutor, say: Say) -> tuple[probe.Told | None, list[PeerFacts]]:
    """The peers as the interface has them and as they answer, and what the gateway told of itself."""
    is_gateway, known = look.config.role == "gateway", look.known.peers
    mine = [peer for peer in known if not peer.may_be_off]
    away = {peer.name: Away(pool, look, peer) for peer in mine if not is_gateway}
    answering = _answering(look, echo, mine)
    silent = [peer for peer in mine if str(peer.address) not in answering]
    away |= {peer.name: Away(pool, look, peer) for peer in silent[:_OUTER] if is_gateway}
    reaches = _pings(echo, mine, answering, look.tunnel.mtu if look.tunnel else 1420, say)
    ways = {name: each.way() for name, each in away.items()}
    found = [_peer(look, peer, reaches, ways.get(peer.name)) for peer in known]
    told = next((each.told() for each in away.values()), None)
    if not is_gateway and found and told and told.reply is None and found[0].reach.answers:
        told = probe.ask(look.known.trust.tls, str(found[0].address), CONTROL_PORT)
    if not is_gateway and told and told.reply and any(not peer.reach.answers for peer in found):
        say("asking the gateway on the internet whether it knows this machine")
        found = _seen_anew(look, found)
    _note_endpoints(look, found)
    return told, found


def _answering(look: Look, echo: Echo, peers: Sequence[Known]) -> set[str]:
    """The addresses of those that answer; those without a session get time for a handshake."""
    if look.tunnel is None or not look.tunnel.is_up:
        return set()
    # Often, so that whoever loses many packets is not taken for silent.
    interval = _ANSWER_SECONDS / _PINGS if len(peers) <= _MANY else 0.5
    answering = echo.first([str(peer.address) for peer in peers], _ANSWER_SECONDS, interval)
    now = time.time()
    late = [
        str(peer.address)
        for peer in peers
        if str(peer.address) not in answering
        and (state := look.states.get(peer.public_key))
        and now - state.handshake > REKEY_SECONDS
    ]
    return answering | echo.first(late, _HANDSHAKE_SECONDS, interval)


def _pings(echo: Echo, peers: Sequence[Known], answering: set[str], mtu: int, say: Say) -> dict[str, _Pings]:
    """By name; nobody who did not answer at first is asked again."""
    count = _PINGS if len(peers) <= _MANY else _FEW
    there = [peer for peer in peers if str(peer.address) in answering]
    found: dict[str, _Pings] = {peer.name: (Reach(_PINGS), None, None, None) for peer in peers}
    small = echo.ping([Target(str(peer.address), count) for peer in there])
    large = echo.ping([Target(str(peer.address), _LARGE, mtu) for peer in there])
    for peer, reach, first in zip(there, small, large, strict=True):
        again, largest, full = None, None, first
        if reach.lost:
            say(f"pings to {peer.name} were lost: once more")
            (again,) = echo.ping([Target(str(peer.address), count)])
        if not first.answers:  # once more, since a moment may take all three
            (full,) = echo.ping([Target(str(peer.address), _LARGE, mtu)])
        if not full.answers:
            say(f"large packets to {peer.name} are lost: looking for the largest that passes")
            sizes = [size for size in _SIZES if size < mtu]
            tries = echo.ping([Target(str(peer.address), 2, size) for size in sizes])
            largest = max((size for size, each in zip(sizes, tries, strict=True) if each.answers), default=None)
        found[peer.name] = reach, again, full, largest
    return found


def _peer(
    look: Look,
    peer: Known,
    reaches: Mapping[str, _Pings],
    way: Way | None,
) -> PeerFacts:
    state = look.states.get(peer.public_key)
    reach, again, full, largest = reaches.get(peer.name, (Reach(0), None, None, None))
    held = state.allowed_ips if state else frozenset[str]()
    device, prefix = machine.matched(str(peer.address))
    tunnels = (INTERFACE, SECOND)
    return PeerFacts(
        peer.name,
        peer.role,
        peer.address,
        look.known.book.first(peer.public_key),
        endpoint=peer.endpoint,
        is_present=state is not None,
        may_be_off=peer.may_be_off,
        seen_endpoints=(state.endpoint,) if state and state.endpoint else (),
        missing_allowed=tuple(sorted(peer.allowed - held)) if state else (),
        handshake_age=max(0, int(time.time()) - state.handshake) if state and state.handshake else None,
        reach=reach,
        again=again,
        full=full,
        largest=largest,
        way=way,
        routed_by=device,
        routed_as=prefix,
        has_route=device in tunnels or machine.leads_into(str(peer.address), tunnels),
    )


def _seen_anew(look: Look, peers: list[PeerFacts]) -> list[PeerFacts]:
    """The peers by what the gateway tells on the internet, for what this machine keeps may be old."""
    way = peers[0].way
    if way is None:
        return peers
    before, look.known = look.known, knowledge.refreshed(look.config, look.known, way.host)
    if (before.peers, before.book) == (look.known.peers, look.known.book):
        return peers
    see_tunnel(look)
    reaches = {peer.name: (peer.reach, peer.again, peer.full, peer.largest) for peer in peers}
    return [_peer(look, peer, reaches, way) for peer in look.known.peers]


def _note_endpoints(look: Look, peers: list[PeerFacts]) -> None:
    """Where peers were heard from meanwhile: somewhere else, if two machines have one key."""
    states = (
        look.tried(lambda: knowledge.interface_keys(look.config.state, look.known, INTERFACE)[1], look.states)
        if look.tunnel
        else look.states
    )
    for index, peer in enumerate(peers):
        state = states.get(peer.public_key)
        if state and state.endpoint and state.endpoint not in peer.seen_endpoints:
            peers[index] = replace(peer, seen_endpoints=(*peer.seen_endpoints, state.endpoint))


def _beyond(look: Look, echo: Echo, peers: Sequence[PeerFacts]) -> tuple[tuple[str, Reach], ...]:
    """Other nodes, to which a spoke's gateway leads."""
    if look.config.role == "gateway" or not any(peer.reach.answers for peer in peers):
        return ()
    found = echo.first([str(address) for _, address in look.known.others], 1.0, 0.25)
    return tuple((name, Reach(4, (0.0,) if str(address) in found else ())) for name, address in look.known.others)


def _uplink(look: Look, peers: Sequence[PeerFacts]) -> str | None:
    """The device that leads to a peer's machine, or out of this one; None without a way."""
    hosts = [peer.way.host for peer in peers if peer.way is not None and _is_address(peer.way.host)]
    ways = (machine.route(host, look.mark)[0] for host in (hosts[:1] or _ANYWHERE))
    return next((device for device in ways if device), None)


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def _own_status(config: Config) -> tuple[dict[str, Any], bool | None]:
    """What a gateway's service says of itself, and whether it answers at all; neither on other machines."""
    if config.role != "gateway":
        return {}, None
    try:
        return ask_locally(config.state, "GET", "/v1/status"), True
    except CommandError:
        return {}, False


def _offered(release: Release, told: probe.Told | None, status: Mapping[str, Any]) -> Release:
    """``release`` with the number of the gateway's, and what a gateway says of one that failed."""
    document = dict(status)
    if told is not None and told.reply is not None and told.reply.status == 200:
        document = document or cast("dict[str, Any]", json.loads(told.reply.body))
    running = document.get("release")
    return replace(release, offered=int(running["number"]) if running else 0)


def _following(config: Config, release: Release) -> Release:
    end = time.monotonic() + _FOLLOW_SECONDS
    while time.monotonic() < end and release.running < release.offered and release.failed is None:
        time.sleep(0.5)
        release = replace(machine.releases(config.state, config.role), offered=release.offered)
    return release


def _rules(look: Look, listing: machine.Listing | None, peers: Sequence[PeerFacts]) -> Rules:
    if listing is None:
        return Rules()
    is_missing, lacking, added = machine.judged(listing)
    wrong: tuple[str, ...] = ()
    if look.config.role == "gateway" and look.known.roster is not None and not is_missing:
        roster = look.known.roster
        wrong = look.tried(lambda: knowledge.wrong_sets(roster, look.config.name, listing.table), ())
    found = look.tried(lambda: packets.drops(listing.rules, _packets(look, peers), (GROUPS,)), [])
    return Rules(tuple(found), is_missing, tuple(lacking), tuple(added), wrong)


def _packets(look: Look, peers: Sequence[PeerFacts]) -> list[packets.Packet]:
    """Packets that have to pass here: those of peers to which something is lost, and what a gateway passes on."""
    found: list[packets.Packet] = []
    own, tunnel = look.known.expected.address, look.tunnel
    if own is None or tunnel is None:
        return found
    for peer in [each for each in peers if each.is_unwell and not each.may_be_off][:4]:
        found += packets.inner(str(own), str(peer.address), INTERFACE)
        place = next(iter(peer.seen_endpoints), peer.endpoint)
        host, _, port = (place or "").rpartition(":")
        if is_ipv4(host):
            device, local = machine.route(host, look.mark)
            is_called = look.config.role == "gateway"
            if device and local:
                found += packets.outer(local, host, device, tunnel.port, int(port), is_called=is_called)
    spokes = [peer for peer in peers if peer.role == "spoke" and not peer.may_be_off]
    if look.config.role == "gateway" and len(spokes) > 1:
        found += packets.forwarded(str(spokes[0].address), str(spokes[1].address), INTERFACE)
    return found
