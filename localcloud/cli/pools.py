"""Commands that are the clouds' part with pools: how many members, and taking one away."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any, cast

from localcloud import control, daemon
from localcloud.cli.console import Console
from localcloud.cloud import NETNS, Cloud, LocalCloudError
from localcloud.fabric import Fabric, MachineState
from localcloud.fabric.process import wait_until

SCALE_SECONDS = 300
"""A member that is told to leave may take AWS's 120 s for it."""
LONGEST_NOTICE = 300


def scale(cloud: Cloud, options: argparse.Namespace) -> int:
    """scale: 0 when the pool has that many members and all of them run."""
    console, fabric = Console(), Fabric(cloud)
    _check_size(cloud, options.pool, options.size)
    _serving(cloud)
    control.ask(cloud, "scale", pool=options.pool, size=options.size)
    console.step(f"{options.pool} shall have {_members(options.size)}")

    def done() -> bool:
        if not cloud.directory.exists():
            raise LocalCloudError("the local cloud went down meanwhile")
        members = _of(fabric, options.pool)
        found = Counter(member.status for member in members)
        console.detail(", ".join(f"{count} {status}" for status, count in sorted(found.items())) or "no members")
        return found == Counter(running=options.size)

    if not wait_until(done, SCALE_SECONDS, interval=0.2):
        raise LocalCloudError(
            f"{options.pool} did not come to have {_members(options.size)} within {SCALE_SECONDS} s: `python -m "
            f"localcloud status` shows those that there are, {cloud.daemon_log} says what was tried"
        )
    names = ", ".join(member.spec.node for member in _of(fabric, options.pool))
    console.say(f"{options.pool} has {_members(options.size)}" + (f": {names}" if names else ""))
    return 0


def _check_size(cloud: Cloud, pool: str, size: int) -> None:
    """Refuse what the stack does not want: Google's groups know no bounds, and the gateway lets no more in."""
    text = cloud.outputs.read_text() if cloud.outputs.exists() else "{}"
    outputs = cast("dict[str, list[dict[str, Any]]]", json.loads(text))
    for declared in outputs.get("pools", []):
        if declared["name"] == pool and declared.get("kind") == "external":
            raise LocalCloudError(f"{pool} is an external pool: what makes its machines says how many there are")
        if declared["name"] == pool and not declared["min"] <= size <= declared["max"]:
            raise LocalCloudError(
                f"{pool} cannot have {_members(size)}: the stack says {declared['min']} to {declared['max']}; "
                "change the pool's min and max and run `up`"
            )


def interrupt(cloud: Cloud, options: argparse.Namespace) -> int:
    """interrupt: 0 when the machine has been told."""
    if options.rebalance and options.after is not None:
        raise LocalCloudError("--after is when the machine is taken, and --rebalance takes none: give one of the two")
    if options.after is not None and not 0 <= options.after <= LONGEST_NOTICE:
        raise LocalCloudError(f"--after takes seconds from 0 to {LONGEST_NOTICE}")
    _serving(cloud)
    if options.rebalance:
        control.ask(cloud, "rebalance", node=options.node)
        Console().say(f"{options.node} is recommended for rebalancing")
        return 0
    seconds = control.ask(cloud, "interrupt", node=options.node, after=options.after)
    Console().say(f"{options.node} has the notice; it is taken in {seconds:g} s")
    return 0


def identity(cloud: Cloud, options: argparse.Namespace) -> int:
    """identity: always 0. Before the first `up` too, whose configuration may need it."""
    del options
    from localcloud.fabric.authority import Authority  # its cryptography takes long to import

    Console().say(Authority(cloud).aws_certificate.strip())
    return 0


def _serving(cloud: Cloud) -> None:
    """See to it that the daemon serves."""
    namespace = NETNS / cloud.desk
    if not namespace.exists():
        raise LocalCloudError("the local cloud is not up: `python -m localcloud up` makes it")
    daemon.ensure(cloud, namespace)


def _of(fabric: Fabric, pool: str) -> list[MachineState]:
    return [machine for machine in fabric.machines() if machine.spec.pool == pool]


def _members(count: int) -> str:
    return f"{count} member" + ("" if count == 1 else "s")
