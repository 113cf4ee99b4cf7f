"""The pools' members: their machines, and the leases that the gateways say they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, cast

from localcloud import control
from localcloud.cli import gateways, mesh
from localcloud.cli.console import YELLOW, Console
from localcloud.cli.gateways import Told
from localcloud.cloud import Cloud
from localcloud.fabric import Fabric, MachineState
from localcloud.fabric.process import wait_until

JOIN_SECONDS = 180
ROLE = "burst"
_FULL_WEIGHT = 100
_STAYING = ("pending", "in-service")
_NOTICES = ("spot_action", "preempted")
"""What the metadata of a machine tells that is going to be taken."""


@dataclass(frozen=True)
class Lease:
    """A lease as its gateway tells it."""

    name: str
    pool: str
    address: str
    public_key: str
    instance_id: str
    state: str
    """`active`, `draining` or `left`."""
    weight: int
    healthy: bool

    @property
    def is_working(self) -> bool:
        """Whether work may be given to its machine."""
        return self.state == "active" and self.healthy

    @property
    def text(self) -> str:
        """The lease in few words."""
        weight = "" if self.weight == _FULL_WEIGHT else f", weight {self.weight}"
        return self.state + weight + ("" if self.healthy else ", does not answer")


def leases(told: Told) -> list[Lease]:
    """The leases that the gateways tell of."""
    rows = ({field.name: row[field.name] for field in fields(Lease)} for row in told.leases)
    found = {lease.public_key: lease for lease in (Lease(**row) for row in rows)}
    return sorted(found.values(), key=lambda lease: lease.name)


def pool_of(machine: MachineState) -> str | None:
    """The pool that the machine is of, in a group or not."""
    labels = cast("Mapping[str, object]", machine.spec.metadata.get("labels") or {})
    return machine.spec.pool or cast("str | None", labels.get("pool"))


def lease_of(machine: MachineState, known: Sequence[Lease]) -> Lease | None:
    """The machine's lease, if it has joined."""
    pool = pool_of(machine)
    return next((each for each in known if (each.pool, each.instance_id) == (pool, machine.spec.instance_id)), None)


def peers(
    machines: Sequence[MachineState],
    known: Sequence[Lease],
    outputs: Mapping[str, Any],
    groups: Mapping[str, str] = MappingProxyType({}),
) -> list[mesh.Peer]:
    """Who has joined and is still there, by the names that commands take; ``groups`` are the pools'."""
    exported = cast("list[dict[str, str]]", outputs.get("pools") or [])
    sites = {pool["name"]: pool["site"] for pool in exported}
    held = [(machine.spec.node, lease) for machine in machines if (lease := lease_of(machine, known))]
    return [
        mesh.Peer(
            node,
            sites.get(lease.pool, ""),
            ROLE,
            lease.address,
            lease.public_key,
            groups.get(lease.pool, ""),
            node=lease.name,
        )
        for node, lease in held
    ]


def external(outputs: Mapping[str, Any]) -> set[str]:
    """The pools whose machines others make, wherever they are."""
    pools = cast("list[dict[str, str]]", outputs.get("pools") or [])
    return {pool["name"] for pool in pools if pool.get("kind") == "external"}


def without_machine(machines: Sequence[MachineState], known: Sequence[Lease]) -> list[Lease]:
    """Leases of which no machine here is: of machines that are gone, and of external pools."""
    held = [lease_of(machine, known) for machine in machines]
    return [lease for lease in known if lease not in held]


def wait(cloud: Cloud, fabric: Fabric, nodes: Sequence[mesh.Peer], console: Console) -> bool:
    """Wait until every pool has as many members as it shall have, running and joined. Whether it came to that."""
    if not _missing(cloud, fabric, Told()):
        return True
    console.step("waiting until the pools' machines have joined")
    missing: list[str] = []

    def complete() -> bool:
        missing[:] = _missing(cloud, fabric, gateways.ask(cloud, nodes))
        if missing:
            console.detail(f"waiting for {', '.join(missing)}")
        return not missing

    if wait_until(complete, JOIN_SECONDS, interval=0.5):
        return True
    console.say(console.paint(f"still missing after {JOIN_SECONDS} s: {', '.join(missing)}", YELLOW))
    console.say("look at a machine with `python -m localcloud shell NODE`: `journalctl -u hybridnet`")
    return False


def _missing(cloud: Cloud, fabric: Fabric, told: Told) -> list[str]:
    """Members that have not joined and may, and pools whose members are still to come."""
    known = leases(told)
    pools = cast("list[dict[str, Any]]", control.ask(cloud, "pools"))
    going = {node for pool in pools for node, phase in pool["members"].items() if phase not in _STAYING}
    machines = [
        machine
        for machine in fabric.machines()
        if pool_of(machine) and machine.spec.node not in going and not any(map(machine.spec.metadata.get, _NOTICES))
    ]
    found: list[str] = []
    for machine in machines:
        lease = lease_of(machine, known)
        if (lease is None or not lease.is_working) and machine.spec.instance_id not in told.revoked:
            found.append(machine.spec.node)
    for pool in pools:
        there = sum(machine.spec.pool == pool["name"] for machine in machines)
        if there < pool["desired"]:
            found.append(f"{pool['desired'] - there} more of {pool['name']}")
    return found
