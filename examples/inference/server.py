"""A small inference server that answers as OpenAI's API does: to try out what stands in front of it.

Each token is this machine's name and the time at which it was sent: ``hetzner-1@1767225600.123456``. A request may say
how many seconds its answer takes (``seconds``, which OpenAI's API does not have). As with a model, only so many
requests are answered at once and the others wait for their turn.

Runs with Python 3.10 and the distribution's aiohttp (3.8.1).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

MAX_TOKENS = 100_000
MAX_SECONDS = 3600.0


class BadRequestError(ValueError):
    """The request is none that can be answered; the message says why."""


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    model: str
    tokens: int
    seconds: float
    stream: bool


def _number(body: dict[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise BadRequestError(f"{key} must be a number from {least:g} to {most:g}")
    return value


def read(text: str, defaults: argparse.Namespace) -> Asked:
    """The request in a body; BadRequestError."""
    try:
        body = json.loads(text)
    except ValueError:
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("the body must be an object")
    body = cast("dict[str, Any]", body)
    if not isinstance(body.get("prompt"), (str, list)):
        raise BadRequestError("prompt must be a text or a list")
    stream = body.get("stream", False)
    if not isinstance(stream, bool):
        raise BadRequestError("stream must be true or false")
    return Asked(
        str(body.get("model", "example")),
        int(_number(body, "max_tokens", defaults.tokens, 1, MAX_TOKENS)),
        float(_number(body, "seconds", defaults.seconds, 0, MAX_SECONDS)),
        stream,
    )


class Server:
    """The server's state, and its answers."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._slots = asyncio.Semaphore(options.slots)
        self._running = 0
        self._ended = time.monotonic()
        """When the last request was through."""
        self._state = "ok"

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes([web.get("/health", self.health), web.post("/v1/completions", self.completions)])
        return application

    async def drained(self, linger: float) -> None:
        """Say from now on that this server is not healthy, and return when nothing is left to do.

        It answers for ``linger`` seconds more, counted anew from each answer's end: whoever sends requests needs a
        while to find out.
        """
        self._state = "stopping"
        self._ended = time.monotonic()
        while True:
            rest = self._ended + linger - time.monotonic()
            if not self._running and rest <= 0:
                return
            await asyncio.sleep(max(rest, 0.05))

    async def health(self, _: web.Request) -> web.Response:
        """200 while this server can take requests, else 503."""
        document = {"status": self._state, "running": self._running}
        return web.json_response(document, status=200 if self._state == "ok" else 503)

    def say(self, state: str) -> None:
        """Say ``ok`` or ``unhealthy`` from now on, and answer requests all the same."""
        if self._state != "stopping":
            self._state = state

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's ``POST /v1/completions``, streaming or not."""
        try:
            asked = read(await request.text(), self._options)
        except (BadRequestError, UnicodeDecodeError) as error:
            problem = {"message": str(error), "type": "invalid_request_error", "code": None}
            return web.json_response({"error": problem}, status=400)
        async with self._turn():
            return await (self._streamed(request, asked) if asked.stream else self._whole(asked))

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        self._running += 1
        try:
            async with self._slots:
                yield
        finally:
            self._running -= 1
            self._ended = time.monotonic()

    async def _tokens(self, asked: Asked) -> AsyncIterator[str]:
        begun = time.monotonic()
        for number in range(1, asked.tokens + 1):
            wait = begun + asked.seconds * number / asked.tokens - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            yield f"{self._options.name}@{time.time():.6f} "

    async def _whole(self, asked: Asked) -> web.Response:
        text = "".join([token async for token in self._tokens(asked)])
        usage = {"prompt_tokens": 0, "completion_tokens": asked.tokens, "total_tokens": asked.tokens}
        return web.json_response({**_completion(asked, _identity(), text, "length"), "usage": usage})

    async def _streamed(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        identity, sent = _identity(), 0
        try:
            async for token in self._tokens(asked):
                sent += 1
                piece = _completion(asked, identity, token, "length" if sent == asked.tokens else None)
                await response.write(f"data: {json.dumps(piece)}\n\n".encode())
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
        except ConnectionResetError:
            pass  # Whoever asked has gone.
        return response


def _identity() -> dict[str, Any]:
    return {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}


def _completion(asked: Asked, identity: dict[str, Any], text: str, reason: str | None) -> dict[str, Any]:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}
    return {**identity, "model": asked.model, "choices": [choice]}


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT, and then what is under way. SIGUSR1: say unhealthy; SIGUSR2: say ok again."""
    server, asked_to_stop, loop = Server(options), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    loop.add_signal_handler(signal.SIGUSR1, server.say, "unhealthy")
    loop.add_signal_handler(signal.SIGUSR2, server.say, "ok")
    runner = web.AppRunner(server.application(), handle_signals=False, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.address, options.port, backlog=1024).start()
    print(f"{options.name} serves at {options.address}:{options.port}", flush=True)
    await asked_to_stop.wait()
    await server.drained(options.linger)
    await runner.cleanup()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A small inference server that answers as OpenAI's API does.")
    parser.add_argument("--name", default=socket.gethostname(), help="what each token begins with (%(default)s)")
    parser.add_argument("--address", default="0.0.0.0", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (%(default)s)")
    parser.add_argument("--slots", type=int, default=64, help="how many requests are answered at once (%(default)s)")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an answer, unless asked (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.0, help="what an answer takes, unless asked (%(default)s)")
    parser.add_argument(
        "--linger",
        type=float,
        default=8.0,
        help="seconds that it goes on after SIGTERM: longer than the balancer needs to find out (%(default)s)",
    )
    return parser


def main() -> None:
    asyncio.run(serve(_parser().parse_args()))


if __name__ == "__main__":
    main()
