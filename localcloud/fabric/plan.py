"""Which routers the machines need and what each lets pass. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from localcloud.cloud import DESK_ADDRESS, EDGE_ADDRESS, GOOGLE_ADDRESS, STRANGER_ADDRESS
from localcloud.fabric.firewall import Cut, Port, Router
from localcloud.fabric.store import Record
from localcloud.spec import INTERNET, Interface

DESK_DEVICE = "desk"
STRANGER_DEVICE = "stranger"
GOOGLE_DEVICE = "google"
EDGE_DEVICE = "edge"
PLACES = {
    DESK_DEVICE: DESK_ADDRESS,
    STRANGER_DEVICE: STRANGER_ADDRESS,
    GOOGLE_DEVICE: GOOGLE_ADDRESS,
    EDGE_DEVICE: EDGE_ADDRESS,
}
"""Who is on the internet without being a machine: the internet's end of the link to it -> its address."""


def uplink_device(number: int) -> str:
    """The internet's end of the link to the router of private network `number`."""
    return f"n{number}"


def uplink_address(number: int) -> str:
    """The router's own address on that link; what it says itself comes from there: a packet is too big, say."""
    return f"100.64.1.{number}"


def routers(
    records: Mapping[str, Record], numbers: Mapping[str, int], cuts: Collection[frozenset[str]] = ()
) -> dict[str, Router]:
    """`INTERNET` or private network id -> what that router connects."""
    ordered = sorted(records.values(), key=lambda record: record.slot)
    ports: dict[str, list[Port]] = {INTERNET: [], **{network: [] for network in numbers}}
    for record in ordered:
        for card in record.spec.interfaces:
            ports[card.network].append(_port(record, card))
    ports[INTERNET] += [Port(device, (address,)) for device, address in PLACES.items()]
    for network, number in numbers.items():
        sources = (*outside_addresses(records, network), uplink_address(number))
        ports[INTERNET].append(Port(uplink_device(number), sources))
    return {
        network: Router(tuple(found), private=network != INTERNET, cuts=_cuts(ordered, network, cuts))
        for network, found in ports.items()
    }


def outside_addresses(records: Mapping[str, Record], network: str) -> tuple[str, ...]:
    """The addresses under which machines of a private network appear on the internet, sorted."""
    cards = [card for record in records.values() for card in record.spec.interfaces if card.network == network]
    return tuple(sorted({address for card in cards for address in (card.public, card.nat) if address}))


def _port(record: Record, card: Interface) -> Port:
    spec = record.spec
    private = card.network != INTERNET
    # Hetzner's firewalls do not filter private networks.
    filtered = not (private and spec.cloud == "hetzner")
    return Port(
        device=record.device(card.name),
        addresses=tuple(filter(None, (card.address, card.address6))),
        any_source=spec.forwarding and private,
        ingress=spec.ingress if filtered else None,
        egress=spec.egress if filtered else None,
        public={card.address: card.public} if private and card.address and card.public else None,
        shared={card.address: card.nat} if private and card.address and card.nat and not card.public else None,
    )


def _cuts(ordered: Collection[Record], network: str, cuts: Collection[frozenset[str]]) -> tuple[Cut, ...]:
    found: list[Cut] = []
    for record in ordered:
        for card in record.spec.interfaces:
            if card.network != network:
                continue
            device = record.device(card.name)
            if frozenset({record.spec.node}) in cuts:
                found.append(Cut(device))
                continue
            for other in ordered:
                if other is not record and frozenset({record.spec.node, other.spec.node}) in cuts:
                    addresses = _seen_from(network, other)
                    if addresses:
                        found.append(Cut(device, addresses))
    return tuple(found)


def _seen_from(network: str, record: Record) -> tuple[str, ...]:
    """Addresses that are this machine's alone, as machines of the network know it."""
    addresses: set[str] = set()
    for card in record.spec.interfaces:
        own = card.address if card.network in (network, INTERNET) else None
        addresses |= {address for address in (own, card.public, card.address6) if address}
    return tuple(sorted(addresses))
