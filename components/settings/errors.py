"""How a wrong setting is told: the key, the value, the reason and the remedy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from overlay.checks import Problem
from overlay.model import is_wireguard_key

NAMESPACE = "hybrid-wireguard"
SECRET = "[secret]"
"""Stands for a value that must not be shown."""
_SHOWN = 80


class SettingsError(Exception):
    """The stack's config cannot be used; ``problems`` holds everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [f"  {NAMESPACE}:{problem}" for problem in self.problems]
        super().__init__("\n".join(["the stack's settings cannot be used:", *lines]))


def shown(value: object) -> str:
    """A config value as it would be typed in JSON, cut to one line's length; what may be a private key is hidden."""
    if isinstance(value, str) and (is_wireguard_key(value) or "PRIVATE KEY" in value):
        return SECRET
    text = (
        value
        if isinstance(value, str) and value.isprintable() and value
        else json.dumps(value, default=str, ensure_ascii=False)
    )
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def nearest(word: str, known: Iterable[str]) -> str:
    """The remedy for a word that is not among ``known``: the nearest right one, and all of them."""
    choices = sorted(known)
    listed = f"known: {', '.join(choices)}" if choices else "there is none"
    close = get_close_matches(word.lower(), {choice.lower(): choice for choice in choices}, n=1, cutoff=0.5)
    right = next((choice for choice in choices if close and choice.lower() == close[0]), None)
    return f"did you mean {right}? ({listed})" if right else listed
