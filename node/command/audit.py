"""``hybridnet audit``: whether a gateway's audit log is as it was written, and what stands in it."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from node import config as machine
from node.audit.chain import journal_head, worded
from node.audit.files import NAME
from node.audit.verify import Outcome, check, events
from node.command.local import ask
from node.command.shape import CommandError, Commands, UsageError

_JOURNAL = (
    "journalctl", "--unit=hybridnet", "--output=json", "--output-fields=MESSAGE", "--quiet", "--no-pager",
    "--grep=^audit [0-9]+ [0-9a-f]{64} ",
)  # fmt: skip
_JOURNAL_SECONDS = 60.0
_SHOWN = 20
"""So many problems are told one by one."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("audit", help="check or show this gateway's audit log")
    parts = parser.add_subparsers(metavar="WHAT", required=True)
    verify = parts.add_parser("verify", help="whether anything in it was changed, removed, inserted or moved")
    verify.epilog = "Exit status: 0 it is as it was written, 1 it is not, or there is none, 2 wrong usage."
    verify.add_argument("--head", metavar="HASH", help="a hash that was noted before: its line has to be there still")
    verify.add_argument("--json", action="store_true", help="the outcome, for machines")
    verify.set_defaults(run=run_verify)
    show = parts.add_parser("show", help="the last events")
    show.add_argument("-n", type=int, default=50, metavar="N", dest="count", help="so many (50)")
    show.add_argument("--event", metavar="EVENT", help="only those of this kind, such as join; docs/audit.md has all")
    show.add_argument("--node", metavar="NAME", help="only those about this node")
    show.add_argument("--json", action="store_true", help="each as its line tells it, for machines")
    show.set_defaults(run=run_show)


def _log() -> Path:
    config = machine.load()
    if config.role != "gateway":
        raise CommandError("only gateways keep an audit log: run it on one")
    return config.state / NAME


def run_verify(args: argparse.Namespace) -> int:
    """Check the log; the exit status is 1 when something is wrong with it."""
    if args.head is not None and not re.fullmatch("[0-9a-f]{64}", args.head):
        raise UsageError("--head: a hash is 64 digits, 0 to 9 and a to f, as `hybridnet audit verify` ends with one")
    path = _log()
    # What was told elsewhere first: the files are ahead of that, whoever writes meanwhile.
    told, notes = _told(path.parent)
    try:
        outcome = check(path, told, args.head)
    except OSError as error:
        raise _unreadable(error) from None
    if not outcome.files and not told:
        raise CommandError(f"there is no audit log in {path.parent}: the service writes one once something happens")
    if args.json:
        print(json.dumps(_document(outcome, notes)))
    else:
        _tell(outcome, notes)
    return 1 if outcome.problems else 0


def _unreadable(error: OSError) -> CommandError:
    if isinstance(error, PermissionError):
        return CommandError("only root may read the audit log: run it with sudo")
    return CommandError(f"the audit log cannot be read: {error}")


def _told(state: Path) -> tuple[dict[int, set[str]], list[str]]:
    """Hashes by number as the journal and the service have them, and why one of those was not asked."""
    told: dict[int, set[str]] = {}
    notes: list[str] = []
    try:
        heads, problem = _journal()
        for number, digest in heads:
            told.setdefault(number, set()).add(digest)
        if problem:
            how = "only as far as it can be read" if told else "not"
            notes.append(f"the journal was {how} compared: {problem}")
    except (OSError, subprocess.SubprocessError) as error:
        notes.append(f"the journal was not compared: {error}")
    try:
        audit = ask(state, "GET", "/v1/status").get("audit", {})
        if audit.get("events"):
            told.setdefault(int(audit["events"]), set()).add(str(audit["head"]))
    except CommandError as error:
        notes.append(f"the service's own head was not compared: {error}")
    return told, notes


def _journal() -> tuple[list[tuple[int, str]], str]:
    """Numbers and hashes that the journal has, and what is wrong with it: after a crash a part of it may be broken."""
    done = subprocess.run(_JOURNAL, capture_output=True, text=True, timeout=_JOURNAL_SECONDS, check=False)
    lines = (cast("dict[str, Any]", json.loads(line)) for line in done.stdout.splitlines())
    heads = [found for line in lines if (found := journal_head(line.get("MESSAGE")))]
    return heads, next(iter(done.stderr.strip().splitlines()), "")


def _document(outcome: Outcome, notes: list[str]) -> dict[str, Any]:
    return {
        "whole": not outcome.problems,
        "files": outcome.files,
        "events": outcome.events,
        "first": outcome.first,
        "last": outcome.last,
        "head": outcome.head,
        "compared": outcome.compared,
        "notes": notes,
        "problems": [{"file": each.file, "line": each.line, "problem": each.text} for each in outcome.problems],
    }


def _tell(outcome: Outcome, notes: list[str]) -> None:
    for note in notes:
        print(f"hybridnet: {note}", file=sys.stderr)
    for problem in outcome.problems[:_SHOWN]:
        where = f"{problem.file} line {problem.line}: " if problem.line else f"{problem.file}: " if problem.file else ""
        print(f"{where}{problem.text}")
    if len(outcome.problems) > _SHOWN:
        print(f"and {len(outcome.problems) - _SHOWN} more")
    files = "1 file" if outcome.files == 1 else f"{outcome.files} files"
    about = f"{outcome.events} events, {outcome.first} to {outcome.last}, in {files}"
    if outcome.problems:
        print(f"NOT as it was written: {about}")
    else:
        print(f"as it was written: {about}; {outcome.compared} hashes are known elsewhere, too; head {outcome.head}")


def run_show(args: argparse.Namespace) -> int:
    """Print the last events, oldest first."""
    if args.count < 1:
        raise UsageError("-n: a number from 1 on is needed")
    wanted = {"event": args.event, "node": args.node}
    chosen: deque[Mapping[str, Any]] = deque(maxlen=args.count)
    kinds = set[str]()
    try:
        for each in events(_log()):
            kinds.add(worded(each.get("event")))
            if all(value is None or each.get(name) == value for name, value in wanted.items()):
                chosen.append(each)
    except OSError as error:
        raise _unreadable(error) from None
    for each in chosen:
        print(json.dumps(each) if args.json else _line(each))
    if not chosen:
        print(f"no such event; the log has events of these kinds: {', '.join(sorted(kinds))}", file=sys.stderr)
    return 0


def _line(event: Mapping[str, Any]) -> str:
    """An event for people, on one line and without control characters, whatever stands in it."""
    rest = {name: value for name, value in event.items() if name not in ("number", "time", "event", *_CHAIN)}
    words = [f"{worded(name)}={worded(value)}" for name, value in rest.items()]
    return " ".join([worded(event.get("time")), worded(event.get("event")).ljust(10), *words]).rstrip()


_CHAIN = ("hash", "previous", "oldest", "version")
"""What only the check needs."""
