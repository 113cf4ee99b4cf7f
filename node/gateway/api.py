"""The control plane over HTTPS; ``docs/control-plane.md`` is its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Protocol

from aiohttp import web

from node.gateway.lease import Refusal
from node.gateway.network_api import Informant, network_routes
from node.gateway.pool_api import Joins, Leaseholders, bearer, refused, routes, source

LIMIT = 4 << 20
"""Bytes of a roster or an archive."""
_BODIES = 16
"""Bodies that are read at once: bounds the memory that strangers can take to 64 MiB."""
_BODY_SECONDS = 20.0
NUMBER = "X-Hybridnet-Number"
SIGNATURE = "X-Hybridnet-Signature"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service(Protocol):
    """What the API needs from the service behind it."""

    def status(self, *, with_peers: bool) -> dict[str, Any]: ...

    async def offer_roster(self, body: bytes, signature: str | None) -> tuple[int, str]: ...

    async def offer_credentials(self, body: bytes, signature: str | None) -> tuple[int, str]: ...

    async def offer_release(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]: ...

    def release_archive(self) -> tuple[bytes, dict[str, str]]: ...

    def is_overlay(self, address: str) -> bool: ...

    def is_administrator(self, source: str) -> bool: ...

    @property
    def joins(self) -> Joins: ...

    @property
    def members(self) -> Leaseholders: ...

    @property
    def directory(self) -> Informant: ...


def _answer(status: int, reason: str) -> web.Response:
    return web.json_response({"status": status, "reason": reason}, status=status)


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers of aiohttp itself (404, 405, 413, a malformed request) in the shape of ours."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _answer(error.status, HTTPStatus(error.status).phrase.lower())


def _came_by_tunnel(service: Service, request: web.Request) -> bool:
    """Whether the connection was made to the gateway's overlay address, which only the tunnels lead to."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    if not name:
        return False
    address = ip_address(str(name[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return service.is_overlay(str(mapped or address))


def _check_token(service: Service, request: web.Request) -> None:
    """Refusal unless a machine asks that may join: before it has a tunnel it needs the release from here."""
    token, who = bearer(request), source(request)
    try:
        service.joins.admit(who, token)
        if not service.joins.pools_of(token):
            raise Refusal(403, "only over the overlay, or with a join token")
    except Refusal as refusal:
        service.joins.failed(who, refusal, path=request.path)
        raise


def application(service: Service) -> web.Application:
    """The API of ``service``."""
    room = asyncio.Semaphore(_BODIES)

    async def body_of(request: web.Request) -> bytes:
        if request.content_length is not None and request.content_length > LIMIT:
            raise web.HTTPRequestEntityTooLarge(LIMIT, request.content_length)
        if SIGNATURE not in request.headers:
            raise web.HTTPForbidden
        async with room:
            try:
                return await asyncio.wait_for(request.read(), _BODY_SECONDS)
            except asyncio.TimeoutError:
                raise web.HTTPRequestTimeout from None

    async def put_roster(request: web.Request) -> web.Response:
        return _answer(*await service.offer_roster(await body_of(request), request.headers[SIGNATURE]))

    async def put_credentials(request: web.Request) -> web.Response:
        return _answer(*await service.offer_credentials(await body_of(request), request.headers[SIGNATURE]))

    async def put_release(request: web.Request) -> web.Response:
        return _answer(*await service.offer_release(request.headers, await body_of(request)))

    async def get_status(request: web.Request) -> web.Response:
        is_member = "brief" not in request.query and _came_by_tunnel(service, request)
        is_full = is_member and service.is_administrator(source(request))
        return web.json_response(service.status(with_peers=is_full))

    async def get_release(request: web.Request) -> web.Response:
        if not _came_by_tunnel(service, request):
            try:
                _check_token(service, request)
            except Refusal as refusal:
                return refused(refusal)
        archive, headers = service.release_archive()
        return web.Response(body=archive, headers=headers, content_type="application/gzip")

    by_tunnel = partial(_came_by_tunnel, service)
    app = web.Application(client_max_size=LIMIT, middlewares=[_in_json])
    app.add_routes(
        [
            web.put("/v1/roster", put_roster),
            web.put("/v1/credentials", put_credentials),
            web.put("/v1/release", put_release),
            web.get("/v1/status", get_status),
            web.get("/v1/release", get_release),
            *routes(service.joins, service.members, by_tunnel),
            *network_routes(service.directory, by_tunnel),
        ]
    )
    return app
