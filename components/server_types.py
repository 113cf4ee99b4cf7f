"""Server types that can no longer be ordered, and what takes their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Retired:
    """What replaces a server type, with as many cores and as much memory; since when, and who says so."""

    successor: str
    since: str
    source: str


_GENERATION_2 = ("2026-01-01", "https://docs.hetzner.cloud/changelog#2025-10-16-server-types-deprecated")
_GENERATION_1 = (
    "2024-09-06",
    "https://docs.hetzner.cloud/changelog#2024-06-06-old-server-types-with-shared-intel-vcpus-are-deprecated",
)

RETIRED: Mapping[str, Retired] = MappingProxyType(
    {
        "cx22": Retired("cx23", *_GENERATION_2),
        "cx32": Retired("cx33", *_GENERATION_2),
        "cx42": Retired("cx43", *_GENERATION_2),
        "cx52": Retired("cx53", *_GENERATION_2),
        "cx11": Retired("cx23", *_GENERATION_1),
        "cx21": Retired("cx23", *_GENERATION_1),
        "cx31": Retired("cx33", *_GENERATION_1),
        "cx41": Retired("cx43", *_GENERATION_1),
        "cx51": Retired("cx53", *_GENERATION_1),
    }
)
"""Hetzner's retired types, looked up in November 2026."""


def resolve(cloud: str, server_type: str, *, keep_retired: bool) -> str:
    """The server type to ask ``cloud`` for: a retired one's successor, unless the stack keeps them."""
    retired = RETIRED.get(server_type) if cloud == "hetzner" and not keep_retired else None
    return retired.successor if retired else server_type


def retirement_warning(server_type: str, nodes: Iterable[str]) -> str:
    """What a preview says when the ``nodes`` that ask for the retired ``server_type`` get its successor."""
    retired = RETIRED[server_type]
    return (
        f"{', '.join(sorted(nodes))}: server type {server_type} cannot be ordered since {retired.since} "
        f"({retired.source}); using {retired.successor}. Set serverType to {retired.successor}, "
        "or hybrid-wireguard:keepRetiredServerTypes to true for machines that exist already."
    )
