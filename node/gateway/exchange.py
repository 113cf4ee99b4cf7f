"""Asks the other gateways for what they know: every two seconds, and at once when one of them says so."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import aiohttp

from node.gateway.network import Network
from node.joining import NAME, POSSESSION, JoinError, possession
from node.log import say
from node.neighbour_document import NEIGHBOUR, Neighbour, parse_neighbour
from node.network_words import DocumentError
from overlay.model import Node

ASK_SECONDS = 2.0
TIMEOUT = 5.0
SILENCE_SECONDS = 10.0
"""Without an answer over the overlay for this long another gateway is asked on the internet."""
PAUSE_SECONDS = 0.05
"""Between two questions, however often somebody nudges."""
LIMIT = 16 << 20
"""Bytes of an answer."""


class Exchange:
    """The other gateways of ``network``, each asked by itself. ``on_change`` is called after one told something new.

    ``private_key`` is this gateway's own WireGuard key, which it shows to them that it holds.
    """

    def __init__(self, network: Network, private_key: str | None, on_change: Callable[[], None]) -> None:
        self._network = network
        self._private_key = private_key
        self._on_change = on_change
        self._tasks: dict[str, tuple[Node, asyncio.Task[None]]] = {}
        self._nudged: dict[str, asyncio.Event] = {}
        self._wake = asyncio.Event()
        self._problems: dict[str, str] = {}
        self._heard: dict[str, float] = {}

    def others(self) -> dict[str, Node]:
        """Name -> gateway, of all but this one."""
        kept, own = self._network.rosters.kept, self._network.config.name
        return {} if kept is None else {name: node for name, node in kept.gateways.items() if name != own}

    def follow(self) -> None:
        """Ask those that are in the roster now."""
        self._wake.set()

    def nudge(self, source: str) -> None:
        """Ask the gateway at this address at once; nobody else can make this one ask."""
        for name, node in self.others().items():
            if str(node.address) == source and name in self._nudged:
                self._nudged[name].set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._match()
                await self._wake.wait()
        finally:
            for _, task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._tasks.values()), return_exceptions=True)

    def _match(self) -> None:
        others = self.others()
        for name, (node, task) in list(self._tasks.items()):
            if others.get(name) != node:
                task.cancel()
                del self._tasks[name]
        for name, node in others.items():
            if name not in self._tasks:
                self._nudged[name] = asyncio.Event()
                self._tasks[name] = node, asyncio.create_task(self._follow(node, self._nudged[name]))

    async def _follow(self, node: Node, nudged: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            nudged.clear()
            try:
                await self._ask(node, self._tls())
                self._tell(node.name, "")
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, DocumentError, JoinError) as error:
                self._tell(node.name, str(error) or type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)
            # Not with wait_for, which up to Python 3.11 may take a cancellation for the event's end.
            timer = loop.call_later(ASK_SECONDS, nudged.set)
            await nudged.wait()
            timer.cancel()

    async def _ask(self, node: Node, tls: ssl.SSLContext) -> None:
        """Over the overlay; on the internet when that is silent: one of both may have another WireGuard key by now."""
        neighbours, (own, port) = self._network.neighbours, self._network.config.control
        before = neighbours.answers.get(node.name)
        parameters = {"after": before.version} if before else {}
        headers = {NAME: self._network.config.name}
        if self._private_key is not None:
            headers[POSSESSION] = possession(self._private_key, node.public_key, NEIGHBOUR)
        try:
            body = await _got(f"{node.address}:{port}", str(own), tls, parameters, headers)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
            if node.endpoint is None or not self._is_silent(node.name):
                raise
            host = node.endpoint.rpartition(":")[0]
            body = await _got(f"{host}:{port}", None, tls, parameters, headers)
        self._heard[node.name] = self._network.ticks()
        if body is None:
            neighbours.heard(node.name)
            return
        answer: Neighbour = await asyncio.to_thread(parse_neighbour, body)
        if answer.name != node.name:
            raise DocumentError(f"it says that it is {answer.name}")
        version = neighbours.version
        self._network.revocations.merge(answer.revocations)
        neighbours.take(answer)
        if neighbours.version != version:
            self._on_change()

    def _is_silent(self, name: str) -> bool:
        """Whether a gateway has not answered for a while."""
        now = self._network.ticks()
        return now - self._heard.setdefault(name, now) > SILENCE_SECONDS

    def _tls(self) -> ssl.SSLContext:
        """Trusts the stack's authority; ConnectionError on a gateway that was never told of one."""
        try:
            return self._network.trust.tls
        except OSError as error:
            raise ConnectionError(
                f"the authority cannot be read ({error.strerror}): this gateway was made before there could be "
                "several; bring the stack up, so that it is told, or raise its `revision`"
            ) from None

    def _tell(self, name: str, problem: str) -> None:
        if problem and problem != self._problems.get(name):
            say(f"the gateway {name} does not answer: {problem}")
        elif not problem and self._problems.get(name):
            say(f"the gateway {name} answers again")
        self._problems[name] = problem


async def _got(
    place: str,
    own: str | None,
    tls: ssl.SSLContext,
    parameters: dict[str, str],
    headers: dict[str, str],
) -> bytes | None:
    """What the gateway at ``place`` (host:port) tells, or None for nothing new. ``own`` is the address to ask from."""
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True, local_addr=(own, 0) if own else None)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    url = f"https://{place}/v1/neighbour"
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.get(url, params=parameters, headers=headers) as answer,
    ):
        if answer.status == 204:
            return None
        if answer.status != 200:
            raise ConnectionError(f"status {answer.status}")
        if (answer.content_length or LIMIT + 1) > LIMIT:
            raise ConnectionError("its answer is too large, or does not say how large it is")
        return await answer.read()
