"""`exec NODE -- CMD` without the rest of the program: what costs time is importing, so this imports next to nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from localcloud import enter


def run_in_machine(words: Sequence[str]) -> None:
    """Become the command if `words` are a plain `[--dir DIR] exec NODE -- CMD` of a machine that runs, else return."""
    directory = os.environ.get("LOCALCLOUD_DIR")
    if words[:1] == ["--dir"] and len(words) > 2:
        directory, words = words[1], words[2:]
    if len(words) < 4 or words[0] != "exec" or words[2] != "--" or "/" in words[1] or os.geteuid() != 0:
        return
    if directory is None:
        directory = f"{os.path.realpath(__file__).rpartition('/localcloud/')[0]}/.localcloud"
    try:
        with open(f"{directory}/nodes/{words[1]}") as file:  # noqa: PTH123
            namespace = file.read()
    except OSError:
        return
    if init := enter.init_of(namespace):
        command = enter.command_line(init, words[3:])
        os.execvp(command[0], command)
