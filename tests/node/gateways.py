"""Three sites with a gateway each: their gateways without a service around them, and ways of packets through them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from node import config as machine
from node import joining
from node.gateway.audit import Audit
from node.gateway.directory import Directory
from node.gateway.lease import Lease
from node.gateway.network import Network
from node.neighbour_document import NEIGHBOUR, parse_neighbour
from node.network_document import NetworkDocument, Request, parse_document, request_body
from node.network_words import Report
from node.reconcile import Wanted, wanted
from overlay.model import Network as Overlay
from overlay.model import Node, Site
from overlay.pools import Pool, token_digest
from overlay.roster import Roster
from overlay.topology import peers_of
from tests.node.pools import key_pair
from tests.node.support import MemoryFirewall, MemoryWireGuard, Stack, Time, key, signed

SITES = ("a", "b", "c")
ADDRESSES = {site: f"127.0.{number}.254" for number, site in enumerate(SITES, 1)}
KEYS = {site: key_pair() for site in SITES}
SPOKE_KEYS = {site: key_pair() for site in SITES}


def three_sites(topology: str = "sites", number: int = 1, **changes: object) -> Roster:
    """Gateways ``gw-a`` (the root) to ``gw-c``, spokes ``a-1`` to ``c-1``, and a pool ``burst-a`` to ``burst-c``."""
    sites = tuple(
        Site(site, "hetzner", IPv4Network(f"127.0.{number}.0/24"), "fsn1") for number, site in enumerate(SITES, 1)
    )
    nodes = [
        Node(f"gw-{site}", site, IPv4Address(ADDRESSES[site]), "gateway", KEYS[site][1], f"198.51.100.{index}:51820")
        for index, site in enumerate(SITES, 1)
    ]
    nodes += [
        Node(f"{site}-1", site, IPv4Address(f"127.0.{index}.1"), "spoke", SPOKE_KEYS[site][1])
        for index, site in enumerate(SITES, 1)
    ]
    pools = tuple(
        Pool(
            f"burst-{site}", site, IPv4Network(f"127.0.{index}.64/26"), 8, token_digest(site), 300, 600, 8000, "/health"
        )
        for index, site in enumerate(SITES, 1)
    )
    network = Overlay(IPv4Network("127.0.0.0/16"), sites, topology)
    made = Roster(number, network, 1380, tuple(nodes), (IPv4Network("0.0.0.0/0"),), (), pools=pools)
    return replace(made, **changes)  # type: ignore[arg-type]


async def _nothing() -> None:
    """Stands for what is kept elsewhere."""


@dataclass
class Gateway:
    """One gateway's network and what it tells, without a service."""

    site: str
    network: Network
    wireguard: MemoryWireGuard
    time: Time
    keep: Callable[[], Awaitable[None]] = _nothing
    directory: Directory = field(init=False)

    def __post_init__(self) -> None:
        audit = Audit(self.network.config.state / "audit.jsonl")
        self.directory = Directory(self.network, KEYS[self.site][0], audit, self.keep, lambda: None)

    @property
    def name(self) -> str:
        return f"gw-{self.site}"

    def join(self, number: int) -> Lease:
        """A machine that joins the pool of this site."""
        request = joining.Request(f"burst-{self.site}", key(f"{self.site}{number}"), f"i-{self.site}{number}")
        lease = self.network.leases.join(request, None, None, lambda _: True).lease
        self.network.apply_leases()
        return lease

    def peers(self) -> dict[str, Wanted]:
        """What the interface has, by public key."""
        return {
            each.public_key: Wanted(
                each.public_key,
                each.endpoint,
                tuple(map(IPv4Network, each.allowed_ips)),
                each.keepalive,
                each.allowed_ips,
            )
            for each in self.wireguard.state.values()
        }

    def bare(self) -> set[str]:
        """The public keys of the peers that carry nothing."""
        return {each.public_key for each in self.wireguard.state.values() if not each.allowed_ips}

    def ask(
        self, node: Node, report: Report | None = None, roster: str | None = None, **changes: object
    ) -> NetworkDocument:
        """What a node is told that asks over the overlay; Refusal."""
        request = replace(Request(node.name, roster, report), **changes)  # type: ignore[arg-type]
        answer = self.directory.ask(str(node.address), None, request_body(request), by_tunnel=True)
        return parse_document(asyncio.run(_awaited(answer)))


