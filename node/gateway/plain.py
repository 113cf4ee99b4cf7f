"""The gateway's plain HTTP, on its overlay address alone: its metrics, and whatever else is only to be looked at."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address

from aiohttp import web

from node.exporter import PORT
from node.gateway.listener import Listener
from node.log import say

_RETRY_SECONDS = 10.0


async def serve_plainly(routes: Iterable[web.RouteDef], address: IPv4Address, port: int = PORT) -> None:
    """Answer ``routes`` at ``address`` until cancelled; it may come later than this.

    Connections are as bounded as the control plane's (``node.gateway.listener``): whoever follows something for longer
    than one lives has to come again.
    """
    app = web.Application()
    app.add_routes(routes)
    with await _bound(address, port) as listener:
        http = Listener(app, listener)
        await http.start()
        try:
            await asyncio.Event().wait()
        finally:
            await http.close()


async def _bound(address: IPv4Address, port: int) -> socket.socket:
    is_told = False
    while True:
        try:
            return socket.create_server((str(address), port))
        except OSError as error:
            if not is_told:
                say(f"no metrics and no status page at {address}:{port} yet: {error.strerror}")
            is_told = True
        await asyncio.sleep(_RETRY_SECONDS)
