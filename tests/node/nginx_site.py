"""A real nginx with a client, and machines that answer as they are told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import aiohttp
from aiohttp import web

from node.gateway.serving.conf import Server
from tests.node.real_nginx import RealNginx, free_port


@dataclass
class Machine:
    """An inference server at ``address`` that holds requests to ``/hold`` until it is told to go on."""

    address: str
    port: int
    seen: list[web.Request] = field(default_factory=list[web.Request])
    go: asyncio.Event = field(default_factory=asyncio.Event)
    tokens: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue[bytes])
    sockets: int = 0
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/ws", self._web_socket)
        app.router.add_get("/steer", self._steer)
        app.router.add_route("*", "/hold", self._hold)
        app.router.add_get("/stream", self._stream)
        app.router.add_route("*", "/boom", self._boom)
        app.router.add_route("*", "/own-error", self._own_error)
        app.router.add_route("*", "/{rest:.*}", self._echo)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.address, self.port).start()

    async def stop(self) -> None:
        self.go.set()
        if self.runner:
            await self.runner.cleanup()

    async def _echo(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        return web.json_response({"by": self.address}, headers={"X-Request-ID": "the machine's own"})

    async def _hold(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        await self.go.wait()
        return await self._echo(request)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        while token := await self.tokens.get():
            await answer.write(token)
        return answer

    async def _boom(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        assert request.transport
        request.transport.abort()
        return web.Response()

    async def _own_error(self, request: web.Request) -> web.Response:
        return web.Response(status=503, text="the machine's own words")

    async def _steer(self, request: web.Request) -> web.Response:
        headers = {"X-Accel-Redirect": "/health", "X-Accel-Limit-Rate": "1", "X-Accel-Charset": "koi8-r"}
        headers |= {"X-Accel-Buffering": "yes", "X-Accel-Expires": "3600"}
        return web.Response(text="the machine's own words", headers=headers)

    async def _web_socket(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        await answer.send_str(f"you said {await answer.receive_str()}")
        await answer.close()
        return answer


@dataclass
class Site:
    """A running nginx, machines, and a client."""

    nginx: RealNginx
    client: aiohttp.ClientSession
    machines: list[Machine] = field(default_factory=list[Machine])

    async def machine(self) -> Machine:
        made = Machine(f"127.0.3.{len(self.machines) + 1}", free_port())
        self.machines.append(made)
        await made.start()
        return made

    async def serve(self, *servers: Server, **options: Any) -> None:
        """Configure nginx, and start it if it does not run."""
        await asyncio.to_thread(self.nginx.configure, servers, **options)
        if not self.nginx.is_started():
            await asyncio.to_thread(self.nginx.start)

    async def ask(self, method: str = "GET", path: str = "/v1/x", **options: Any) -> tuple[int, Any, Any]:
        """Status, headers and the answer's JSON (or text)."""
        async with self.client.request(method, self.nginx.url(path), **options) as answer:
            text = await answer.text()
            try:
                return answer.status, answer.headers, json.loads(text)
            except ValueError:
                return answer.status, answer.headers, text


def server(machine: Machine, weight: int = 10, *, backup: bool = False, max_conns: int = 0) -> Server:
    return Server(IPv4Address(machine.address), machine.port, weight, backup, max_conns)


def dead() -> Server:
    """A machine that takes no connection."""
    return Server(IPv4Address("127.0.3.99"), free_port(), 10, backup=False, max_conns=0)
