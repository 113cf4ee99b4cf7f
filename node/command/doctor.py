"""``hybridnet doctor``: why this machine's tunnel does not do what it should, and what mends it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence

from node import config as machine
from node.command.shape import CommandError, Commands
from node.doctor.facts import Cause, Facts
from node.doctor.observe import observe
from node.doctor.rules import diagnose

SCHEMA_VERSION = 1
PATIENCE = 2.0
"""Seconds until the doctor says what it is at."""
_BOLD, _RED, _GREEN, _DIM = "1", "31", "32", "2"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="what is wrong with this machine's tunnel, and what mends it")
    parser.description = (
        "Looks at this machine and asks its peers; says the likeliest cause of what is wrong first, what was seen of "
        "it and the command that mends it. Changes nothing, and is for root. It takes two seconds where all is well, "
        "and up to twenty where nobody answers. docs/troubleshooting.md has all causes."
    )
    parser.epilog = "Exit status: 0 nothing is wrong, 1 something is, 2 wrong usage."
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the causes, the likeliest first; the exit status is 1 when there is any."""
    if os.geteuid() != 0:
        raise CommandError("the doctor looks at what only root sees: run it with sudo")
    try:
        config = machine.load()
    except machine.ConfigError as error:
        raise CommandError(str(error)) from error
    began = time.monotonic()
    progress = Progress()
    try:
        facts = observe(config, progress.say)
    except OSError as error:
        raise CommandError(
            f"pings cannot be sent ({error}): run the doctor on the machine itself, outside of any sandbox"
        ) from error
    finally:
        progress.end()
    causes = diagnose(facts)
    if args.json:
        print(json.dumps(document(facts, causes, time.monotonic() - began)))
    else:
        print(text(facts, causes, coloured=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return int(bool(causes))


class Progress:
    """What the doctor is at, on standard error, once it takes longer than :data:`PATIENCE`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_late = False
        self._now = ""
        self._timer = threading.Timer(PATIENCE, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def say(self, now: str) -> None:
        with self._lock:
            self._now = now
            if self._is_late:
                self._print()

    def end(self) -> None:
        self._timer.cancel()

    def _begin(self) -> None:
        with self._lock:
            self._is_late = True
            self._print()

    def _print(self) -> None:
        print(f"hybridnet doctor: {self._now or 'looking'} …", file=sys.stderr, flush=True)


def document(facts: Facts, causes: Sequence[Cause], seconds: float) -> dict[str, object]:
    """For machines: the causes, the likeliest first."""
    return {
        "schema_version": SCHEMA_VERSION,
        "node": facts.name,
        "role": facts.role,
        "healthy": not causes,
        "causes": [cause.document() for cause in causes],
        "not_looked_at": list(facts.lacking),
        "seconds": round(seconds, 1),
    }


def text(facts: Facts, causes: Sequence[Cause], *, coloured: bool = False) -> str:
    """For people."""

    def paint(words: str, colour: str) -> str:
        return f"\x1b[{colour}m{words}\x1b[0m" if coloured else words

    lines: list[str] = []
    if not causes:
        asked = [peer for peer in facts.peers if not peer.may_be_off]
        reached = sum(peer.reach.answers for peer in asked)
        lines.append(paint(f"{facts.name} is well", _GREEN) + f": {reached} of {len(asked)} peers answer")
    for number, cause in enumerate(causes, 1):
        head = f"{number}. {cause.summary}"
        lines.append(
            paint(head, _RED if number == 1 else _BOLD) + paint(f" ({cause.cause}, {cause.likelihood} %)", _DIM)
        )
        lines += [f"     seen:  {line}" for line in cause.evidence]
        lines.append(f"     mend:  {paint(cause.command, _BOLD)}")
    if facts.lacking:
        lines += [paint(f"not looked at: {line}", _DIM) for line in facts.lacking]
    return "\n".join(lines)
