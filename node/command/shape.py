"""What the commands have in common: how each adds itself, and what it says when it cannot do what it is asked for."""

from __future__ import annotations

import argparse
from typing import Protocol


class CommandError(Exception):
    """The message says what failed, why, and what to do about it."""


class UsageError(CommandError):
    """What was asked for makes no sense; the exit status is 2, as for what the parser itself refuses."""


class Commands(Protocol):
    """Where a command adds itself: what ``ArgumentParser.add_subparsers`` returns."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser: ...


class Module(Protocol):
    """One of the commands."""

    def add(self, commands: Commands) -> None: ...
