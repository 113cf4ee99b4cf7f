"""A load balancer that is killed at every line of what it does to the disk and to nginx."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from node import config as machine
from node import files
from node.gateway.audit import Audit
from node.gateway.network import Network
from node.gateway.serving import balancer as balancing
from node.gateway.serving import nginx as nginx_files
from node.gateway.serving.balancer import Balancer
from node.gateway.serving.credentials import CredentialStore
from overlay.roster import Roster
from overlay.serving import Check, Credentials, LoadBalancer
from tests.node.pools import pool_roster
from tests.node.serving import Authority, credentials, signed_credentials
from tests.node.support import MemoryFirewall, MemoryWireGuard, Stack, signed

WATCHED = {str(path) for path in (__file__, balancing.__file__, nginx_files.__file__, files.__file__)}
UNWATCHED = ("_work", "is_well", "_is_whole", "work", "status")
SERVING = LoadBalancer(Check(1, 1, 1), {}, {}, (IPv4Network("198.51.100.0/24"),))
AUTHORITY = Authority()


class DiskNginx:
    """An nginx whose memory is a file beside its folder, so that it outlives whoever tells it things."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = folder.parent / "memory"

    def take(self) -> None:
        if (self.folder / "candidate.conf").exists():
            (self.folder / "candidate.conf").replace(self.folder / "nginx.conf")
        self.memory.write_text((self.folder / "nginx.conf").read_text())

    def stop(self) -> None:
        self.memory.unlink(missing_ok=True)

    def is_running(self) -> bool:
        return self.memory.exists()


class Gateway:
    """The part of a gateway's service that is the load balancer, with its state in ``state``."""

    def __init__(self, state: Path, stack: Stack) -> None:
        self.state, self.stack = state, stack
        self.nginx = DiskNginx(state / "nginx")
        self.told: Credentials | None = None

    def tell(self, roster: Roster, given: Credentials) -> None:
        """What was pushed, and is on the disk."""
        self.told = given
        network, store = self._parts()
        assert network.rosters.offer(*signed(self.stack, roster))[0] == 201
        assert store.offer(*signed_credentials(self.stack, given))[0] == 201
        network.leases.close()

    def work(self) -> None:
        """Run until everything is as it should be."""
        asyncio.run(self._work())

    def _parts(self) -> tuple[Network, CredentialStore]:
        place = IPv4Address("127.0.0.1"), 8443
        config = machine.Config("gateway", "gw", place, self.stack.public_key, self.state, self.state)
        network = Network(config, MemoryWireGuard(), MemoryFirewall())
        network.load()
        store = CredentialStore(self.state / "credentials.json", "gw", self.stack.trust(self.state))
        store.load()
        return network, store

    async def _work(self) -> None:
        network, store = self._parts()
        audit = Audit(self.state / "audit.jsonl")
        made = Balancer(network, store, self.nginx, audit)
        running = asyncio.create_task(made.run())
        end = time.monotonic() + 60
        while time.monotonic() < end:
            told = made.status()
            if told is None and not self.nginx.folder.exists():
                break
            if told and told["state"] == "serving" and self.is_well():
                break
            await asyncio.sleep(0.001)
        else:
            raise AssertionError(made.status())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        audit.close()
        network.leases.close()

    def is_well(self) -> bool:
        """Whether nginx goes on with what is on the disk, and nothing else is there."""
        try:
            return self._is_whole()
        except FileNotFoundError:  # just replaced, or not there yet
            return False

    def _is_whole(self) -> bool:
        assert self.told
        found = {re.sub(r"-\w{16}", "", path.name): path for path in self.nginx.folder.iterdir()}
        if found.keys() != {"nginx.conf", "taken", "tls.crt", "tls.key"}:
            return False
        conf = found["nginx.conf"].read_text()
        pems = [found["tls.crt"], found["tls.key"]]
        return (
            conf == self.nginx.memory.read_text()
            and all(str(path) in conf for path in pems)
            and [path.read_text() for path in pems] == [self.told.certificate, self.told.private_key]
        )


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a process that ends without a word before its ``number``-th watched line; whether it got there."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9)
        return code == 9
    left = [number]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED or frame.f_code.co_name in UNWATCHED:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
        return trace

    status = 1
    try:
        threading.settrace(trace)
        sys.settrace(trace)
        work()
        status = 0
    finally:
        os._exit(status)


@pytest.mark.parametrize("to", ["serve", "renew", "off"])
def test_a_kill_at_any_line_is_made_good_by_the_next_run(tmp_path: Path, stack: Stack, to: str) -> None:
    state, before = tmp_path / "state", tmp_path / "before"
    state.mkdir()
    gateway = Gateway(state, stack)
    first, second = credentials(1, AUTHORITY), credentials(2, AUTHORITY)
    if to != "serve":
        gateway.tell(pool_roster(1, load_balancer=SERVING), first)
        gateway.work()
        assert gateway.is_well()
    gateway.tell(pool_roster(2, load_balancer=None if to == "off" else SERVING), second)
    shutil.copytree(state, before)
    lines = 1
    while killed_at(lines, gateway.work):
        gateway.work()
        if to == "off":
            assert not gateway.nginx.folder.exists()
            assert not gateway.nginx.is_running()
            assert not (state / "credentials.json").exists(), lines
        else:
            assert gateway.is_well(), (lines, sorted(gateway.nginx.folder.iterdir()))
        shutil.rmtree(state)
        shutil.copytree(before, state)
        lines += 1
    assert lines > 30, "it was killed at every line"
