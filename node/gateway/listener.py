"""Bounded HTTP on a socket that is not ours: so many connections at once, each for so long, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

CONNECTIONS = 512
"""At once; further ones wait in the kernel's queue."""
HANDSHAKE_SECONDS = 10.0
LIFETIME_SECONDS = 60.0
"""A connection's life: no client, however slow, has its place for longer."""
_RETRY_SECONDS = 0.5


class _Tracked(asyncio.Protocol):
    """Passes everything on to ``inner`` and knows when the connection is gone."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self.gone.set()

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class Listener:
    """Serves ``app`` on the listening socket ``listener`` until it is closed; the socket itself stays open.

    ``tls`` gives the server's side for each new connection; without it it is plain HTTP.
    """

    def __init__(
        self, app: web.Application, listener: socket.socket, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        # Not decompressing: a stranger's small body would become a thousand times as large before it could be refused.
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, auto_decompress=False)
        self._listener = listener
        self._tls = tls
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._runner.setup()
        self._listener.setblocking(False)
        self._keep(asyncio.create_task(self._accept()))

    async def close(self) -> None:
        """End every connection and stop accepting."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:
                self._room.release()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._keep(asyncio.create_task(self._serve(connection)))

    async def _serve(self, connection: socket.socket) -> None:
        server = self._runner.server
        assert server is not None
        tracked = _Tracked(server())
        try:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: tracked,
                    connection,
                    ssl=self._tls() if self._tls else None,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
                )
                try:
                    await asyncio.wait_for(tracked.gone.wait(), LIFETIME_SECONDS)
                finally:
                    transport.abort()
        finally:
            self._room.release()
