"""A gateway's service that is killed in the middle of many joins."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

from node import joining
from overlay.roster import Roster
from tests.node.pools import GATEWAY_KEYS, PUBLIC_ADDRESS, SEAL_KEY, Member, pool, pool_roster
from tests.node.support import GATEWAY_ADDRESS, Stack, signed, wait_for, write_config

JOINERS, THREADS = 200, 8


class Process:
    """A gateway as a process that can be killed; its socket stays open, as stage 0 keeps it."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.state, self.files = folder / "state", folder / "config"
        (self.state / "releases").mkdir(parents=True)
        self._listener = socket.create_server(("", 0), backlog=1024)
        self.port = int(self._listener.getsockname()[1])
        write_config(self.files, stack, "gateway", f"{GATEWAY_ADDRESS}:{self.port}")
        (self.files / "seal.key").write_text(SEAL_KEY)
        (self.files / "wg0.conf").write_text(f"[Interface]\nPrivateKey = {GATEWAY_KEYS[0]}\n")
        self._tls = ssl.create_default_context(cadata=stack.ca_pem)
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        folders = {"STATE_DIRECTORY": str(self.state), "CONFIGURATION_DIRECTORY": str(self.files)}
        descriptor = self._listener.fileno()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.node.gateway_process", str(descriptor)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **folders, "HYBRIDNET_WIREGUARD": str(self.files / "wg0.conf")},
            pass_fds=[descriptor],
        )

    def kill(self) -> None:
        if self._child:
            self._child.kill()
            self._child.wait()

    def close(self) -> None:
        if self._child:
            self._child.send_signal(signal.SIGTERM)
            assert self._child.wait(60) == 0
        self._listener.close()

    def ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str], address: str, source: str
    ) -> tuple[int, bytes]:
        """One request; OSError when the service does not live to answer it."""
        connection = http.client.HTTPSConnection(
            address, self.port, timeout=60, context=self._tls, source_address=(source, 0)
        )
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        return cast(
            "dict[str, Any]", json.loads(self.ask("GET", "/v1/status", b"", {}, GATEWAY_ADDRESS, "127.9.9.9")[1])
        )


class Joiners:
    """Machines that ask until they are in, from several threads."""

    def __init__(self, gateway: Process, members: list[Member]) -> None:
        self.joined = threading.Semaphore(0)
        self.problems: list[str] = []
        self._gateway = gateway
        self._threads = [
            threading.Thread(target=self._work, args=(members[index::THREADS],)) for index in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, members: list[Member]) -> None:
        for member in members:
            self._join(member)
            self.joined.release()

    def _join(self, member: Member) -> None:
        body = joining.request_body(member.request())
        end = time.monotonic() + 180
        while member.answer is None and time.monotonic() < end:
            try:
                status, text = self._gateway.ask(
                    "POST", "/v1/join", body, member.headers(body), PUBLIC_ADDRESS, "127.9.9.9"
                )
            except OSError:
                continue
            if status in (200, 201):
                member.answer = joining.parse_answer(text)
            elif status != 503:
                self.problems.append(f"{status} {text!r}")
                return


def wide_roster() -> Roster:
    """Two pools with room for all."""
    made = pool_roster(
        pools=(
            pool(limit=JOINERS // 2, addresses=IPv4Network("127.0.64.0/22")),
            pool("other", limit=JOINERS // 2, addresses=IPv4Network("127.0.192.0/22")),
        )
    )
    halves = made.network.overlay.subnets()
    sites = tuple(replace(site, subnet=half) for site, half in zip(made.network.sites, halves, strict=True))
    return replace(made, network=replace(made.network, sites=sites))


def test_after_a_kill_each_of_two_hundred_joiners_has_exactly_one_lease(tmp_path: Path, stack: Stack) -> None:
    gateway = Process(tmp_path, stack)
    gateway.start()
    body, signature = signed(stack, wide_roster())
    headers = {"X-Hybridnet-Signature": signature}
    assert gateway.ask("PUT", "/v1/roster", body, headers, PUBLIC_ADDRESS, "127.9.9.9")[0] == 201
    members = [Member(f"i-{number:017x}", ("burst", "other")[number % 2]) for number in range(JOINERS)]
    joiners = Joiners(gateway, members)
    for _ in range(2):
        for _ in range(JOINERS * 3 // 10):
            assert joiners.joined.acquire(timeout=180), joiners.problems
        gateway.kill()
        gateway.start()
    joiners.wait()
    assert joiners.problems == []
    told = gateway.status()["leases"]
    leases = {lease["public_key"]: lease["address"] for lease in told}
    assert leases == {member.public_key: member.address for member in members}, "what was answered is what holds"
    assert len(told) == len(set(leases.values())) == JOINERS
    for member in members:
        assert gateway.ask("GET", "/v1/lease", b"", member.secret, GATEWAY_ADDRESS, member.address)[0] == 200
    events = [json.loads(line)["event"] for line in (gateway.state / "audit.jsonl").read_text().splitlines()]
    assert JOINERS - 2 * THREADS <= events.count("join") <= JOINERS
    wait_for("the service's own word", lambda: gateway.status()["healthy"] is True)
    gateway.close()
