"""The status page with a status that a test makes, on a port of loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from node.gateway.page import Page


@contextmanager
def serving(status: Callable[[], dict[str, Any]], may_see: Callable[[str], bool] = lambda _: True) -> Generator[str]:
    """The URL of a page that shows ``status()``, served in a thread of its own while the block runs."""
    loop = asyncio.new_event_loop()
    started: list[web.AppRunner] = []
    ready = threading.Event()

    async def start() -> None:
        app = web.Application()
        app.add_routes(Page(status, may_see, lambda: ["gw.hetzner.wg.internal"]).routes())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        started.append(runner)
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(started[0].cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert ready.wait(60)
        host, port = started[0].addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
