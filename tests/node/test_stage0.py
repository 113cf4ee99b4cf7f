"""Stage 0 with real processes: a bad release always leads back to the last good one."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node import stage0
from tests.node.real_nginx import free_port
from tests.node.support import Stack, archive, wait_for, write_config

ROOT = Path(__file__).parents[2]
RUN = "import sys; sys.path.insert(0, sys.argv[1]); from node import stage0; stage0.PATIENCE = 5.0; \
stage0.PROBATION = 0.5; stage0.main()"
"""Stage 0 as it is, with less patience than 25 s, and a shorter probation than a minute."""

PRELUDE = """
import os, sys, time, pathlib
place = pathlib.Path.cwd()
with (place.parents[1] / "starts").open("a") as file:
    file.write(f"{place.name} {os.getpid()}\\n")
pulse = int(sys.argv[2])
def beat():
    os.write(pulse, b"h")
"""
GOOD = (
    PRELUDE
    + """
after = place.parent / str(int(place.name) + 1)
while not after.exists() or (after / "bad").exists() or (after / "good").exists():
    beat()
    time.sleep(0.05)
"""
)
"""Lives until a newer release is on disk."""
CRASHES = PRELUDE + "sys.exit('broken')\n"
HANGS = PRELUDE + "time.sleep(600)\n"
STOPS_BEATING = PRELUDE + "beat(); time.sleep(600)\n"
DIES_AFTER_A_BEAT = PRELUDE + "beat(); sys.exit('broken later')\n"
IGNORES_SIGTERM = PRELUDE + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); beat(); time.sleep(600)\n"
DIES_ONCE_GOOD = PRELUDE + "while not (place / 'good').exists(): beat(); time.sleep(0.05)\nsys.exit('broken later')\n"


def release(main: str) -> bytes:
    return archive({"node/__init__.py": "", "node/__main__.py": main})


class Machine:
    """A machine's folders and its stage 0."""

    def __init__(self, folder: Path, stack: Stack, role: str = "gateway", port: int | None = None) -> None:
        self.port = port or free_port()
        self.stack = stack
        self.state, self.config = folder / "state", folder / "config"
        (self.state / "releases").mkdir(parents=True)
        write_config(self.config, stack, role, f"127.0.0.1:{self.port}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            **os.environ,
            "STATE_DIRECTORY": str(self.state),
            "CONFIGURATION_DIRECTORY": str(self.config),
        }
        self.process = subprocess.Popen([sys.executable, "-c", RUN, str(ROOT)], env=environment)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(20)
        self.process = None
        return status

    def install(self, number: int, main: str) -> tuple[int, str]:
        """Put a release on disk, as a running one would."""
        body = release(main)
        return stage0.store(self.stack.public_key, self.stack.release_headers(number, body), body)

    def starts(self) -> list[int]:
        """The number of each release that was started, in order."""
        return [int(line.split()[0]) for line in self._log()]

    def last_pid(self) -> int:
        return int(self._log()[-1].split()[1])

    def _log(self) -> list[str]:
        path = self.state / "starts"
        return path.read_text().splitlines() if path.exists() else []

    def has(self, number: int, mark: str) -> bool:
        return (self.state / "releases" / str(number) / mark).exists()

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context(cadata=self.stack.ca_pem)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def push(self, number: int, main: str) -> int:
        body = release(main)
        return self.ask("PUT", "/v1/release", body, self.stack.release_headers(number, body))[0]

    def takes(self, number: int, main: str) -> bool:
        """Whether it took a release, now or before; not while nobody answers."""
        try:
            return self.push(number, main) in (200, 201)
        except (OSError, http.client.HTTPException):
            return False

    def answers(self) -> bool:
        return self.status() is not None

    def status(self) -> dict[str, Any] | None:
        """What it tells of itself; None while nobody answers."""
        try:
            status, body = self.ask("GET", "/v1/status")
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(body) if status == 200 else None


@pytest.fixture
def machine(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path, stack)
    monkeypatch.setattr(stage0, "RELEASES", made.state / "releases")
    yield made
    if made.process:
        made.process.terminate()
        made.process.wait(20)


def running(machine: Machine, number: int) -> bool:
    return machine.starts()[-1:] == [number] and machine.has(number, "good")


def test_a_gateway_without_a_release_takes_the_first_one_and_runs_it(machine: Machine) -> None:
    machine.start()
    wait_for("stage 0", machine.answers)
    assert json.loads(machine.ask("GET", "/v1/status")[1]) == {
        "schema_version": 1,
        "stage": "stage0",
        "healthy": False,
        "release": None,
        "roster": None,
        "newest_release": 0,
    }
    assert machine.push(1, GOOD) == 201
    wait_for("release 1", lambda: running(machine, 1))
    assert machine.starts() == [1]


