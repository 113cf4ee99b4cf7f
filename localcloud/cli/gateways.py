"""What the gateways tell of the network: leases, who hangs where, direct links, and each one's load balancer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from localcloud.cli import mesh
from localcloud.cloud import Cloud

_ROSTER = "/var/lib/hybridnet/roster.json"


@dataclass(frozen=True)
class Told:
    """What the gateways that answer tell together."""

    leases: Sequence[dict[str, Any]] = ()
    silent: tuple[str, ...] = ()
    """Gateways without an answer: what they would tell may be there all the same."""
    balancers: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """`load_balancer` of each gateway that has one."""
    topology: str | None = None
    attached: Mapping[str, str] = field(default_factory=dict[str, str])
    """Nodes that hang on another gateway than their topology says, and on which."""
    links: frozenset[tuple[str, str]] = frozenset()
    """The direct tunnels that both ends have confirmed, each pair in order."""
    deaf: tuple[tuple[str, str], ...] = ()
    """Pairs of gateways of which the first does not hear from the second, though that one answers here."""
    revoked: frozenset[str] = frozenset()
    """WireGuard public keys and instance ids of those who were cut off."""

    @property
    def is_complete(self) -> bool:
        """Whether every gateway has answered."""
        return not self.silent


def ask(cloud: Cloud, nodes: Sequence[mesh.Peer]) -> Told:
    """Ask the gateways among the nodes for their status, which they tell in full over the overlay alone."""
    gateways = [node for node in nodes if node.role == "gateway"]
    with ThreadPoolExecutor(8) as pool:
        said = pool.map(partial(_status, cloud), gateways)
        answers = dict(zip([gateway.name for gateway in gateways], said, strict=True))
    told = {name: answer for name, answer in answers.items() if answer is not None}
    return Told(
        leases=[lease for answer in told.values() for lease in answer["leases"]],
        silent=tuple(name for name in answers if name not in told),
        balancers={name: answer["load_balancer"] for name, answer in told.items() if answer.get("load_balancer")},
        topology=next((answer["topology"] for answer in told.values() if answer.get("topology")), None),
        attached={node: at for answer in told.values() for node, at in answer.get("attached", {}).items()},
        links=frozenset((one, other) for answer in told.values() for one, other in answer.get("links", [])),
        deaf=tuple(
            (name, other)
            for name, answer in told.items()
            for other, state in answer.get("neighbours", {}).items()
            if other in told and not state["reachable"]
        ),
        revoked=frozenset(
            barred
            for answer in told.values()
            for each in answer.get("revoked", [])
            for barred in (*each["keys"], each["instance"])
            if barred
        ),
    )


def pool_groups(cloud: Cloud, nodes: Sequence[mesh.Peer], outputs: Mapping[str, Any]) -> dict[str, str]:
    """Pool -> the group of its machines, by the roster of a gateway; none where there are no groups or none runs."""
    if not cast("dict[str, object]", outputs.get("network") or {}).get("groups"):
        return {}
    for node in nodes:
        said = mesh.run_on(cloud, node.name, "cat", _ROSTER) if node.role == "gateway" else None
        if said:
            pools = cast("dict[str, dict[str, Any]]", json.loads(json.loads(said)["body"]).get("pools", {}))
            return {name: pool.get("group", "") for name, pool in pools.items()}
    return {}


def _status(cloud: Cloud, gateway: mesh.Peer) -> dict[str, Any] | None:
    """The gateway's status; None when it does not run or answer, or is still in its first stage."""
    url = f"https://{gateway.address}:8443/v1/status"
    # Its certificate is the stack's affair; this is asked on the very machine.
    said = mesh.run_on(cloud, gateway.name, "curl", "-sfk", "-m", "3", url)
    status = cast("dict[str, Any]", json.loads(said) if said else {})
    return status if "leases" in status else None
