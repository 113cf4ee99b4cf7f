"""What root may ask and tell the gateway's service on its own machine: HTTP on a socket in the service's state.

The state's folder is root's alone, and so is the socket: whoever reaches it may do everything. ``hybridnet`` on the
machine is the client (``node.command.local``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from node.files import SOCKET
from node.gateway.lease import Refusal
from node.gateway.pool_api import body_of, refused
from node.gateway.revoking import Revoker
from node.log import say
from overlay.fields import FieldError, read

_LIMIT = 256 << 10
"""Bytes of a body: enough for the names of a thousand nodes."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Local(Protocol):
    """What the socket needs from the service behind it."""

    def status(self, *, with_peers: bool) -> dict[str, Any]: ...

    def rotate(self, names: Sequence[str]) -> list[str]: ...

    @property
    def revoker(self) -> Revoker: ...


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong is told as the reason in a JSON document."""
    try:
        return await handler(request)
    except FieldError as error:
        return refused(Refusal(400, str(error)))
    except Refusal as refusal:
        return refused(refusal)
    except web.HTTPException as error:
        return refused(Refusal(error.status, f"{request.method} {request.path}: {error.reason}"))
    except Exception as error:
        say(f"{request.method} {request.path} on the service's socket failed: {error!r}")
        return refused(Refusal(500, f"the service failed ({error!r}): see `journalctl -u hybridnet`"))


def local_application(service: Local) -> web.Application:
    """The API for ``service``'s own machine."""

    async def get_status(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.json_response(service.status(with_peers=True))

    async def post_rotate(request: web.Request) -> web.Response:
        fields = read("rotation", await body_of(request, _LIMIT))
        names = fields.texts("names")
        fields.end()
        return web.json_response({"names": service.rotate(names)})

    app = web.Application(middlewares=[_in_json])
    app.add_routes([web.get("/v1/status", get_status), web.post("/v1/rotate", post_rotate)])
    app.add_routes(service.revoker.routes())
    return app


async def serve_locally(app: web.Application, state: Path) -> web.AppRunner:
    """Answer on the socket in the folder ``state``; the runner's ``cleanup`` ends it. OSError."""
    path = state / SOCKET
    path.unlink(missing_ok=True)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    path.chmod(0o600)
    return runner
