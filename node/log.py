"""What the journal gets: one line at a time, and never a secret."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """A line for the journal, which keeps what services write to standard error; in one piece."""
    print(f"{text}\n", end="", file=sys.stderr, flush=True)
