"""What the gateways tell of the network: leases, and the load balancer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from localcloud.cli import mesh
from localcloud.cloud import Cloud


@dataclass(frozen=True)
class Told:
    """What the gateways that answer tell together."""

    leases: Sequence[dict[str, Any]]
    balancer: dict[str, Any] | None
    """`load_balancer` of the first gateway that has one."""
    is_complete: bool
    """Whether every gateway has answered: else what is not told may be there all the same."""


def ask(cloud: Cloud, nodes: Sequence[mesh.Peer]) -> Told:
    """Ask the gateways among the nodes for their status, which they tell in full over the overlay alone."""
    answers = [_status(cloud, node) for node in nodes if node.role == "gateway"]
    told = [answer for answer in answers if answer is not None]
    return Told(
        leases=[lease for answer in told for lease in answer["leases"]],
        balancer=next((answer["load_balancer"] for answer in told if answer.get("load_balancer")), None),
        is_complete=len(told) == len(answers),
    )


def _status(cloud: Cloud, gateway: mesh.Peer) -> dict[str, Any] | None:
    """The gateway's status; None when it does not run or answer, or is still in its first stage."""
    url = f"https://{gateway.address}:8443/v1/status"
    # Its certificate is the stack's affair; this is asked on the very machine.
    said = mesh.run_on(cloud, gateway.name, "curl", "-sfk", "-m", "3", url)
    status = cast("dict[str, Any]", json.loads(said) if said else {})
    return status if "leases" in status else None
