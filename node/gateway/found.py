"""What reconciles have found and put right, until the audit log has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from node.gateway.audit import Audit
from overlay.model import Node

_NAMED = 5
"""So many of many are told by name."""


@dataclass
class Found:
    """By whoever reconciles; ``tell`` empties it. Only one at a time does either.

    ``firewall`` says what of the rules was changed, ``repaired`` are public keys of peers that somebody else had
    changed, and ``moved`` are public key, old and new endpoint.
    """

    firewall: list[str] = field(default_factory=list[str])
    repaired: list[str] = field(default_factory=list[str])
    moved: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    def tell(self, audit: Audit, nodes: Callable[[], Iterable[Node]]) -> None:
        """Lines about it. ``nodes`` gives everybody; a stranger is told by its key."""
        if not (self.firewall or self.repaired or self.moved):
            return
        names = {node.public_key: node.name for node in nodes()}
        for changed in self.firewall:
            audit.write("firewall", changed=changed)
        if self.repaired:
            some = ", ".join(names.get(key, key) for key in self.repaired[:_NAMED])
            audit.write("drift", peers=len(self.repaired), nodes=some)
        for key, old, new in self.moved:
            audit.endpoint(names.get(key, key), old, new)
        self.firewall, self.repaired, self.moved = [], [], []