def test_stage_0_refuses_what_is_not_a_signed_archive_and_lives(machine: Machine) -> None:
    machine.start()
    wait_for("stage 0", machine.answers)
    body = release(GOOD)
    good = machine.stack.release_headers(1, body)
    junk = b"no archive"
    cases: list[tuple[int, bytes, dict[str, str]]] = [
        (403, body, {}),
        (403, body, {**good, "X-Hybridnet-Number": "2"}),
        (403, body, {**good, "X-Hybridnet-Number": "one"}),
        (403, body, {**good, "X-Hybridnet-Signature": "@"}),
        (403, body, Stack().release_headers(1, body)),
        (403, body[:-1], good),
        (413, b"x" * 50_000_000, good),
        (400, junk, machine.stack.release_headers(1, junk)),
        (403, gzip.compress(body), {**good, "Content-Encoding": "gzip"}),
    ]
    for status, sent, headers in cases:
        assert machine.ask("PUT", "/v1/release", sent, headers)[0] == status
    with socket.create_connection(("127.0.0.1", machine.port)) as raw:
        raw.sendall(b"no TLS\r\n\r\n")
    assert machine.answers()
    assert machine.starts() == []
    assert machine.push(1, GOOD) == 201
    wait_for("release 1", lambda: running(machine, 1))


async def test_a_thousand_requests_at_once_and_idle_clients_leave_stage_0_alive(machine: Machine) -> None:
    machine.start()
    await asyncio.to_thread(wait_for, "stage 0", machine.answers)
    idle = [socket.create_connection(("127.0.0.1", machine.port)) for _ in range(100)]
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=machine.stack.ca_pem), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def attempt() -> int | str:
            try:
                async with session.put(f"https://127.0.0.1:{machine.port}/v1/release", data=b"x" * 1000) as answer:
                    return answer.status
            except (aiohttp.ClientError, OSError) as error:
                return type(error).__name__

        seen = Counter(await asyncio.gather(*(attempt() for _ in range(1000))))
    assert seen[403] > 0
    assert not {200, 201, 500} & set(seen)
    assert await asyncio.to_thread(machine.push, 1, GOOD) == 201
    for each in idle:
        each.close()
    await asyncio.to_thread(wait_for, "release 1", lambda: running(machine, 1))


def test_a_release_is_taken_once_and_never_an_older_one(machine: Machine) -> None:
    assert machine.install(5, GOOD) == (201, "taken")
    assert machine.install(5, GOOD) == (200, "same")
    assert machine.install(5, HANGS) == (409, "release 5 is here")
    assert machine.install(4, GOOD) == (409, "release 5 is here")
    assert machine.install(6, CRASHES) == (201, "taken")
    assert machine.install(5, GOOD) == (200, "same")
    assert stage0.numbers() == [6, 5]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (CRASHES, "it ended with status 1"),
        (HANGS, "it hung for 5 s"),
        ("syntax error here", "it ended with status 1"),
        (DIES_AFTER_A_BEAT, "it ended with status 1"),
        (STOPS_BEATING, "it hung for 5 s"),
        (IGNORES_SIGTERM, "it hung for 5 s"),
        (PRELUDE + "beat(); os.kill(os.getpid(), 11)", "it ended with status -11"),
        (PRELUDE + "beat(); sys.exit(0)", "it ended with status 0"),
    ],
    ids=["crashes", "hangs", "no Python", "dies later", "hangs later", "clings to life", "segfaults", "just ends"],
)
def test_a_bad_release_leads_back_to_the_last_good_one_at_once(machine: Machine, bad: str, why: str) -> None:
    machine.install(1, GOOD)
    machine.start()
    wait_for("release 1", lambda: running(machine, 1))
    machine.install(2, bad)
    wait_for("the way back", lambda: machine.has(2, "bad") and running(machine, 1))
    assert (machine.state / "releases" / "2" / "bad").read_text() == why
    assert not machine.has(2, "good")
    assert machine.install(2, bad) == (409, "this release failed here")
    assert machine.starts().count(2) <= 1
    machine.end()
    machine.start()
    count = len(machine.starts())
    wait_for("a further start", lambda: len(machine.starts()) > count)
    assert machine.starts()[-1] == 1, "a release that failed was tried again"


def test_a_release_on_probation_makes_room_for_a_newer_one_and_is_not_a_failed_one(machine: Machine) -> None:
    machine.install(1, GOOD)
    machine.start()
    wait_for("release 1", lambda: running(machine, 1))
    leaves = PRELUDE + "beat()\nwhile not (place.parent / '3').exists(): beat(); time.sleep(0.05)\n"
    machine.install(2, leaves)
    wait_for("release 2", lambda: machine.starts() == [1, 2])
    machine.install(3, GOOD)
    wait_for("release 3", lambda: running(machine, 3))
    assert not machine.has(2, "bad")


