"""`exec NODE -- CMD` without the rest of the program: what costs time is importing, so this imports next to nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from localcloud import enter


def run_in_machine(words: Sequence[str]) -> None:
    """Become the command if `words` are a plain `[--dir DIR] exec NODE -- CMD` of a machine that runs, else return."""
    if command := command_line(words):
        os.execvp(command[0], command)


def command_line(words: Sequence[str], variables: Mapping[str, str] = os.environ) -> list[str] | None:
    """What runs the command on the machine if `words` are such; `variables` are those of whoever asks."""
    directory = variables.get("LOCALCLOUD_DIR")
    if words[:1] == ["--dir"] and len(words) > 2:
        directory, words = words[1], words[2:]
    if len(words) < 4 or words[0] != "exec" or words[2] != "--" or "/" in words[1] or os.geteuid() != 0:
        return None
    if directory is None:
        directory = f"{os.path.realpath(__file__).rpartition('/localcloud/')[0]}/.localcloud"
    try:
        with open(f"{directory}/nodes/{words[1]}") as file:  # noqa: PTH123
            namespace = file.read()
    except OSError:
        return None
    init = enter.init_of(namespace)
    return enter.command_line(init, words[3:], variables) if init else None
