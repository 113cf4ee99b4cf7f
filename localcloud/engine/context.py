"""The run, as what runs in it is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Context:
    """What the program and policy packs are told."""

    project: str
    stack: str
    organization: str
    config: Mapping[str, str]
    secret_keys: frozenset[str]
    preview: bool
    parallel: int
