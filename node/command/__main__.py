"""``python3 -m node.command``: first boot's ``hybridnet`` runs it from the release that works on the machine."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import cast

from node.command.shape import CommandError, Module, UsageError
from node.config import ConfigError
from node.files import StateError

MODULES = ("audit", "doctor", "health", "revoke", "rotate", "status")
"""Each adds the command of its name, and sets ``run``: what takes the arguments and gives the exit status."""


def parser(names: Sequence[str] = MODULES) -> argparse.ArgumentParser:
    """The whole command line, or what there is of it for some commands."""
    root = argparse.ArgumentParser(
        prog="hybridnet",
        description="Looks after this machine's place in the network.",
        epilog="Exit status: 0 all is well, 1 something is wrong or could not be done, 2 wrong usage.",
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for name in names:
        cast("Module", import_module(f"node.command.{name}")).add(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say; the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    # Only the one that is asked for: a timer asks for `health` all the time, and others take long to import.
    args = parser([name for name in MODULES if name in words[:1]] or MODULES).parse_args(words)
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except (CommandError, ConfigError, StateError) as error:
        print(f"hybridnet: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # What is not written yet is for nobody: the interpreter would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
