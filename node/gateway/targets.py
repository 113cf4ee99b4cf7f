"""Whom Prometheus scrapes, as its ``http_sd`` asks for it: every machine of the network that tells metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from node.gateway.lease import Refusal
from node.gateway.network import Network
from node.gateway.plain import PORT
from node.gateway.pool_api import refused, source
from overlay.model import EXTERNAL, Node


class Targets:
    """The targets in ``network``, for those who ``may_see`` all of it: called with an overlay address."""

    def __init__(self, network: Network, may_see: Callable[[str], bool]) -> None:
        self._network = network
        self._may_see = may_see

    def groups(self) -> list[dict[str, Any]]:
        """One of Prometheus' target groups a machine: declared ones, and those with a lease of any gateway.

        The labels are those of the stack's output ``prometheus_targets``; ``role`` of a pool's machine is ``pool``.
        What people and others run in external sites has no metrics.
        """
        kept = self._network.rosters.kept
        if kept is None:
            return []
        bars = self._network.revocations.bars
        clouds = {site.name: site.cloud for site in kept.roster.network.sites}
        declared = [(node, node.role) for node in kept.roster.nodes if clouds[node.site] != EXTERNAL and not bars(node)]
        # A lease of a site that the roster has no more ends with the next reconcile.
        members = [(node, "pool") for node in list(self._network.whole.members.values()) if node.site in clouds]
        return [_group(node, role, clouds[node.site]) for node, role in (*declared, *members)]

    def routes(self, path: str, came_by_tunnel: Callable[[web.Request], bool]) -> list[web.RouteDef]:
        """The route at ``path``; ``came_by_tunnel`` tells who spoke to the gateway's overlay address."""

        async def answer(request: web.Request) -> web.Response:
            if not came_by_tunnel(request):
                return refused(Refusal(403, "only over the overlay"))
            if not self._may_see(source(request)):
                return refused(Refusal(403, "only for members of a group that reaches all"))
            return web.json_response(self.groups())

        return [web.get(path, answer)]


def _group(node: Node, role: str, cloud: str) -> dict[str, Any]:
    return {
        "targets": [f"{node.address}:{PORT}"],
        "labels": {"node": node.name, "site": node.site, "role": role, "cloud": cloud},
    }
