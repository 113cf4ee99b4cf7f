"""``hybridnet rotate``: another WireGuard key, without a packet lost."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from node import config as machine
from node.command.local import ask
from node.command.shape import CommandError, Commands, UsageError
from node.files import StateError
from node.network import tunnel_file
from node.tunnels.enrolment import Enrolment
from node.tunnels.own import KEYS, OwnKeys
from node.tunnels.turn import REQUEST

_POLL_SECONDS = 0.3
_PATIENCE_SECONDS = 300.0


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("rotate", help="have WireGuard keys changed, without a packet lost")
    parser.description = (
        "Without a name: on a gateway its own key, elsewhere this machine's. Waits for the end, at most five minutes "
        "for the nodes and as long for the gateway, and names on standard error who is done."
    )
    parser.epilog = "Exit status: 0 every key is another one, 1 some key is the one of before, 2 wrong usage."
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="on a gateway: these nodes, itself among them; else only this machine"
    )
    parser.add_argument("--all", action="store_true", help="on a gateway: all nodes that hang on it, and itself last")
    parser.add_argument("--json", action="store_true", help="the outcome, for machines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for the change and wait for its end; the exit status is 1 if some key is still the one of before."""
    if args.all and args.names:
        raise UsageError("either names or --all: --all changes the keys of everybody on this gateway")
    config = machine.load()
    if config.role != "gateway":
        if args.names or args.all:
            raise CommandError("only a gateway has others change their keys; without a name it is this machine's own")
        return _told(args, _own(config))
    found = ask(config.state, "GET", "/v1/status")
    names: list[str] = args.names
    if args.all:
        names = _agents(config.name, found)
    rest = [name for name in names if name != config.name]
    done = _wait(config, rest) if rest else {}
    if not names or config.name in names:
        done |= _wait(config, [config.name])
    return _told(args, done)


def _agents(own: str, status: dict[str, Any]) -> list[str]:
    """Those who hang on the gateway ``own`` and have shaken hands, and itself."""
    if plain := status["rotation"]["plain"]:
        _progress(f"left out, since no agent of theirs has said anything yet: {', '.join(plain)}")
    return [*status["rotation"]["agents"], own]


def _wait(config: machine.Config, names: list[str]) -> dict[str, bool]:
    """By name, whether the key is another one now."""
    before = _keys(config, ask(config.state, "GET", "/v1/status"))
    asked: list[str] = ask(config.state, "POST", "/v1/rotate", {"names": names})["names"]
    end, missing = time.monotonic() + _PATIENCE_SECONDS, set(asked)
    while missing and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        try:
            status = ask(config.state, "GET", "/v1/status")
        except CommandError as error:
            _progress(f"waiting: {error}")
            continue
        now = _keys(config, status)
        changed = {
            name for name in missing if now.get(name) not in (None, before.get(name)) and _rests(config, status, name)
        }
        for name in sorted(changed):
            _progress(f"{name} has another key")
        missing -= changed
    return {name: name not in missing for name in asked}


def _keys(config: machine.Config, status: dict[str, Any]) -> dict[str, str]:
    """By name, the WireGuard key in use, of those who use another than their enrolment key."""
    rotation = status["rotation"]
    found = {name: each["public_key"] for name, each in rotation["nodes"].items() if each["public_key"]}
    return {**found, config.name: rotation["public_key"]}


def _rests(config: machine.Config, status: dict[str, Any], name: str) -> bool:
    rotation = status["rotation"]
    return rotation["phase"] is None if name == config.name else not rotation["nodes"][name]["is_turning"]


def _own(config: machine.Config) -> dict[str, bool]:
    """Have this machine's agent change its key, and wait."""
    own = OwnKeys(config.state / KEYS, Enrolment(tunnel_file.path()))
    own.load()
    if own.identity is None:
        raise CommandError("this machine has no tunnel yet: see `systemctl status hybridnet`")
    before = own.keys.first or own.identity
    try:
        (config.state / REQUEST).touch(0o600)
    except OSError as error:
        raise CommandError(f"{config.state} cannot be written ({error.strerror}): run it as root") from error
    _progress("the agent changes this machine's key")
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        try:
            own.load()
        except (OSError, StateError):
            continue
        if not own.is_turning and (own.keys.first or own.identity) != before:
            return {config.name: True}
    return {config.name: False}


def _told(args: argparse.Namespace, done: dict[str, bool]) -> int:
    missing = sorted(name for name, is_done in done.items() if not is_done)
    if args.json:
        print(json.dumps({"changed": sorted(done.keys() - missing), "unchanged": missing}))
    elif missing:
        print(
            f"not changed within {_PATIENCE_SECONDS:.0f} s: {', '.join(missing)}; see `journalctl -u hybridnet` there"
        )
    else:
        print(f"{len(done)} {'key' if len(done) == 1 else 'keys'} changed: {', '.join(sorted(done))}")
    return int(bool(missing))


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
