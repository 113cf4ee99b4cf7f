"""Commands that run something: on a machine, at the desk, or from somebody else's address on the internet."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from localcloud import enter
from localcloud.cli.console import fail
from localcloud.cli.desk import chosen, environment
from localcloud.cloud import NETNS, Cloud, LocalCloudError
from localcloud.fabric import Fabric

NO_COMMAND = 127
"""What shells say of a command that does not exist."""


def execute(cloud: Cloud, options: argparse.Namespace) -> int:
    """exec: this process becomes the command, so its exit status is the command's."""
    command = _without_dashes(options.argv)
    if not command:
        raise LocalCloudError(f"exec needs a command: `python -m localcloud exec {options.node} -- uptime`")
    _become(enter.command_line(Fabric(cloud).init_of(options.node), command), os.environ)


def shell(cloud: Cloud, options: argparse.Namespace) -> int:
    """shell: with a terminal of the machine's own if there is one here, else bash reads standard input."""
    command = ["bash", "--login"]
    if sys.stdin and sys.stdin.isatty():  # None where it is closed
        command = ["script", "--quiet", "--return", "--command", "bash --login", "/dev/null"]
    _become(enter.command_line(Fabric(cloud).init_of(options.node), command), os.environ)


def run(cloud: Cloud, options: argparse.Namespace) -> int:
    """run: this process moves to the desk (or to the stranger's place, or the edge) and becomes the command."""
    from localcloud.fabric.listeners import enter_namespace  # its HTTP server takes long to import

    places = {"desk": cloud.desk, "internet": cloud.stranger, "edge": cloud.edge}
    namespace = NETNS / places[options.source]
    if not namespace.exists():
        raise LocalCloudError("the local cloud is not up: `python -m localcloud up` makes it")
    variables = dict(os.environ)
    if options.source == "desk":
        variables = environment(cloud, chosen(cloud).stack)
    command = _without_dashes(options.argv) or [os.environ.get("SHELL", "/bin/sh")]
    if shutil.which(command[0], path=variables["PATH"]):
        enter_namespace(namespace)
        _become(command, variables)
    fail(f"there is no command {command[0]!r} on PATH")
    return NO_COMMAND


def _without_dashes(words: Sequence[str]) -> list[str]:
    return list(words[1:] if words[:1] == ["--"] else words)


def _become(command: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    os.execvpe(command[0], list(command), dict(variables))
