"""``hybridnet status``: how the network looks from here."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from node import config as machine
from node.command import here, overview
from node.command.local import ask
from node.command.shape import CommandError, Commands
from node.command.table import Paper, prepare
from node.config import Config
from node.health.facts import Machine
from node.wireguard import SECOND, PeerState, WgTool, WireGuardError

WATCH_SECONDS = 1.0
_HOME, _REST = "\x1b[H", "\x1b[J"
_OTHER_SCREEN, _FIRST_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""xterm's control sequences: the alternate screen, where no cursor is seen and long lines end at the margin."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("status", help="how the network looks from here")
    parser.description = (
        "On a gateway: alerts, nodes, pools, load balancer, other gateways, who was revoked and the last events, as "
        "its status page shows them. Elsewhere: this machine's tunnel and its peers."
    )
    parser.epilog = (
        "Exit status: 0 nobody has to be woken, 1 something is critical or the gateway does not answer, 2 wrong usage."
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="everything, for machines")
    shape.add_argument("--watch", action="store_true", help="look again every second, until Ctrl-C")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status; the exit status is 1 while something is critical, or no gateway answers."""
    config = machine.load()
    prepare()
    look = _gateway if config.role == "gateway" else _spoke
    if args.json:
        found, is_well, _ = look(config)
        print(json.dumps(found))
        return 0 if is_well else 1
    if args.watch:
        return _watch(lambda: look(config))
    _, is_well, write = look(config)
    print("\n".join(_lines(write)))
    return 0 if is_well else 1


Look = tuple[dict[str, Any], bool, Callable[[Paper], None]]
"""What was found, whether all is well, and what puts it on paper."""


def _gateway(config: Config) -> Look:
    found = ask(config.state, "GET", "/v1/status")
    return found, overview.is_well(found), lambda paper: overview.write(paper, found)


def _spoke(config: Config) -> Look:
    try:
        facts = Machine(config).look()
        found = here.told(config, facts, _peers() if facts.interface else {})
    except WireGuardError as error:
        raise CommandError(f"the tunnel cannot be looked at: {error}") from error
    return found, here.is_well(found), lambda paper: here.write(paper, found)


def _peers() -> dict[str, PeerState]:
    """The interface's peers, and those of the second one while a key changes."""
    try:
        second = WgTool(SECOND).peers()
    except WireGuardError:
        second = {}
    return {**WgTool().peers(), **second}


def _lines(write: Callable[[Paper], None]) -> list[str]:
    paper = Paper(sys.stdout)
    write(paper)
    return paper.lines


def _watch(look: Callable[[], Look]) -> int:
    """Show it anew each second, on a screen of its own; what cannot be asked for is told and asked for again."""
    is_screen = sys.stdout.isatty()
    status = 1
    print(_OTHER_SCREEN if is_screen else "", end="")
    try:
        while True:
            try:
                _, is_well, write = look()
                lines, status = _lines(write), 0 if is_well else 1
            except CommandError as error:
                lines, status = [f"hybridnet: {error}"], 1
            if is_screen:
                size = shutil.get_terminal_size()
                shown = "\n".join(f"{line}\x1b[K" for line in overview.shortened(lines, size.lines))
                print(f"{_HOME}{shown}{_REST}", end="", flush=True)
            else:
                print("\n".join([*lines, ""]), flush=True)
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return status
    finally:
        print(_FIRST_SCREEN if is_screen else "", end="")
