"""The gateway's service: startup, tick, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from node import release
from node.gateway.api import application
from node.gateway.health import Health
from node.gateway.listener import Listener, tls_context
from node.gateway.network import Network
from node.log import say
from node.ping import Pinger
from node.pulse import Pulse
from node.wireguard import WireGuardError

TICK_SECONDS = 2.0
TRIAL_SECONDS = 0.2
"""Between two looks at a newer release's self-check."""
PROBE_SECONDS = 5.0
CHECK_SECONDS = 30.0
STALE_SECONDS = 15.0
"""Without a successful reconcile for this long the service says that it is not healthy."""


class Service:
    """A gateway's roster, network and release behind the API; ``stop`` is set by a signal or for a newer release."""

    def __init__(self, network: Network, health: Health, pulse: Pulse, own: release.Release) -> None:
        self.stop = asyncio.Event()
        self._network = network
        self._health = health
        self._pulse = pulse
        self._own = own
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._reconciled: float | None = None
        self._trial: release.Trial | None = None
        self._trial_end = 0.0
        self._problem = ""

    def status(self, *, with_peers: bool) -> dict[str, Any]:
        kept, failed = self._network.rosters.kept, release.failed()
        found: dict[str, Any] = {
            "schema_version": 1,
            "stage": "service",
            "healthy": self._reconciled is not None and time.monotonic() - self._reconciled < STALE_SECONDS,
            "release": {"number": self._own.number, "sha256": self._own.sha256},
            "failed_release": {"number": failed[0], "reason": failed[1]} if failed else None,
            "newest_release": release.newest(),
            "roster": {
                "number": kept.roster.number,
                "sha256": kept.sha256,
                "content": kept.content,
            }
            if kept
            else None,
        }
        if with_peers:
            found["peers"] = self._network.peer_status(self._health.healthy())
            found["drift_repaired"] = self._network.drift_repaired
        return found

    def is_overlay(self, address: str) -> bool:
        return address == str(self._network.config.control[0])

    def release_archive(self) -> tuple[bytes, dict[str, str]]:
        return self._own.archive, {
            "X-Hybridnet-Number": str(self._own.number),
            "X-Hybridnet-Signature": self._own.signature,
        }

    async def offer_roster(self, body: bytes, signature: str | None) -> tuple[int, str]:
        return await self._offer("roster", lambda: self._network.rosters.offer(body, signature))

    async def offer_release(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        key = self._network.config.signing_public_key
        return await self._offer("release", lambda: release.store(key, headers, body))

    async def _offer(self, what: str, take: Callable[[], tuple[int, str]]) -> tuple[int, str]:
        async with self._lock:
            try:
                status, reason = await asyncio.to_thread(take)
            except OSError as error:
                status, reason = 507, f"it cannot be stored: {error}"
        say(f"a {what} was offered: {status} {reason}")
        if status == 201:
            self._wake.set()
        return status, reason

    async def run(self) -> None:
        """Tick until told to stop, and probe on the way."""
        probes = asyncio.create_task(self._probe())
        try:
            while not self.stop.is_set():
                self._wake.clear()
                await self._tick()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TRIAL_SECONDS if self._trial else TICK_SECONDS)
        finally:
            probes.cancel()
            if self._trial:
                self._trial.end()

    def end(self) -> None:
        """End :meth:`run` soon."""
        self.stop.set()
        self._wake.set()

    async def _tick(self) -> None:
        try:
            async with self._lock:
                made = await asyncio.to_thread(self._network.reconcile)
            if made:
                say(f"changed {len(made)} peers")
                self._health.greet(self._network.peer_addresses().values())
            self._reconciled, self._problem = time.monotonic(), ""
        except (WireGuardError, OSError) as error:
            if str(error) != self._problem:
                say(f"the network cannot be reconciled: {error}")
            self._problem = str(error)
        if self._reconciled is not None:
            self._pulse.beat()
        self._follow_release()

    def _follow_release(self) -> None:
        """Check a newer release beside this one, and stop for it when it finds itself well."""
        if self._trial is None:
            newer = release.newer_than(self._own.number)
            if newer is not None:
                say(f"release {newer} checks itself")
                self._trial, self._trial_end = release.Trial(newer, "gateway"), time.monotonic() + CHECK_SECONDS
            return
        if time.monotonic() > self._trial_end:
            self._trial.end()
        passed = self._trial.passed()
        if passed is None:
            return
        say(f"release {self._trial.number} {'is well and takes over' if passed else 'failed its check'}")
        self._trial = None
        if passed:
            self.end()

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._health.round(self._network.peer_addresses().values())
            end = loop.time() + PROBE_SECONDS
            while loop.time() < end:
                await asyncio.sleep(PROBE_SECONDS / 10)
                self._health.collect()


async def serve(network: Network, pinger: Pinger, pulse: Pulse, listener: socket.socket) -> None:
    """The service until SIGTERM, SIGINT, a newer release or the end of stage 0."""
    service = Service(network, Health(pinger), pulse, release.running())
    loop = asyncio.get_running_loop()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, service.end)
    https = Listener(application(service), listener, tls_context(network.config.files))
    await https.start()
    try:
        await service.run()
    finally:
        await https.close()
