"""``hybridnet health``: whether this machine is well in the network."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from node import config as machine
from node.command.shape import CommandError, Commands
from node.health import outcome
from node.health.facts import Facts, Machine
from node.health.judge import Problem, problems
from node.health.outcome import Outcome
from node.health.repair import Restarts, repair
from node.log import say
from node.wireguard import INTERFACE, WireGuardError

_AGAIN_SECONDS = 3.0
"""What is over by then was a change of the network, or a restart."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("health", help="whether this machine is well in the network")
    parser.description = "One line, with what is wrong; docs/health.md has what it looks at. Changes nothing by itself."
    parser.epilog = "Exit status: 0 this machine is well, 1 it is not, 2 wrong usage."
    parser.add_argument("--json", action="store_true", help="the outcome, for machines")
    parser.add_argument(
        "--repair", action="store_true", help="restart what a restart can mend, and tell the gateway: for the timer"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and say in one line what was found; the exit status is 1 while the machine is not well."""
    config = machine.load()
    here = Machine(config)
    try:
        facts, found = look(here)
        done: Sequence[str] = ()
        if args.repair and any(problem.unit for problem in found) and not here.is_stopping():
            done = repair(found, Restarts(config.state / "restarts.json"), here.restart)
    except (WireGuardError, OSError) as error:
        problem = f"this machine cannot be looked at: {error}"
        if args.repair:
            keep(Outcome(False, (problem,), time.time()), outcome.PATH)
        raise CommandError(problem) from None
    is_well = not any(problem.is_grave for problem in found)
    made = Outcome(is_well, (*done, *(problem.text for problem in found)), time.time())
    if args.json:
        print(json.dumps({**made.document(), **_measured(facts)}))
    elif not args.repair:
        print(_line(facts, made))
    if args.repair:
        keep(made, outcome.PATH)
    return 0 if is_well else 1


def look(here: Machine) -> tuple[Facts, list[Problem]]:
    """The facts and what is wrong; what is wrong for a moment only is not."""
    facts = here.look()
    if found := problems(facts):
        time.sleep(_AGAIN_SECONDS)
        facts = here.look()
        found = problems(facts)
    return facts, found


def keep(made: Outcome, path: Path) -> None:
    """Leave the outcome for those who tell it on, and a line in the journal when it is another one."""
    before = outcome.read(path)
    if before is None or (before.healthy, before.problems) != (made.healthy, made.problems):
        say(f"{_verdict(made)}{': ' if made.problems else ''}{'; '.join(made.problems)}")
    try:
        outcome.write(made, path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error}") from None


def _verdict(made: Outcome) -> str:
    return "healthy" if made.healthy else "unhealthy"


def _line(facts: Facts, made: Outcome) -> str:
    if made.problems:
        return f"{_verdict(made)}: {'; '.join(made.problems)}"
    parts = [f"{INTERFACE} is up with {facts.place.address}"]
    parts += [f"handshake with {name} {age:.0f} s ago" for name, age in facts.handshakes.items()]
    if facts.rtt is not None:
        parts.append(f"ping {facts.rtt * 1000:.1f} ms")
    return f"healthy: {', '.join(parts)}"


def _measured(facts: Facts) -> dict[str, object]:
    ages = {name: None if age == float("inf") else round(age) for name, age in facts.handshakes.items()}
    rtt = None if facts.rtt is None else round(facts.rtt, 6)
    address = facts.place.address
    return {"address": None if address is None else str(address), "handshake_ages": ages, "rtt": rtt}
