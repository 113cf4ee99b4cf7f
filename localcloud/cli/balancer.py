"""The load balancer: where requests go, and which machines get them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from localcloud.cli.console import DIM, GREEN, RED, YELLOW, Console
from localcloud.cli.gateways import Told

_TITLES = ["TARGET", "ADDRESS:PORT", "HEALTHY", "IN ROTATION", "WEIGHT", "BACKUP", "DRAINING"]
_UNKNOWN = "unknown, since the gateway does not answer"


def table(told: Told, outputs: Mapping[str, Any], console: Console) -> None:
    """Print, each below an empty line, the gateways' balancers and their targets; nothing for a stack without one."""
    for where, balancer in _balancers(told, outputs):
        console.say()
        if balancer is None:
            console.say(f"{where}: {console.paint(_UNKNOWN, YELLOW)}")
            continue
        state = console.paint(balancer["state"], GREEN if balancer["state"] == "serving" else YELLOW)
        certificate = cast("dict[str, str] | None", balancer["certificate"])
        until = f"certificate until {certificate['not_after'][:10]}" if certificate else "no certificate"
        console.say(f"{where}: {state}, {until}")
        if balancer["problem"]:
            console.say(console.paint(f"problem: {balancer['problem']}", RED))
        console.table(_TITLES, [_row(target, console) for target in balancer["targets"]])


def line(told: Told, outputs: Mapping[str, Any], console: Console) -> None:
    """Print in a line for each gateway where requests go and how many machines get them, or what is missing for that.

    Nothing for a stack without a load balancer.
    """
    for where, balancer in _balancers(told, outputs):
        if balancer is None:
            console.say(f"{where}: {console.paint(_UNKNOWN, YELLOW)}")
            continue
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


def _balancers(told: Told, outputs: Mapping[str, Any]) -> list[tuple[str, dict[str, Any] | None]]:
    """Where requests are taken, and the balancer there; None for one that should be there and cannot be asked."""
    exported = cast("dict[str, str] | None", outputs.get("load_balancer"))
    url = (exported or {}).get("url", "port 443 of the gateway")
    gateways = cast("list[dict[str, str]]", outputs.get("gateways") or [])
    named = [*told.balancers, *(told.silent if exported else ())]
    if len(gateways) < 2:
        return [(f"requests to {url}", told.balancers.get(name)) for name in named]
    addresses = {gateway["name"]: f"https://{gateway['public_ip']}" for gateway in gateways}
    order = {gateway["name"]: index for index, gateway in enumerate(gateways)}
    named.sort(key=lambda name: order.get(name, len(order)))
    return [(f"requests to {addresses.get(name, url)} ({name})", told.balancers.get(name)) for name in named]


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
