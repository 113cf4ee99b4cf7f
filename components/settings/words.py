"""What annotations of settings tell readers, beside what they mean to pydantic: ``document`` makes tables of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from overlay.model import EXTERNAL

_CLOUDS = {"hetzner": "Hetzner", "aws": "AWS", "gcp": "GCP", EXTERNAL: "external sites"}


@dataclass(frozen=True)
class Words:
    """What a value is: one of them, and several."""

    one: str
    several: str = ""


@dataclass(frozen=True)
class Unset:
    """What holds where the key is left out, in Markdown; where it is missing, the default itself tells it."""

    words: str


@dataclass(frozen=True)
class Named:
    """What the keys of a mapping are names of."""

    what: str


def joined(words: Sequence[str], last: str) -> str:
    """``a, b or c``, with ``last`` before the last one."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def in_code(value: object) -> str:
    """A value as YAML takes it, in Markdown."""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def by_cloud(defaults: Mapping[str, object]) -> Unset:
    """Defaults by cloud, such as ``10`` on Hetzner, ``5`` on AWS and GCP."""
    clouds: dict[str, list[str]] = {}
    for cloud, default in defaults.items():
        clouds.setdefault(in_code(default), []).append(_CLOUDS[cloud])
    return Unset(", ".join(f"{default} on {joined(where, 'and')}" for default, where in clouds.items()))
