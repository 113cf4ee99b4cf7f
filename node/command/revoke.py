"""``hybridnet revoke``: cuts a node off, on every gateway."""

from __future__ import annotations

import argparse
import datetime
import json
from typing import Any

from node import config as machine
from node.audit.chain import worded
from node.command.local import ask
from node.command.shape import CommandError, Commands, UsageError

_PATH = "/v1/revocations"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("revoke", help="cut a node or a pool's machine off, on every gateway")
    parser.description = (
        "For good: no push takes it back, and of a pool's machine the join token that it knows lets nobody new in. "
        "Says what is to be done then; docs/audit.md has it all."
    )
    parser.epilog = "Exit status: 0 it is cut off, 1 it could not be, 2 wrong usage."
    parser.add_argument("name", nargs="?", metavar="NAME", help="the node's name, or the machine's")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit log and the others")
    parser.add_argument("--list", action="store_true", help="who is cut off")
    parser.add_argument("--json", action="store_true", help="the answer, for machines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; the exit status."""
    config = machine.load()
    if config.role != "gateway":
        raise CommandError("only gateways cut nodes off: run it on one")
    if args.list == bool(args.name):
        raise UsageError("either NAME or --list is needed: see `hybridnet revoke --help`")
    if args.list:
        found = ask(config.state, "GET", _PATH)
        print(json.dumps(found["revoked"]) if args.json else _table(found["revoked"]))
        return 0
    found = ask(config.state, "POST", _PATH, {"name": args.name, "reason": args.reason})
    print(json.dumps(found) if args.json else "\n".join(said(found)))
    return 0


def said(found: dict[str, Any]) -> list[str]:
    """What whoever has cut a node off is told, and has to do yet."""
    name, pool, late = found["name"], found["pool"], found["unreachable"]
    lines = [f"{name} {'was cut off already' if found['already'] else 'is cut off'}, on this gateway and the others."]
    if late:
        lines.append(f"Of these, {', '.join(late)} cannot be reached now, and does so when it is back.")
    if found["token"]:
        lines += [
            "Its key and its instance are barred for good, whatever is pushed.",
            f"The join token of the pool {pool}, which it knows, lets no further machine in; those that are in stay.",
            f"Now: raise `pools.{pool}.tokenRevision`, run `pulumi up`, and terminate the machine in its cloud.",
        ]
    elif pool:
        lines.append(
            f"Its key and its instance are barred for good; its join token is none of the pool {pool} any more."
        )
    else:
        lines += [
            "Its key is barred for good, whatever is pushed: also while the stack still declares it with that key.",
            "Take it out of the stack. Or, to have it back, made anew: set another key, raise its `revision`, and run",
            f"`pulumi up`. The key: `wg genkey | pulumi config set --secret --path privateKeys.{name}`.",
        ]
    return lines


def _table(revoked: list[dict[str, Any]]) -> str:
    if not revoked:
        return "nobody is cut off"
    rows = [("NAME", "SINCE", "INSTANCE", "KEY", "REASON")]
    for each in revoked:
        since = datetime.datetime.fromtimestamp(each["at"] / 1000, datetime.timezone.utc)
        at = since.isoformat(timespec="seconds").replace("+00:00", "Z")
        key = each["keys"][0] if each["keys"] else "-"
        rows.append((worded(each["name"]), at, worded(each["instance"] or "-"), key, _plain(each["reason"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _plain(text: str) -> str:
    return json.dumps(text)[1:-1].replace("\x7f", "\\u007f") or "-"