def test_a_good_release_takes_over_and_the_one_before_is_kept(machine: Machine) -> None:
    machine.install(1, GOOD)
    machine.start()
    for number in (2, 3, 4):
        wait_for(f"release {number - 1}", lambda number=number: running(machine, number - 1))
        machine.install(number, GOOD)
    wait_for("release 4", lambda: running(machine, 4))
    assert machine.starts() == [1, 2, 3, 4]
    wait_for("the old ones' end", lambda: stage0.numbers() == [4, 3])


def test_the_only_release_is_tried_again_and_a_newer_one_gets_in_between(machine: Machine) -> None:
    machine.install(1, CRASHES)
    machine.start()
    wait_for("a second try", lambda: machine.starts()[:2] == [1, 1])
    assert not machine.has(1, "bad")
    wait_for("stage 0 between the tries", lambda: (machine.status() or {}).get("newest_release") == 1)
    wait_for("the newer one to be taken", lambda: machine.takes(2, GOOD))
    wait_for("release 2", lambda: running(machine, 2))


def test_a_good_release_that_keeps_dying_gives_way_to_the_one_before(machine: Machine) -> None:
    machine.install(1, GOOD)
    machine.start()
    wait_for("release 1", lambda: running(machine, 1))
    machine.install(2, DIES_ONCE_GOOD)
    wait_for("the way back", lambda: machine.starts()[-4:] == [2, 2, 2, 1])
    assert not machine.has(2, "bad"), "whether it is, the one before says"


def test_what_is_kept_to_go_back_to_is_a_release_that_did_not_fail_later(machine: Machine) -> None:
    gives_way = (
        PRELUDE
        + "newer = place.parent / '3'\n"
        + "while not newer.exists() or (newer / 'good').exists(): beat(); time.sleep(0.05)\n"
    )
    for number in (1, 2):
        machine.install(number, gives_way)
        (machine.state / "releases" / str(number) / "good").touch()
    (machine.state / "releases" / "2" / "bad").write_text("it kept ending soon after it was healthy")
    machine.start()
    wait_for("release 1", lambda: machine.starts() == [1])
    machine.install(3, DIES_ONCE_GOOD)
    wait_for("the way back", lambda: machine.starts()[-4:] == [3, 3, 3, 1])
    assert stage0.numbers() == [3, 1]


def test_a_release_that_falls_silent_is_ended_and_started_again(machine: Machine) -> None:
    machine.install(1, STOPS_BEATING)
    machine.start()
    wait_for("release 1", lambda: running(machine, 1))
    first = machine.last_pid()
    wait_for("another start", lambda: machine.starts()[:2] == [1, 1])
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_killed_release_is_started_again(machine: Machine) -> None:
    machine.install(1, GOOD)
    machine.start()
    wait_for("release 1", lambda: running(machine, 1))
    os.kill(machine.last_pid(), signal.SIGKILL)
    wait_for("another start", lambda: machine.starts() == [1, 1])


def test_a_killed_stage_0_leaves_what_the_next_one_repairs(machine: Machine) -> None:
    machine.install(1, GOOD)
    machine.start()
    wait_for("release 1", lambda: running(machine, 1))
    orphan = machine.last_pid()
    machine.end(signal.SIGKILL)

    def gone() -> bool:
        try:
            return Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for("the orphan's end", gone)
    half = machine.state / "releases" / "new"
    (half / "node").mkdir(parents=True)
    (half / "node" / "__main__.py").write_text("half of a rele")
    machine.start()
    wait_for("release 1 again", lambda: machine.starts() == [1, 1])
    machine.install(2, GOOD)
    wait_for("release 2", lambda: running(machine, 2))
    assert not half.exists()


def test_sigterm_ends_the_release_and_stage_0(machine: Machine) -> None:
    machine.install(1, GOOD)
    machine.start()
    wait_for("release 1", lambda: running(machine, 1))
    child = machine.last_pid()
    assert machine.end() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_pool_machines_release_has_time_to_drain_when_stage_0_is_told_to_end(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    wait = subprocess.Popen[bytes].wait

    def noted(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        waits.append(timeout)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", noted)
    for role in ("spoke", "pool"):
        machine = Machine(tmp_path / role, stack, role)
        monkeypatch.setattr(stage0, "RELEASES", machine.state / "releases")
        machine.install(1, DIES_AFTER_A_BEAT)
        stage0.run(1, role, None)
    assert [seconds for seconds in waits if seconds] == [10, 40]
