"""A machine's network cards: the shell script that plugs them into their routers. Pure.

The script stands in the machine's folder, because the supervisor runs it before every boot: a machine that comes up
again finds a fresh network namespace, as a computer finds fresh network cards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_network

from localcloud.cloud import Cloud
from localcloud.fabric.steering import Steering, Way
from localcloud.fabric.store import Record
from localcloud.spec import INTERNET, CloudName, Interface

GATEWAY = "172.31.1.1"
"""The address behind which Hetzner routes everything."""
GATEWAY6 = "fe80::1"
BY_MACHINE, BLACKHOLE = 1, 2
"""Metrics of the routes in cards' tables."""


def fingerprint(card: Interface, namespace: str) -> str:
    """Changes with everything that makes the card another: not with how its address is translated or what it is sent
    for others."""
    parts = (card.name, str(card.address), str(card.prefix), str(card.mtu), str(card.address6), namespace)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def script(cloud: Cloud, record: Record, numbers: Mapping[str, int], steerings: Mapping[str, Steering]) -> str:
    """`links.sh boot` makes the machine's namespace with all its cards, `links.sh plug CARD` one of them anew.

    `links.sh off` is for a machine whose power is off: its namespace stays, and must neither answer nor forward.
    """
    namespace = cloud.machine_namespace(record.slot)
    lines = ["#!/bin/sh", f"# Network cards of {record.spec.node}.", "set -eu", ""]
    for index, card in enumerate(record.spec.interfaces):
        router = router_namespace(cloud, card.network, numbers)
        outer, inner = _commands(record.spec.cloud, card, first=index == 0)
        device = record.device(card.name)
        lines += [
            f"unplug_{card.name}() {{ ip -n {router} link del {device} 2>/dev/null || true; }}",
            f"plug_{card.name}() {{",
            f"ip -n {router} -batch - <<'END'",
            f"link add {device} mtu {card.mtu} type veth peer name {card.name} mtu {card.mtu} netns {namespace}",
            *(line.replace("DEVICE", device) for line in outer),
            "END",
            f"ip -n {namespace} -batch - <<'END'",
            *inner,
            "END",
            *(_steer(router, steerings[card.network], device) if card.network in steerings else []),
            *(_answer_for_others(router, device) if _on_link(record.spec.cloud, card) else []),
            # Last, so that a card without it was only half made.
            f"ip -n {router} link set {device} alias {fingerprint(card, router)}",
            "}",
        ]
    names = [card.name for card in record.spec.interfaces]
    lines += [
        "",
        'case "$1" in',
        "boot)",
        *(f"unplug_{name}" for name in names),
        f"if [ -e /run/netns/{namespace} ]; then ip netns del {namespace}; fi",
        f"ip netns add {namespace}",
        f"ip -n {namespace} link set lo up",
        *(f"plug_{name}" for name in names),
        ";;",
        'plug) "unplug_$2"; "plug_$2" ;;',
        "off)",
        f"if [ -e /run/netns/{namespace} ]; then",
        *(f"ip -n {namespace} link set {name} down 2>/dev/null || true" for name in names),
        "fi",
        ";;",
        "esac",
    ]
    return "\n".join(lines) + "\n"


def router_namespace(cloud: Cloud, network: str, numbers: Mapping[str, int]) -> str:
    """Where the router of a network lives."""
    return cloud.internet if network == INTERNET else cloud.network_namespace(numbers[network])


def _commands(cloud: CloudName, card: Interface, *, first: bool) -> tuple[list[str], list[str]]:
    """(lines for the router's end, where DEVICE is its name; lines for the machine's end), for `ip -batch`."""
    outer, inner = ["link set DEVICE up"], [f"link set {card.name} up"]
    if card.address:
        outer4, inner4 = _commands4(cloud, card, card.address, first=first)
        outer, inner = outer + outer4, inner + inner4
    if card.address6:
        outer += [f"address add {GATEWAY6}/64 dev DEVICE nodad", f"route add {ip_network(card.address6)} dev DEVICE"]
        inner += [
            f"address add {card.address6}/128 dev {card.name} nodad",
            f"route add default via {GATEWAY6} dev {card.name}",
        ]
    return outer, inner


def _commands4(cloud: CloudName, card: Interface, address: str, *, first: bool) -> tuple[list[str], list[str]]:
    subnet = IPv4Network(f"{address}/{card.prefix}", strict=False)
    gateway = GATEWAY if card.network == INTERNET else str(subnet.network_address + 1)
    on_link = _on_link(cloud, card)
    outer = [f"address add {gateway}/32 dev DEVICE", f"route add {address}/32 dev DEVICE"]
    inner = [f"address add {address}/{card.prefix if on_link else 32} dev {card.name}"]
    if not on_link:
        inner.append(f"route add {gateway}/32 dev {card.name}")
        if card.network != INTERNET:
            inner.append(f"route add {subnet} via {gateway} dev {card.name} src {address}")
    if first:
        inner.append(f"route add default via {gateway} dev {card.name}")
    return outer, inner


def _on_link(cloud: CloudName, card: Interface) -> bool:
    """An EC2 subnet looks like one link. Elsewhere everything goes by the gateway."""
    return card.network != INTERNET and cloud == "aws"


def _steer(router: str, steering: Steering, device: str) -> list[str]:
    """What others' tables send by this card."""
    ways = steering.through(device)
    return [f"ip -n {router} -batch - <<'END'", *(f"route replace {route(way)}" for way in ways), "END"] if ways else []


def route(way: Way) -> str:
    """The way by a machine, in the words of `ip route`. The one with `BLACKHOLE` beside it holds when it is gone."""
    return f"{way.destination} via {way.via} dev {way.device} onlink table {way.table} metric {BY_MACHINE}"


def _answer_for_others(router: str, device: str) -> list[str]:
    """The router answers, at once, for the machines behind its other links."""
    files = {f"conf/{device}/proxy_arp": 1, f"neigh/{device}/proxy_delay": 0}
    writes = "; ".join(f"echo {value} >/proc/sys/net/ipv4/{file}" for file, value in files.items())
    return [f"ip netns exec {router} sh -euc '{writes}'"]
