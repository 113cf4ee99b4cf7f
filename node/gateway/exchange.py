"""Asks the other gateways for what they know: every two seconds, and at once when one of them says so."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp

from node.control import trust
from node.gateway.network import Network
from node.joining import POSSESSION, JoinError, possession
from node.log import say
from node.network_document import NEIGHBOUR, DocumentError, Neighbour, parse_neighbour
from overlay.model import Node

ASK_SECONDS = 2.0
TIMEOUT = 5.0
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
        tls = _trust(self._network.config.files)
        try:
            while True:
                self._wake.clear()
                if tls is not None:
                    self._match(tls)
                await self._wake.wait()
        finally:
            for _, task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._tasks.values()), return_exceptions=True)

    def _match(self, tls: ssl.SSLContext) -> None:
        others = self.others()
        for name, (node, task) in list(self._tasks.items()):
            if others.get(name) != node:
                task.cancel()
                del self._tasks[name]
        for name, node in others.items():
            if name not in self._tasks:
                self._nudged[name] = asyncio.Event()
                self._tasks[name] = node, asyncio.create_task(self._follow(node, tls, self._nudged[name]))

    async def _follow(self, node: Node, tls: ssl.SSLContext, nudged: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            nudged.clear()
            try:
                await self._ask(node, tls)
                self._tell(node.name, "")
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, DocumentError, JoinError) as error:
                self._tell(node.name, str(error) or type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)
            # Not with wait_for, which up to Python 3.11 may take a cancellation for the event's end.
            timer = loop.call_later(ASK_SECONDS, nudged.set)
            await nudged.wait()
            timer.cancel()

    async def _ask(self, node: Node, tls: ssl.SSLContext) -> None:
        neighbours, config = self._network.neighbours, self._network.config
        before = neighbours.answers.get(node.name)
        parameters = {"after": before.version} if before else {}
        headers = (
            {} if self._private_key is None else {POSSESSION: possession(self._private_key, node.public_key, NEIGHBOUR)}
        )
        body = await _got(node.address, config.control, tls, parameters, headers)
        if body is None:
            neighbours.heard(node.name)
            return
        answer: Neighbour = await asyncio.to_thread(parse_neighbour, body)
        if answer.name != node.name:
            raise DocumentError(f"it says that it is {answer.name}")
        version = neighbours.version
        neighbours.take(answer)
        if neighbours.version != version:
            self._on_change()

    def _tell(self, name: str, problem: str) -> None:
        if problem and problem != self._problems.get(name):
            say(f"the gateway {name} does not answer: {problem}")
        elif not problem and self._problems.get(name):
            say(f"the gateway {name} answers again")
        self._problems[name] = problem


async def _got(
    address: IPv4Address,
    own: tuple[IPv4Address, int],
    tls: ssl.SSLContext,
    parameters: dict[str, str],
    headers: dict[str, str],
) -> bytes | None:
    """What the gateway at ``address`` tells, or None for nothing new. Asked from this one's own overlay address."""
    connector = aiohttp.TCPConnector(ssl=tls, force_close=True, local_addr=(str(own[0]), 0))
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    url = f"https://{address}:{own[1]}/v1/neighbour"
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


def _trust(files: Path) -> ssl.SSLContext | None:
    """Trusts the stack's CA; None on a gateway that does not have it."""
    try:
        return trust(files)
    except OSError as error:
        say(
            f"{files / 'ca.pem'} cannot be read ({error.strerror}), so the other gateways are not asked for their "
            "machines: this gateway was made before there could be several; raise its `revision`"
        )
        return None
