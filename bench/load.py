"""Sends requests to an inference server and notes what became of each one; run at the local cloud's desk.

`python -m bench.load` reads one `Task` as a line of JSON from standard input and begins. It goes on until the next
line or the end of standard input (or for the task's `seconds`), waits for the answers that are due, and prints one
line: a JSON list of `Outcome`s.

Each request comes by a connection of its own unless the task says otherwise. A connection that a client keeps may be
closed by the server in the moment in which the next request is sent, as every server does that is told to reload:
which of the two is at fault cannot be seen. On a connection of its own each lost request is the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

PATIENCE = 150.0
"""Longer than a gateway waits for a machine."""


@dataclass(frozen=True)
class Task:
    """`rate` requests a second (whatever the answers take), or `clients` that ask one request after the other.

    `seconds` 0 is until told. `body` is the request's JSON. With `keeps` a client keeps its connections. `patience` is
    how many seconds it waits for a word.
    """

    url: str
    ca_pem: str
    body: dict[str, Any]
    rate: float = 0.0
    clients: int = 0
    seconds: float = 0.0
    keeps: bool = False
    patience: float = PATIENCE


@dataclass(frozen=True)
class Outcome:
    """One request: when it was sent and when its answer was through, seconds since the epoch.

    `status` is 0 without an answer, and `error` says what happened; it is empty when all is well. `machine` sent the
    answer. `lags` are the seconds that each piece of a stream took from the machine to here.
    """

    sent: float
    ended: float
    status: int
    machine: str = ""
    error: str = ""
    lags: list[float] = field(default_factory=list[float])

    @property
    def seconds(self) -> float:
        return self.ended - self.sent


def in_flight(outcomes: Sequence[Outcome], at: float) -> list[Outcome]:
    """The requests under way at a time, seconds since the epoch."""
    return [each for each in outcomes if each.sent <= at < each.ended]


def _token(text: str) -> tuple[str, float]:
    """The machine and the time in a token of `examples/inference/server.py`."""
    machine, _, sent = text.strip().partition("@")
    return machine, float(sent)


async def _read(response: aiohttp.ClientResponse, sent: float) -> Outcome:
    if response.content_type != "text/event-stream":
        document = await response.json(content_type=None)
        if response.status != 200:
            return Outcome(sent, time.time(), response.status, error=str(document["error"]["message"]))
        machine, _ = _token(document["choices"][0]["text"].split()[0])
        return Outcome(sent, time.time(), 200, machine)
    machine, lags, done = "", list[float](), False
    async for line in response.content:
        data = line.decode().strip().removeprefix("data: ")
        if data == "[DONE]":
            done = True
        elif data:
            machine, left = _token(json.loads(data)["choices"][0]["text"])
            lags.append(time.time() - left)
    return Outcome(sent, time.time(), response.status, machine, "" if done else "the stream broke off", lags)


class Load:
    """A task at work."""

    def __init__(self, task: Task, session: aiohttp.ClientSession) -> None:
        self._task = task
        self._session = session
        self.over = asyncio.Event()
        self.outcomes: list[Outcome] = []

    async def ask(self) -> None:
        """Send a request, and note its outcome."""
        sent = time.time()
        try:
            async with self._session.post(self._task.url, json=self._task.body) as response:
                outcome = await _read(response, sent)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError) as error:
            outcome = Outcome(sent, time.time(), 0, error=f"{type(error).__name__}: {error}")
        self.outcomes.append(outcome)

    async def at_rate(self) -> None:
        """Send requests at the task's rate, each at its time, until it is over."""
        asked, begun = set[asyncio.Task[None]](), time.monotonic()
        while not self.over.is_set():
            asked.add(asyncio.create_task(self.ask()))
            rest = begun + len(asked) / self._task.rate - time.monotonic()
            try:
                await asyncio.wait_for(self.over.wait(), max(rest, 0))
            except TimeoutError:
                continue
        await asyncio.gather(*asked)

    async def one_by_one(self) -> None:
        """Be one client."""
        while not self.over.is_set():
            await self.ask()

    async def run(self) -> None:
        """Do the task; returns when every answer is there."""
        clients = [self.one_by_one() for _ in range(self._task.clients)] or [self.at_rate()]
        await asyncio.gather(self._end(), *clients)

    async def _end(self) -> None:
        if self._task.seconds:
            await asyncio.sleep(self._task.seconds)
        else:
            await asyncio.to_thread(sys.stdin.readline)
        self.over.set()


async def measured(task: Task) -> list[Outcome]:
    """What became of the task's requests."""
    context = ssl.create_default_context(cadata=task.ca_pem) if task.ca_pem else False
    connector = aiohttp.TCPConnector(ssl=context, limit=0, force_close=not task.keeps)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=task.patience, sock_read=task.patience)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        load = Load(task, session)
        await load.run()
    return load.outcomes


def main() -> None:
    task = Task(**json.loads(sys.stdin.readline()))
    outcomes = asyncio.run(measured(task))
    print(json.dumps([asdict(outcome) for outcome in outcomes]))


if __name__ == "__main__":
    main()
