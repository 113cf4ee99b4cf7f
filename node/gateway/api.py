"""The control plane over HTTPS; ``docs/control-plane.md`` is its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Protocol

from aiohttp import web

from node.gateway.conditions import Conditions
from node.gateway.counts import Counts
from node.gateway.lease import Refusal
from node.gateway.network_api import Informant, network_routes
from node.gateway.offers import Offers
from node.gateway.pool_api import Joins, Leaseholders, RefusalAnswer, bearer, header, refused, routes, source
from node.gateway.targets import Targets
from node.joining import NAME, POSSESSION

LIMIT = 4 << 20
"""Bytes of a roster or an archive."""
_BODIES = 16
"""Bodies that are read at once: bounds the memory that strangers can take to 64 MiB."""
_BODY_SECONDS = 20.0
NUMBER = "X-Hybridnet-Number"
SIGNATURE = "X-Hybridnet-Signature"
"""Header of the node that shows its key, and has no body to say it in."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service(Protocol):
    """What the API needs from the service behind it."""

    def status(self, *, with_peers: bool) -> dict[str, Any]: ...

    def is_overlay(self, address: str) -> bool: ...

    def is_administrator(self, source: str) -> bool: ...

    @property
    def offers(self) -> Offers: ...

    @property
    def joins(self) -> Joins: ...

    @property
    def members(self) -> Leaseholders: ...

    @property
    def counts(self) -> Counts: ...

    @property
    def directory(self) -> Informant: ...

    @property
    def conditions(self) -> Conditions: ...

    @property
    def targets(self) -> Targets: ...


def _answer(status: int, reason: str) -> web.Response:
    return web.json_response({"status": status, "reason": reason}, status=status)


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers of aiohttp itself (404, 405, 413, a malformed request) in the shape of ours."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _answer(error.status, HTTPStatus(error.status).phrase.lower())


async def _count(counts: Counts, request: web.Request, answer: web.StreamResponse) -> None:  # noqa: ARG001
    if isinstance(answer, RefusalAnswer):
        counts.refuse(answer.kind)


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
            raise Refusal(403, "only over the overlay, or with a join token", kind="token")
    except Refusal as refusal:
        service.joins.failed(who, refusal, path=request.path)
        raise


def _check_stranger(service: Service, request: web.Request) -> None:
    """Refusal unless a machine asks on the internet that may join, or that is a declared node.

    A declared node's tunnel does not work while it has not heard of another key of this gateway's.
    """
    if POSSESSION not in request.headers:
        _check_token(service, request)
        return
    try:
        service.directory.admit(header(request, NAME) or "", header(request, POSSESSION))
    except Refusal as refusal:
        raise service.directory.failed(source(request), refusal, path=request.path) from None


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

    def taking(offer: Callable[[bytes, str | None], Awaitable[tuple[int, str]]]) -> Handler:
        async def put(request: web.Request) -> web.Response:
            return _answer(*await offer(await body_of(request), request.headers[SIGNATURE]))

        return put

    async def put_release(request: web.Request) -> web.Response:
        return _answer(*await service.offers.release(request.headers, await body_of(request)))

    async def get_status(request: web.Request) -> web.Response:
        is_member = "brief" not in request.query and _came_by_tunnel(service, request)
        is_full = is_member and service.is_administrator(source(request))
        return web.json_response(service.status(with_peers=is_full))

    async def get_release(request: web.Request) -> web.Response:
        if not _came_by_tunnel(service, request):
            try:
                _check_stranger(service, request)
            except Refusal as refusal:
                return refused(refusal)
        archive, headers = service.offers.archive()
        return web.Response(body=archive, headers=headers, content_type="application/gzip")

    by_tunnel = partial(_came_by_tunnel, service)
    app = web.Application(client_max_size=LIMIT, middlewares=[_in_json])
    app.on_response_prepare.append(partial(_count, service.counts))
    app.add_routes(
        [
            web.put("/v1/roster", taking(service.offers.roster)),
            web.put("/v1/credentials", taking(service.offers.credentials)),
            web.put("/v1/signing", taking(service.offers.signing)),
            web.put("/v1/certificate", taking(service.offers.certificate)),
            web.put("/v1/release", put_release),
            web.get("/v1/status", get_status),
            web.get("/v1/release", get_release),
            *routes(service.joins, service.members, by_tunnel),
            *network_routes(service.directory, by_tunnel),
            *service.conditions.routes(by_tunnel),
            *service.targets.routes("/v1/targets", by_tunnel),
        ]
    )
    return app
