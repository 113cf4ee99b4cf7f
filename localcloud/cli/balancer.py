"""The load balancer: where requests go, and which machines get them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from localcloud.cli.console import DIM, GREEN, RED, YELLOW, Console
from localcloud.cli.gateways import Told

_TITLES = ["TARGET", "ADDRESS:PORT", "HEALTHY", "IN ROTATION", "WEIGHT", "BACKUP", "DRAINING"]
_UNKNOWN = "unknown, since the gateway does not answer"


def table(told: Told, outputs: Mapping[str, Any], console: Console) -> None:
    """Print, below an empty line, the balancer's state and its targets; nothing for a stack without one."""
    if not _is_there(told, outputs):
        return
    console.say()
    where, balancer = _where(outputs), told.balancer
    if balancer is None:
        console.say(f"{where}: {console.paint(_UNKNOWN, YELLOW)}")
        return
    state = console.paint(balancer["state"], GREEN if balancer["state"] == "serving" else YELLOW)
    certificate = cast("dict[str, str] | None", balancer["certificate"])
    until = f"certificate until {certificate['not_after'][:10]}" if certificate else "no certificate"
    console.say(f"{where}: {state}, {until}")
    if balancer["problem"]:
        console.say(console.paint(f"problem: {balancer['problem']}", RED))
    console.table(_TITLES, [_row(target, console) for target in balancer["targets"]])


def line(told: Told, outputs: Mapping[str, Any], console: Console) -> None:
    """Print in one line where requests go and how many machines get them, or what is missing for that.

    Nothing for a stack without a load balancer.
    """
    if not _is_there(told, outputs):
        return
    where, balancer = _where(outputs), told.balancer
    if balancer is None:
        console.say(f"{where}: {console.paint(_UNKNOWN, YELLOW)}")
        return
    targets = cast("list[dict[str, Any]]", balancer["targets"])
    count = sum(target["in_rotation"] for target in targets)
    is_well = balancer["state"] == "serving" and count and not balancer["problem"]
    said = [f"{count} of {len(targets)} machines in rotation"]
    if balancer["state"] != "serving":
        said = [balancer["state"]]
    elif not any(target["healthy"] for target in targets):
        said.append("no inference server answers: examples/inference/README.md has one to try")
    said += [balancer["problem"]] if balancer["problem"] else []
    console.say(f"{where}: {console.paint('; '.join(said), GREEN if is_well else YELLOW)}")


def _is_there(told: Told, outputs: Mapping[str, Any]) -> bool:
    """Whether the gateways have a load balancer, or should have and cannot be asked."""
    return told.balancer is not None or (not told.is_complete and bool(outputs.get("load_balancer")))


def _where(outputs: Mapping[str, Any]) -> str:
    exported = cast("dict[str, str]", outputs.get("load_balancer") or {})
    return f"requests to {exported.get('url', 'port 443 of the gateway')}"


def _row(target: Mapping[str, Any], console: Console) -> list[str]:
    def yes_no(key: str, colours: tuple[str, str]) -> str:
        return console.paint("yes", colours[0]) if target[key] else console.paint("no", colours[1])

    return [
        target["name"],
        f"{target['address']}:{target['port']}",
        yes_no("healthy", (GREEN, RED)),
        yes_no("in_rotation", (GREEN, YELLOW)),
        str(target["weight"]),
        yes_no("backup", (DIM, DIM)),
        yes_no("draining", (YELLOW, DIM)),
    ]
