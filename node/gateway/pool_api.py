"""The routes of the pools' machines: joining from anywhere, and the rest through the tunnel only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web

from node import joining
from node.gateway.lease import FULL_WEIGHT, Kind, Misdirected, Refusal, State
from node.gateway.limits import source_of
from overlay.fields import FieldError, Fields, read

_BODY_SECONDS = 10.0
_LEASE_LIMIT = 4096
_REASON_LIMIT = 200


class Joins(Protocol):
    """Who may join."""

    async def join(
        self,
        source: str,
        token: str | None,
        possession: str | None,
        length: int | None,
        read: Callable[[], Awaitable[bytes]],
    ) -> tuple[int, bytes]: ...

    def admit(self, source: str, token: str | None) -> None: ...

    def pools_of(self, token: str | None) -> list[Any]: ...

    def failed(self, source: str, refusal: Refusal, **about: str | None) -> None: ...


class Leaseholders(Protocol):
    """Those who have joined."""

    def tell(self, address: str, secret: str | None) -> dict[str, Any]: ...

    async def change(
        self, address: str, secret: str | None, state: State | None, weight: int | None, reason: str | None
    ) -> dict[str, Any]: ...

    async def leave(self, address: str, secret: str | None, reason: str | None) -> dict[str, Any]: ...


class RefusalAnswer(web.Response):
    """The answer to what was refused; ``kind`` says what that was about."""

    def __init__(self, refusal: Refusal, document: Mapping[str, Any]) -> None:
        headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else None
        text = json.dumps(document)
        super().__init__(text=text, status=refusal.status, headers=headers, content_type="application/json")
        self.kind: Kind = refusal.kind


def refused(refusal: Refusal) -> RefusalAnswer:
    """The answer to what was refused. The rest of a body that was not read ends with the connection."""
    document: dict[str, Any] = {"status": refusal.status, "reason": refusal.reason}
    if isinstance(refusal, Misdirected):
        document["gateway"] = {"url": refusal.url, "public_key": refusal.public_key}
    answer = RefusalAnswer(refusal, document)
    answer.force_close()
    return answer


def bearer(request: web.Request) -> str | None:
    """The token or secret in ``Authorization: Bearer …``."""
    kind, _, value = (header(request, "Authorization") or "").partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None


def header(request: web.Request, name: str) -> str | None:
    """A header; None for one that is not ASCII, which none of ours is."""
    value = request.headers.get(name)
    return value if value and value.isascii() else None


def source(request: web.Request) -> str:
    """The address that a request comes from, as it is counted."""
    return source_of(request.remote or "::")


async def body_of(request: web.Request, limit: int) -> bytes:
    """The body; Refusal when it is larger or takes too long."""

    async def whole() -> bytes:
        found = bytearray()
        async for chunk in request.content.iter_any():
            found += chunk
            if len(found) > limit:
                raise Refusal(413, f"at most {limit} bytes are taken")
        return bytes(found)

    try:
        return await asyncio.wait_for(whole(), _BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the body took longer than {_BODY_SECONDS:.0f} s") from None


def _maybe(fields: Fields, key: str) -> object:
    """The value of a field that need not be there."""
    try:
        return fields.take(key)[1]
    except FieldError:
        return None


def _is_draining(fields: Fields) -> bool:
    state = _maybe(fields, "state")
    if state not in (None, "draining"):
        raise FieldError("lease.state: only draining can be asked for")
    return state is not None


def _weight(fields: Fields) -> int | None:
    weight = _maybe(fields, "weight")
    if weight is None or (type(weight) is int and 1 <= weight <= FULL_WEIGHT):
        return weight
    raise FieldError(f"lease.weight: a whole number from 1 to {FULL_WEIGHT} is needed")


def _reason(fields: Fields) -> str | None:
    reason = _maybe(fields, "reason")
    if reason is None or (isinstance(reason, str) and len(reason) <= _REASON_LIMIT):
        return reason
    raise FieldError(f"lease.reason: a text of at most {_REASON_LIMIT} characters is needed")


class _LeaseRoutes:
    """What a machine asks about its own lease, through the tunnel."""

    def __init__(self, joins: Joins, members: Leaseholders, came_by_tunnel: Callable[[web.Request], bool]) -> None:
        self._joins = joins
        self._members = members
        self._came_by_tunnel = came_by_tunnel

    def _who(self, request: web.Request) -> tuple[str, str | None]:
        """Overlay address and lease secret of one who has a lease; Refusal."""
        if not self._came_by_tunnel(request):
            raise Refusal(403, "only over the overlay")
        who = source(request), bearer(request)
        self._members.tell(*who)
        return who

    async def get(self, request: web.Request) -> dict[str, Any]:
        return self._members.tell(*self._who(request))

    async def patch(self, request: web.Request) -> dict[str, Any]:
        who, fields = self._who(request), await _fields_of(request)
        drains, weight, reason = _is_draining(fields), _weight(fields), _reason(fields)
        fields.end()
        return await self._members.change(*who, "draining" if drains else None, weight, reason)

    async def delete(self, request: web.Request) -> dict[str, Any]:
        who, fields = self._who(request), await _fields_of(request)
        reason = _reason(fields)
        fields.end()
        return await self._members.leave(*who, reason)

    def answering(
        self, handler: Callable[[web.Request], Awaitable[dict[str, Any]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """``handler`` with its refusals counted and answered."""

        async def answer(request: web.Request) -> web.Response:
            try:
                try:
                    return web.json_response({"schema_version": joining.SCHEMA_VERSION, **await handler(request)})
                except FieldError as error:
                    raise Refusal(400, str(error)) from None
            except Refusal as refusal:
                if refusal.status != HTTPStatus.TOO_MANY_REQUESTS:
                    self._joins.failed(source(request), refusal, path=request.path)
                return refused(refusal)

        return answer


async def _fields_of(request: web.Request) -> Fields:
    return read("lease", await body_of(request, _LEASE_LIMIT) or b"{}")


def routes(joins: Joins, members: Leaseholders, came_by_tunnel: Callable[[web.Request], bool]) -> list[web.RouteDef]:
    """The routes; ``came_by_tunnel`` tells who spoke to the gateway's overlay address."""

    async def join(request: web.Request) -> web.Response:
        try:
            status, body = await joins.join(
                source(request),
                bearer(request),
                header(request, joining.POSSESSION),
                request.content_length,
                lambda: body_of(request, joining.LIMIT),
            )
        except Refusal as refusal:
            return refused(refusal)
        return web.Response(status=status, body=body, content_type="application/json")

    lease = _LeaseRoutes(joins, members, came_by_tunnel)
    return [
        web.post("/v1/join", join),
        web.get("/v1/lease", lease.answering(lease.get)),
        web.patch("/v1/lease", lease.answering(lease.patch)),
        web.delete("/v1/lease", lease.answering(lease.delete)),
    ]