async def _awaited(answer: Awaitable[bytes]) -> bytes:
    return await answer


class Trio:
    """The three gateways; they hear of each other when :meth:`exchange` is called."""

    def __init__(self, folder: Path, stack: Stack, roster: Roster | None = None) -> None:
        self.folder, self.stack, self.time = folder, stack, Time()
        self.roster = roster or three_sites()
        self.gateways = {f"gw-{site}": self.made(site) for site in SITES}
        self.push(self.roster)

    def made(self, site: str) -> Gateway:
        """A gateway that starts, with what it has on its disk."""
        state = self.folder / site
        state.mkdir(exist_ok=True)
        config = machine.Config(
            "gateway", f"gw-{site}", (IPv4Address(ADDRESSES[site]), 8443), self.stack.public_key, state, state
        )
        wireguard = MemoryWireGuard()
        network = Network(config, wireguard, MemoryFirewall(), self.time.clock, self.time.ticks)
        network.load()
        return Gateway(site, network, wireguard, self.time)

    def push(self, roster: Roster) -> None:
        """Every gateway takes a roster and follows it."""
        self.roster = roster
        for gateway in self.gateways.values():
            assert gateway.network.rosters.offer(*signed(self.stack, roster))[0] in (200, 201)
            follow(gateway)
        self.exchange()

    def exchange(self, *dead: str) -> None:
        """All but the dead ask each other until nobody has anything new, and follow."""
        alive = [gateway for name, gateway in self.gateways.items() if name not in dead]
        for _ in range(3):
            for one in alive:
                for other in alive:
                    if one is not other:
                        address = str(one.network.config.control[0])
                        known = one.network.neighbours.answers.get(other.name)
                        claim = joining.possession(KEYS[one.site][0], KEYS[other.site][1], NEIGHBOUR)
                        told = other.directory.neighbour(
                            address, claim, known.version if known else None, by_tunnel=True
                        )
                        if told is not None:
                            answer = parse_neighbour(told)
                            one.network.revocations.merge(answer.revocations)
                            one.network.neighbours.take(answer)
            for gateway in alive:
                gateway.network.reconcile()

    def node(self, name: str) -> Node:
        return self.roster.node(name)

    def report(self, name: str, gateway: str, links: tuple[str, ...] = (), stamp: int = 1) -> Report:
        return Report(name, stamp, gateway, links)

    def close(self) -> None:
        for gateway in self.gateways.values():
            gateway.network.leases.close()


def follow(gateway: Gateway) -> None:
    """What a service does when it has a roster."""
    kept = gateway.network.rosters.kept
    assert kept
    elsewhere = {pool: home.name for pool, home in kept.homes.items() if home.name != gateway.name}
    gateway.network.leases.follow(kept.roster, elsewhere)
    gateway.network.reconcile()


def spoke_peers(
    roster: Roster, node: Node, nodes: list[Node], attached: Mapping[str, str] = {}, links: Mapping[str, set[str]] = {}
) -> dict[str, Wanted]:
    """The peers of a spoke that hangs where ``attached`` says."""
    made = peers_of(roster.network, node, nodes, links, attached)
    return {peer.public_key: wanted(peer) for peer in made}


def way(peers: Mapping[str, Mapping[str, Wanted]], keys: Mapping[str, str], source: Node, target: Node) -> list[str]:
    """The nodes that a packet goes through, as WireGuard's cryptokey routing passes it; empty when one drops it.

    ``peers`` are every node's, by name; ``keys`` the names by public key.
    """
    at, passed = source.name, [source.name]
    while at != target.name:
        chosen = _towards(peers[at], target.address)
        following = keys.get(chosen or "")
        if following is None or following in passed:
            return []
        back = _towards(peers[following], source.address)
        if keys.get(back or "") != at:
            return []
        at = following
        passed.append(at)
    return passed


def _towards(peers: Mapping[str, Wanted], address: IPv4Address) -> str | None:
    """The peer whose allowed-ips have the longest prefix of ``address``."""
    found = [
        (each.prefixlen, key)
        for key, peer in peers.items()
        for each in map(IPv4Network, peer.prefixes)
        if address in each
    ]
    return max(found)[1] if found else None
