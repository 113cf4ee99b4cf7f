"""How the machines are, as they tell it themselves (``hybridnet health``): in memory, and not for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from aiohttp import web

from node.gateway.lease import Refusal
from node.gateway.limits import Buckets
from node.gateway.pool_api import body_of, refused, source
from node.health.outcome import LONGEST_PROBLEM, MOST_PROBLEMS, STALE_SECONDS, Outcome
from overlay.fields import FieldError, read
from overlay.model import Node

_LIMIT = 16 << 10
"""Bytes of a report: ten problems of escaped characters."""


class Condition(NamedTuple):
    """``at`` is when it was told (s since 1970)."""

    healthy: bool
    problems: tuple[str, ...]
    at: float


class Conditions:
    """What was told lately, by node.

    ``name`` is this gateway itself, whose last outcome ``own`` gives. ``node_at`` says which node has an overlay
    address.
    """

    def __init__(
        self,
        name: str,
        own: Callable[[], Outcome | None],
        node_at: Callable[[IPv4Address], Node | None],
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._own = own
        self._node_at = node_at
        self._clock = clock
        self._ticks = ticks
        self._told: dict[str, tuple[Condition, float]] = {}
        self._rate = Buckets(10, 1.0, clock=ticks)

    def take(self, address: str, body: bytes) -> None:
        """Keep what the node at ``address`` tells; Refusal."""
        node = self._node_at(IPv4Address(address))
        if node is None or node.role == "gateway":
            raise Refusal(403, "no node has this address")
        if not self._rate.take(node.name):
            raise Refusal(429, "this node tells too often", int(self._rate.wait(node.name)) + 1)
        healthy, problems = parse(body)
        self._told[node.name] = Condition(healthy, problems, self._clock()), self._ticks()

    def all(self) -> Mapping[str, Condition]:
        """By name."""
        now = self._ticks()
        self._told = {name: told for name, told in self._told.items() if now - told[1] < STALE_SECONDS}
        found = {name: condition for name, (condition, _) in self._told.items()}
        if (own := self._own()) is not None:
            found[self._name] = Condition(own.healthy, own.problems, own.at)
        return found

    def healthy(self) -> dict[str, bool]:
        """By name, for the metrics."""
        return {name: condition.healthy for name, condition in self.all().items()}

    def status(self) -> dict[str, Any]:
        """For the status: by name."""
        return {name: condition._asdict() for name, condition in sorted(self.all().items())}

    def routes(self, came_by_tunnel: Callable[[web.Request], bool]) -> list[web.RouteDef]:
        """The route; ``came_by_tunnel`` tells who spoke to the gateway's overlay address."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                if not came_by_tunnel(request):
                    raise Refusal(403, "only over the overlay")
                self.take(source(request), await body_of(request, _LIMIT))
            except Refusal as refusal:
                return refused(refusal)
            return web.Response(status=204)

        return [web.post("/v1/health", answer)]


def parse(body: bytes) -> tuple[bool, tuple[str, ...]]:
    """Whether a node is well, and its problems, which are as untrusted as it is; Refusal."""
    try:
        fields = read("health", body)
        fields.number("schema_version", 1, 1)
        healthy, problems = fields.flag("healthy"), fields.texts("problems")
        fields.end()
    except FieldError as error:
        raise Refusal(400, str(error)) from None
    if len(problems) > MOST_PROBLEMS or any(len(problem) > LONGEST_PROBLEM for problem in problems):
        raise Refusal(400, f"health.problems: at most {MOST_PROBLEMS} of at most {LONGEST_PROBLEM} characters")
    return healthy, tuple("".join(c if c.isprintable() else "?" for c in problem) for problem in problems)
