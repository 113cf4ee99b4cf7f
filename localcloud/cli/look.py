"""Commands that look: status, outputs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, cast

from localcloud import daemon
from localcloud.cli import balancer, exported, exports, gateways, members, mesh
from localcloud.cli.console import DIM, GREEN, RED, YELLOW, Console
from localcloud.cli.desk import chosen, engine, environment
from localcloud.cli.gateways import Told
from localcloud.cli.shape import Shape
from localcloud.cloud import PROJECT, Cloud, LocalCloudError
from localcloud.fabric import Fabric, MachineState

_COLOURS = {"running": GREEN, "booting": YELLOW, "stopped": DIM, "crashed": RED}


def status(cloud: Cloud, options: argparse.Namespace) -> int:
    """status: always 0 when it can be told."""
    machines = Fabric(cloud).machines() if cloud.directory.exists() else []
    outputs = cast("dict[str, Any]", json.loads(cloud.outputs.read_text())) if cloud.outputs.exists() else {}
    declared = mesh.peers(outputs)
    rank = {node.name: index for index, node in enumerate(declared)}
    machines.sort(key=lambda machine: (rank.get(machine.spec.node, len(rank)), machine.spec.node))
    told = gateways.ask(cloud, declared)
    leases = members.leases(told)
    nodes = declared + members.peers(machines, leases, outputs)
    if options.json:
        print(json.dumps(_document(cloud, machines, nodes, told, Shape(nodes, outputs, told)), indent=2))
        return 0
    console = Console()
    if not machines:
        console.say("no machines: `python -m localcloud up` makes those of the stack")
        return 0
    elsewhere, others = members.external(outputs), members.without_machine(machines, leases)
    pools = bool(leases) or any(members.pool_of(machine) for machine in machines)
    console.table(
        ["MACHINE", "CLOUD", "STATE", *(["POOL", "LEASE"] if pools else []), "ADDRESSES", "CUT FROM"],
        [
            [
                machine.spec.node,
                machine.spec.cloud,
                console.paint(machine.status, _COLOURS[machine.status]),
                *(_membership(machine, leases, console, unknown=not told.is_complete) if pools else []),
                ", ".join(_addresses(machine)),
                console.paint(", ".join("everything" if other == "*" else other for other in machine.cut_from), RED),
            ]
            for machine in machines
        ]
        + [
            [lease.name, "", *_of_no_machine(lease, console, is_external=lease.pool in elsewhere), "", ""]
            for lease in others
        ],
    )
    if nodes:
        console.say()
        mesh.table(cloud, nodes, Shape(nodes, outputs, told), console)
    for gateway, other in told.deaf:
        console.say(console.paint(f"{gateway} does not hear from {other}", YELLOW))
    balancer.table(told, outputs, console)
    if not daemon.is_running(cloud):
        console.say()
        console.say(console.paint("the daemon does not run, so no pool's machine is replaced: `up` starts it", YELLOW))
    return 0


def outputs(cloud: Cloud, options: argparse.Namespace) -> int:
    """outputs: 0 when the stack has been made."""
    choice = chosen(cloud, options.cwd.resolve() if options.cwd else PROJECT)
    if options.stack not in (None, choice.stack):
        raise LocalCloudError(f"there is no stack {options.stack} here: {choice.stack} is up")
    if options.write and not choice.is_own:
        raise LocalCloudError("--write makes files of what this project's stacks export: take --json for another's")
    driver = engine(cloud, choice, environment(cloud, choice.stack))
    found = driver.outputs()
    if options.write:
        for path in exports.write(options.write, exports.files(found, driver.outputs(show_secrets=True))):
            print(path)
        return 0
    if options.json:
        print(json.dumps(found, indent=2, sort_keys=True))
        return 0
    exported.show(found, Console())
    return 0


def _of_no_machine(lease: members.Lease, console: Console, *, is_external: bool) -> list[str]:
    """State, pool and lease of a machine that is not one of those here, for the table."""
    colour = GREEN if is_external and lease.is_working else YELLOW
    state = console.paint("external" if is_external else "gone", DIM)
    return [state, lease.pool, console.paint(lease.text, colour)]


def _membership(
    machine: MachineState, leases: Sequence[members.Lease], console: Console, *, unknown: bool
) -> list[str]:
    """Pool and lease of the machine, for the table; a lease that is not told may be `unknown`."""
    pool, lease = members.pool_of(machine), members.lease_of(machine, leases)
    if pool is None:
        return ["", ""]
    if lease is None:
        return [pool, console.paint("unknown" if unknown else "none", YELLOW)]
    return [pool, console.paint(lease.text, GREEN if lease.is_working else YELLOW)]


def _document(
    cloud: Cloud, machines: Sequence[MachineState], nodes: Sequence[mesh.Peer], told: Told, shape: Shape
) -> dict[str, object]:
    leases, known = members.leases(told), mesh.sessions(cloud, nodes)
    by_name = {node.name: node for node in nodes}
    listed: list[dict[str, object]] = []
    for machine in machines:
        node = by_name.get(machine.spec.node)
        session, lease = mesh.session_of(node, known, shape) if node else None, members.lease_of(machine, leases)
        listed.append(
            {
                "node": machine.spec.node,
                "id": machine.spec.id,
                "cloud": machine.spec.cloud,
                "pool": members.pool_of(machine),
                "lease": {"state": lease.state, "weight": lease.weight, "healthy": lease.healthy} if lease else None,
                "state": machine.status,
                "addresses": _addresses(machine),
                "cut_from": list(machine.cut_from),
                "overlay_address": node.address if node else None,
                "gateway": shape.gateway_of(node) if node else None,
                "direct": shape.direct(node) if node else [],
                "endpoint": session.endpoint if session else None,
                "handshake_age": mesh.handshake_age(session) if session else None,
                "received": session.received if session else None,
                "sent": session.sent if session else None,
            }
        )
    return {
        "schema_version": 1,
        "directory": str(cloud.directory),
        "daemon": daemon.is_running(cloud),
        "machines": listed,
        "gateways_answer": told.is_complete,
        "leases": [{"name": each.name, "pool": each.pool, "address": each.address} for each in leases],
        "topology": shape.topology,
        "external": [node.name for node in nodes if node.is_external],
        "load_balancer": next(iter(told.balancers.values()), None),
        "load_balancers": told.balancers,
    }


def _addresses(machine: MachineState) -> list[str]:
    found = [address for card in machine.spec.interfaces for address in (card.public, card.address6, card.address)]
    return list(dict.fromkeys(address for address in found if address))
