"""How many bytes are rendered, and how they grow with the network."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any, cast

import yaml

from bench.figures import Row
from bench.stacks import PREFIX, stack_config
from components.plan import Plan, make_plan, nodes_of
from components.settings import load as settings
from components.settings.models import Settings
from components.userdata import LIMITS, largest_user_data
from overlay.model import Node
from overlay.roster import Roster, canonical
from overlay.topology import peers_of
from overlay.wgconf import Interface, wg_quick

SIZES = (10, 100, 1000)


def read(count: int) -> Settings:
    """The settings of the generated stack with `count` spokes."""
    config = cast("dict[str, Any]", yaml.safe_load(stack_config(count))["config"])
    return settings.load(
        {key.removeprefix(PREFIX): json.dumps(value) for key, value in config.items()}, "hybrid-wireguard", "dev", ()
    )


def with_keys(nodes: list[Node]) -> tuple[Node, ...]:
    """The nodes with a key each, as long as real ones are, and the gateway's endpoint."""
    return tuple(
        replace(
            node,
            public_key=base64.b64encode(index.to_bytes(32, "big")).decode(),
            endpoint="198.18.1.10:51820" if node.role == "gateway" else None,
        )
        for index, node in enumerate(nodes)
    )


def roster_bytes(config: Settings, plan: Plan) -> int:
    """The roster, which is pushed and not part of any user data."""
    roster = Roster(
        number=1,
        network=plan.network,
        mtu=plan.mtu,
        nodes=with_keys(nodes_of(config)),
        wireguard_sources=config.wireguard_sources,
        admin_cidrs=config.admin_cidrs,
    )
    return len(canonical(roster))


def by_hand_bytes(config: Settings, plan: Plan) -> int:
    """A wg-quick configuration of the gateway with all its peers, as user data by hand would hold it."""
    nodes = with_keys(nodes_of(config))
    gateway = next(node for node in nodes if node.role == "gateway")
    interface = Interface(IPv4Interface(f"{gateway.address}/16"), gateway.public_key, plan.mtu)
    return len(wg_quick(interface, peers_of(plan.network, gateway, nodes)))


def rows() -> list[Row]:
    """The table's lines on bytes: the largest document of each role, and the roster.

    A document may take half of the smallest limit where its role stands: a gateway on Hetzner, a spoke anywhere.
    """
    found: list[Row] = []
    for count in SIZES:
        config = read(count)
        plan = make_plan(config)
        gateway, *_ = (largest_user_data(config, plan, machine) for machine in plan.gateways.values())
        spoke = max(largest_user_data(config, plan, machine) for machine in plan.spokes.values())
        by_hand = by_hand_bytes(config, plan)
        found += [
            Row(
                f"user data of the gateway, {count} spokes",
                f"{gateway} B",
                f"{by_hand} B",
                f"{gateway / by_hand:.2f}",
                f"<= {LIMITS['hetzner'] // 2} B",
            ),
            Row(f"user data of a spoke, {count} spokes", f"{spoke} B", aim=f"<= {min(LIMITS.values()) // 2} B"),
            Row(f"roster, {count} spokes", f"{roster_bytes(config, plan)} B"),
        ]
    return found
