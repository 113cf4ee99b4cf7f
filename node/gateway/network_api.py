"""The routes by which nodes and other gateways ask for the network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

from node import joining
from node.gateway.lease import Refusal
from node.gateway.pool_api import body_of, header, refused, source
from node.network_document import REQUEST_LIMIT

STRANGERS_LIMIT = 64 << 10
"""Bytes of a request from the internet: five hundred and twelve of them at once are bearable."""


class Informant(Protocol):
    """What answers them."""

    async def ask(self, source: str, possession: str | None, body: bytes, *, by_tunnel: bool) -> bytes: ...

    def admit(self, name: str, possession: str | None) -> None: ...

    def failed(self, source: str, refusal: Refusal, **about: str | None) -> Refusal: ...

    def neighbour(self, who: str, possession: str | None, after: str | None, *, by_tunnel: bool) -> bytes | None: ...


def network_routes(informant: Informant, came_by_tunnel: Callable[[web.Request], bool]) -> list[web.RouteDef]:
    """The routes; ``came_by_tunnel`` tells who spoke to the gateway's overlay address."""

    async def network(request: web.Request) -> web.Response:
        by_tunnel = came_by_tunnel(request)
        possession = header(request, joining.POSSESSION)
        if not by_tunnel and possession is None:
            raise Refusal(403, f"only over the overlay, or with {joining.POSSESSION}")
        body = await body_of(request, REQUEST_LIMIT if by_tunnel else STRANGERS_LIMIT)
        return _json(await informant.ask(source(request), possession, body, by_tunnel=by_tunnel))

    async def neighbour(request: web.Request) -> web.Response:
        by_tunnel, claim = came_by_tunnel(request), header(request, joining.POSSESSION)
        who = source(request) if by_tunnel else header(request, joining.NAME)
        found = informant.neighbour(who or "", claim, request.query.get("after"), by_tunnel=by_tunnel)
        return web.Response(status=204) if found is None else _json(found)

    def answering(
        handler: Callable[[web.Request], Awaitable[web.Response]],
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """``handler`` with its refusals counted and answered."""

        async def answer(request: web.Request) -> web.Response:
            try:
                return await handler(request)
            except Refusal as refusal:
                if not came_by_tunnel(request):
                    refusal = informant.failed(source(request), refusal, path=request.path)
                return refused(refusal)

        return answer

    return [
        web.post("/v1/network", answering(network)),
        web.get("/v1/neighbour", answering(neighbour)),
    ]


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
