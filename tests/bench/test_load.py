"""The load that is put on inference servers, against the example's own server, here and without a gateway."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.load import Outcome, Task, in_flight, measured

SERVER = Path(__file__).parents[2] / "examples" / "inference" / "server.py"
NAME = "machine-1"


class Machine:
    """An inference server in a process of its own."""

    def __init__(self, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [sys.executable, str(SERVER), "--name", NAME, "--address", "127.0.0.1", "--port", str(port), *options]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline().startswith(f"{NAME} serves")
        self.url = f"http://127.0.0.1:{port}/v1/completions"

    def task(self, body: dict[str, Any], **how: Any) -> Task:
        return Task(self.url, "", {"prompt": "Say something.", **body}, **how)

    async def until_running(self, count: int) -> None:
        """Return when so many requests are under way."""
        async with asyncio.timeout(60):
            while True:
                async with aiohttp.request("GET", self.url.replace("/v1/completions", "/health")) as response:
                    if (await response.json())["running"] == count:
                        return

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def machine() -> Generator[Machine]:
    machine = Machine("--linger", "0.2", "--slots", "4")
    yield machine
    machine.end()
    assert machine.process.stdout
    machine.process.stdout.close()


async def once(task: Task) -> Outcome:
    """The outcome of one request of a task."""
    (first, *_) = await measured(task)
    return first


async def test_an_answer_names_its_machine(machine: Machine) -> None:
    found = await once(machine.task({"seconds": 0.2}, clients=1, seconds=0.1))
    assert (found.status, found.machine, found.error) == (200, NAME, "")
    assert found.seconds >= 0.2


async def test_a_stream_tells_how_late_each_token_came(machine: Machine) -> None:
    found = await once(machine.task({"seconds": 0.3, "max_tokens": 3, "stream": True}, clients=1, seconds=0.1))
    assert (found.status, found.machine, found.error, len(found.lags)) == (200, NAME, "", 3)
    assert all(lag >= 0 for lag in found.lags)
    assert max(found.lags) < found.seconds


async def test_a_rate_does_not_wait_for_answers(machine: Machine) -> None:
    outcomes = await measured(machine.task({"seconds": 1}, rate=40, seconds=0.5))
    assert len(outcomes) > 4
    assert [each.error for each in outcomes if each.error] == []
    last = max(each.sent for each in outcomes)
    assert len(in_flight(outcomes, last)) == len(outcomes)
    assert in_flight(outcomes, max(each.ended for each in outcomes)) == []


async def test_no_more_requests_are_answered_at_once_than_there_are_slots(machine: Machine) -> None:
    outcomes = await measured(machine.task({"seconds": 1}, clients=8, seconds=0.1))
    assert [each.error for each in outcomes] == [""] * 8
    last, first = max(each.ended for each in outcomes), min(each.sent for each in outcomes)
    assert last - first >= 2, "the second four waited for the first"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"prompt": 7}, "prompt must be"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"max_tokens": True}, "max_tokens must be"),
        ({"seconds": -1}, "seconds must be"),
        ({"stream": "yes"}, "stream must be"),
    ],
)
async def test_a_request_that_cannot_be_answered_is_told_why(
    machine: Machine, body: dict[str, Any], problem: str
) -> None:
    found = await once(machine.task(body, clients=1, seconds=0.1))
    assert found.status == 400
    assert problem in found.error


async def test_what_a_killed_machine_had_is_lost_and_seen(machine: Machine) -> None:
    load = asyncio.create_task(measured(machine.task({"seconds": 5}, clients=1, seconds=0.1)))
    other = asyncio.create_task(measured(machine.task({"seconds": 5, "stream": True}, clients=1, seconds=0.1)))
    await machine.until_running(2)
    machine.process.kill()
    whole, streamed = await load, await other
    assert (whole[0].status, whole[0].machine) == (0, "")
    assert streamed[0].error
    assert all(each.error for each in whole + streamed)


async def test_a_stopped_server_ends_what_it_has_begun_and_says_so(machine: Machine) -> None:
    load = asyncio.create_task(measured(machine.task({"seconds": 5}, clients=2, seconds=0.1)))
    await machine.until_running(2)
    stopped = time.time()
    machine.process.send_signal(signal.SIGTERM)
    outcomes = await load
    assert [each.error for each in outcomes] == ["", ""]
    assert min(each.ended for each in outcomes) > stopped
    assert await asyncio.to_thread(machine.process.wait, 10) == 0


async def test_nobody_there_is_an_outcome_too(machine: Machine) -> None:
    machine.end()
    found = await once(machine.task({}, clients=1, seconds=0.1))
    assert found.status == 0
    assert "Connect" in found.error
