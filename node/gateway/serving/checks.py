"""Health checks: which machines' inference servers answer.

Each machine is asked over the tunnel by HTTP, at once when it is new and then once an interval. A machine that has
much to do answers slowly, so only these bounds make an answer a failure: 2 s until it takes the connection, 5 s for
everything.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

import aiohttp
from yarl import URL

from node.gateway.serving.machines import Endpoint
from overlay.serving import Check

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
BODY_BYTES = 64 << 10
"""More of an answer than this is not read."""
AT_ONCE = 512
"""Checks under way at once; each holds a file descriptor."""


@dataclass
class Outcome:
    """What the checks of a machine have found. ``row`` counts the last ones in a row that say the other."""

    healthy: bool
    row: int = 0
    failures: int = 0
    why: str = "not checked yet"
    """Why the last check failed, if it did."""

    def take(self, why: str | None, check: Check) -> bool:
        """Count one more check, which failed if there is a ``why``; whether it has changed the verdict."""
        if why is not None:
            self.failures += 1
            self.why = why
        if self.healthy == (why is None):
            self.row = 0
            return False
        self.row += 1
        if self.row < (check.fall if self.healthy else check.rise):
            return False
        self.healthy, self.row = not self.healthy, 0
        return True


class Checks:
    """The checks of all machines that :meth:`follow` was told of; ``on_change`` is called when a verdict is another."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._check = Check(interval=1, rise=1, fall=1)
        self._outcomes: dict[Endpoint, Outcome] = {}
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    def follow(
        self, check: Check, endpoints: Iterable[Endpoint], trusted: Collection[tuple[IPv4Address, int]] = ()
    ) -> None:
        """Check exactly these from now on. New ones whose address and port are ``trusted`` begin as healthy.

        One that stays at its address and port keeps its verdict, also if its name or its health path is another.
        """
        self._check = check
        wanted = dict.fromkeys(endpoints)
        verdicts = {each.place: outcome.healthy for each, outcome in self._outcomes.items()}
        for gone in self._tasks.keys() - wanted.keys():
            self._tasks.pop(gone).cancel()
            del self._outcomes[gone]
        for new in wanted.keys() - self._tasks.keys():
            self._outcomes[new] = Outcome(verdicts.get(new.place, new.place in trusted))
            self._tasks[new] = asyncio.create_task(self._watch(new))

    def is_healthy(self, endpoint: Endpoint) -> bool:
        outcome = self._outcomes.get(endpoint)
        return outcome is not None and outcome.healthy

    def outcome(self, endpoint: Endpoint) -> Outcome | None:
        """None for one that is not checked."""
        return self._outcomes.get(endpoint)

    def stop(self) -> None:
        """Check nobody."""
        self.follow(self._check, ())

    async def close(self) -> None:
        """End all checks for good."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        if self._session:
            await self._session.close()

    async def _watch(self, endpoint: Endpoint) -> None:
        outcome = self._outcomes[endpoint]
        # The second check comes early by chance, so that machines which came together are not checked together.
        pause = random.random()
        while True:
            async with self._room:
                why = await self._ask(endpoint)
            if outcome.take(why, self._check):
                self._on_change()
            await asyncio.sleep(pause * self._check.interval)
            pause = 1.0

    async def _ask(self, endpoint: Endpoint) -> str | None:
        """Why the machine's answer is not a good one, or None."""
        try:
            url = URL(f"http://{endpoint.address}:{endpoint.port}{endpoint.health_path}", encoded=True)
            async with self._open().get(url, allow_redirects=False) as answer:
                read = 0
                while read < BODY_BYTES and (chunk := await answer.content.readany()):
                    read += len(chunk)
                return None if 200 <= answer.status < 300 else f"its health check answered {answer.status}"
        except asyncio.TimeoutError:
            return f"its health check took longer than {CONNECT_SECONDS:.0f} s to connect or {ANSWER_SECONDS:.0f} s"
        except aiohttp.ClientConnectorError as error:
            return f"it takes no connection: {error.os_error.strerror}"
        except Exception as error:
            # Whatever it is: a check that ended by it would leave its verdict for good.
            return f"its health check got no HTTP answer: {type(error).__name__}"

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connection for each check: an old one would not show that the server still takes new ones.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "hybridnet"},
            )
        return self._session
