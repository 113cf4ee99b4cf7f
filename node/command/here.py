"""How the network looks from a machine that is no gateway: its own tunnel, and who is at its other ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node import files
from node.command.table import BOLD, DIM, GREEN, RED, Cell, Paper, age, plain, size, trip
from node.config import Config
from node.health.facts import SERVICE, Facts
from node.network_document import parse_document
from node.wireguard import PeerState
from overlay.roster import parse


def names(state: Path) -> dict[str, str]:
    """Prefix of one address -> name of the node, as the machine's network document has them; none without one.

    Keys change while prefixes do not, so it is these that tell who a peer is.
    """
    try:
        known = files.read(state / "network.json", "")
        if known is None:
            return {}
        document = parse_document(str(known["document"]).encode())
        roster = parse(document.roster.body) if document.roster else None
    except (OSError, ValueError, KeyError, files.StateError):
        return {}
    declared = roster.nodes if roster else ()
    return {f"{node.address}/32": node.name for node in (*declared, *document.members)}


def told(config: Config, facts: Facts, peers: Mapping[str, PeerState], clock: float | None = None) -> dict[str, Any]:
    """What the machine knows, as ``--json`` prints it."""
    now = time.time() if clock is None else clock
    known, gateway = names(config.state), next(iter(facts.place.gateways), None)
    address = facts.place.address
    links: list[dict[str, Any]] = [
        {
            "name": _name(state, known, gateway),
            "allowed_ips": sorted(state.allowed_ips),
            "endpoint": state.endpoint,
            "handshake_age": round(max(0.0, now - state.handshake), 1) if state.handshake else None,
            "rx": state.received,
            "tx": state.sent,
        }
        for state in peers.values()
    ]
    return {
        "schema_version": 1,
        "name": known.get(f"{address}/32", config.name),
        "role": facts.role,
        "address": str(address) if address else None,
        "gateway": gateway,
        "rtt": facts.rtt,
        "is_up": bool(facts.interface and facts.interface.is_up),
        "mtu": facts.interface.mtu if facts.interface else None,
        "service": facts.units[SERVICE].state,
        "links": sorted(links, key=lambda link: (link["name"] != gateway, str(link["name"]))),
    }


def _name(state: PeerState, known: Mapping[str, str], gateway: str | None) -> str | None:
    """Who a peer is: the gateway leads to more than itself, and whoever carries nothing yet is not known."""
    if any(not each.endswith(("/32", "/128")) for each in state.allowed_ips):
        return gateway
    return next((known[each] for each in sorted(state.allowed_ips) if each in known), None)


def is_well(found: Mapping[str, Any]) -> bool:
    return bool(found["is_up"]) and found["rtt"] is not None


def write(paper: Paper, found: Mapping[str, Any]) -> None:
    """Put it on ``paper``."""
    name, address = plain(found["name"]), found["address"] or "no address yet"
    paper.say(f"{paper.paint(name, BOLD)}  {address}  {found['role']}, service {plain(found['service'])}")
    if not found["is_up"]:
        paper.say("the tunnel's interface is not up", RED)
    elif found["rtt"] is None:
        paper.say(f"{plain(found['gateway'] or 'the gateway')} does not answer through the tunnel", RED)
    else:
        paper.say(f"{plain(found['gateway'])} answers through the tunnel in {trip(found['rtt'])}", GREEN)
    paper.table(
        ("PEER", "ENDPOINT", "HANDSHAKE", "RECEIVED", "SENT", "CARRIES"),
        (
            (
                Cell(plain(link["name"] or "-", 40)),
                Cell(plain(link["endpoint"] or "-", 50)),
                Cell(age(link["handshake_age"]), RED if link["handshake_age"] is None else "", is_number=True),
                Cell(size(link["rx"]), "", is_number=True),
                Cell(size(link["tx"]), "", is_number=True),
                Cell(plain(", ".join(link["allowed_ips"]) or "nothing yet", 60), DIM),
            )
            for link in found["links"]
        ),
    )
