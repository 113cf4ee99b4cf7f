"""The gateway's service: startup, tick, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from node import release
from node.gateway.admission import Admission, Store
from node.gateway.api import application
from node.gateway.audit import Audit
from node.gateway.directory import Directory
from node.gateway.exchange import Exchange
from node.gateway.health import Health, Probe
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.listener import Listener, tls_context
from node.gateway.members import Members
from node.gateway.metrics import Metrics
from node.gateway.network import HOLD_SECONDS, Network
from node.gateway.nudges import AGAIN_SECONDS, Nudges, listen
from node.gateway.rosters import Kept as KeptRoster
from node.gateway.serving.balancer import Balancer
from node.gateway.serving.credentials import CredentialStore
from node.gateway.serving.credentials import Kept as KeptCredentials
from node.gateway.serving.nginx import Nginx
from node.gateway.tickets import load_seal
from node.gateway.traffic import Traffic
from node.log import say
from node.pulse import Pulse
from node.wireguard import WireGuardError
from overlay.groups import group_of, is_administrator

TICK_SECONDS = 2.0
TRIAL_SECONDS = 0.2
"""Between two looks at a newer release's self-check."""
PROBE_SECONDS = 4.0
"""Between two probes of a peer: three of them go by until one that vanished counts as unhealthy."""
PROBE_STEPS = 8
"""The peers are probed in as many parts, for thousands of answers at once would overrun the socket."""
CHECK_SECONDS = 30.0
STIR_SECONDS = 0.05
"""Between two rounds of nudges."""
STALE_SECONDS = 15.0
"""Without a successful reconcile for this long the service says that it is not healthy."""


class Batch:
    """One job for all who ask for it while another runs: what was asked for before a job begins is done by it."""

    def __init__(self, job: Callable[[], Awaitable[None]]) -> None:
        self._job = job
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Wait until a job that began after this call has ended; raises what it raised."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        async with self._turn:
            self._next = None
            await self._job()


class Service:
    """A gateway's roster, network, members and release behind the API; a signal or a newer release sets ``stop``.

    ``names`` keeps the names of the overlay, in a thread of its own.
    """

    def __init__(
        self,
        network: Network,
        health: Health,
        pulse: Pulse,
        own: release.Release,
        nginx: Nginx,
        private_key: str | None = None,
        google: GoogleKeys | None = None,
        names: Callable[[], object] = lambda: None,
    ) -> None:
        self.stop = asyncio.Event()
        self._network = network
        self.health = health
        self._pulse = pulse
        self._own = own
        self._wake = asyncio.Event()
        self._storing = asyncio.Lock()
        self._interface = asyncio.Lock()
        self._reconciled: float | None = None
        self._trial: release.Trial | None = None
        self._trial_end = 0.0
        self._problem = ""
        self._served = network.serving_version
        state, files = network.config.state, network.config.files
        self._store = Store()
        self._audit = Audit(state / "audit.jsonl")
        self._credentials = CredentialStore(
            state / "credentials.json", network.config.name, network.config.signing_public_key
        )
        self._credentials.load()
        self._balancer = Balancer(network, self._credentials, nginx, self._audit)
        self.metrics = Metrics(self._balancer, self._credentials)
        self._names = names
        self._loop: asyncio.AbstractEventLoop | None = None
        self.exchange = Exchange(network, private_key, self._wake.set)
        self._nudges = Nudges(network.config.control[0])
        self._stirred = asyncio.Event()
        """Set when the other gateways and the nodes may have to be told something."""
        self.directory = Directory(network, private_key, self._audit, Batch(self._keep_reports).run, self._on_report)
        flush, seal = Batch(self._apply_leases).run, load_seal(files / "seal.key")
        self.joins = Admission(
            network, health, Traffic(), self._store, self._audit, flush, seal, private_key, google or GoogleKeys()
        )
        self.members = Members(
            network, health, self._store, self._audit, flush, seal, self.joins, self._balancer.until_out
        )

    def status(self, *, with_peers: bool) -> dict[str, Any]:
        kept, failed, credentials = self._network.rosters.kept, release.failed(), self._credentials.kept
        found: dict[str, Any] = {
            "schema_version": 1,
            "stage": "service",
            "healthy": self._reconciled is not None and time.monotonic() - self._reconciled < STALE_SECONDS,
            "release": {"number": self._own.number, "sha256": self._own.sha256},
            "failed_release": {"number": failed[0], "reason": failed[1]} if failed else None,
            "newest_release": release.newest(),
            "roster": _held(kept.roster.number, kept) if kept else None,
            "credentials": _held(credentials.credentials.number, credentials) if credentials else None,
        }
        if with_peers:
            found["peers"] = self._network.peer_status(self.health.healthy())
            found |= self._network.status()
            found["drift_repaired"] = self._network.drift_repaired
            found |= self.members.status()
            found["load_balancer"] = self._balancer.status()
        return found

    def is_administrator(self, source: str) -> bool:
        """Whether whoever asks over the overlay from ``source`` is told everything: this gateway itself is."""
        kept, address = self._network.rosters.kept, IPv4Address(source)
        if kept is None or not kept.roster.network.groups or self.is_overlay(source):
            return True
        group = group_of(kept.roster.network, kept.roster.nodes, address)
        return group is not None and is_administrator(kept.roster.network, group)

    def is_overlay(self, address: str) -> bool:
        return address == str(self._network.config.control[0])

    def release_archive(self) -> tuple[bytes, dict[str, str]]:
        return self._own.archive, {
            "X-Hybridnet-Number": str(self._own.number),
            "X-Hybridnet-Signature": self._own.signature,
        }

    async def offer_roster(self, body: bytes, signature: str | None) -> tuple[int, str]:
        answer = await self._offer("roster", lambda: self._network.rosters.offer(body, signature))
        await self.members.follow()
        self.exchange.follow()
        self._balancer.wake()
        return answer

    async def offer_credentials(self, body: bytes, signature: str | None) -> tuple[int, str]:
        answer = await self._offer("credentials", lambda: self._credentials.offer(body, signature))
        if answer[0] == 201 and self._credentials.kept:
            self._audit.write("credentials", number=self._credentials.kept.credentials.number)
            self._balancer.wake()
        return answer

    async def offer_release(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        key = self._network.config.signing_public_key
        return await self._offer("release", lambda: release.store(key, headers, body))

    async def _offer(self, what: str, take: Callable[[], tuple[int, str]]) -> tuple[int, str]:
        async with self._storing:
            try:
                status, reason = await asyncio.to_thread(take)
            except OSError as error:
                status, reason = 507, f"it cannot be stored: {error}"
        say(f"offered {what}: {status} {reason}")
        if status == 201:
            self._wake.set()
        return status, reason

    async def _apply_leases(self) -> None:
        """Bring changed leases to the interface; what it does not take now, the next reconcile tries again."""
        try:
            async with self._interface:
                await asyncio.to_thread(self._network.apply_leases)
        except (WireGuardError, OSError) as error:
            self._wake.set()
            say(f"the interface does not take a change: {error}")

    async def _keep_reports(self) -> None:
        """Bring what nodes have reported to the disk; what it does not take now, the next tick tries again."""
        network = self._network
        with contextlib.suppress(OSError):
            await asyncio.to_thread(network.neighbours.save, network.config.name, network.reports.all)

    def _on_report(self) -> None:
        """A node hangs elsewhere, or has other links: peers follow when its answer is out."""
        asyncio.get_running_loop().call_later(HOLD_SECONDS, self._wake.set)
        self._wake.set()
        self._stirred.set()

    def _on_lease(self) -> None:
        """A lease came, went or changed, in whichever thread."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._balancer.wake)
            self._loop.call_soon_threadsafe(self._stirred.set)

    async def _tell(self) -> None:
        """Nudge the other gateways at once after each change, and the nodes that have not been told of one."""
        network, told = self._network, None
        loop = asyncio.get_running_loop()
        while True:
            timer = loop.call_later(AGAIN_SECONDS, self._stirred.set)
            await self._stirred.wait()
            timer.cancel()
            self._stirred.clear()
            kept = network.rosters.kept
            if kept is None:
                continue
            now = kept.sha256, network.leases.version, network.reports.version, network.seen
            if now != told:
                told = now
                self._nudges.send(node.address for node in self.exchange.others().values())
            spokes = network.hanging_here()
            self.directory.forget_all_but(spokes)
            wanted = {name: self.directory.pressing(name) for name in spokes}
            await self._nudges.round(self._nudges.due(wanted, self.directory.told), spokes)
            await asyncio.sleep(STIR_SECONDS)

    async def run(self) -> None:
        """Tick until told to stop, with everything that runs beside; raises what ends one of those, which none may."""
        self._loop = asyncio.get_running_loop()
        self._network.leases.watch(self._on_lease)
        jobs = (self._probe(), self._balancer.run(), self.exchange.run(), self._tell(), self._keep_names())
        tasks = [asyncio.create_task(job) for job in jobs]
        for task in tasks:
            task.add_done_callback(lambda _: self.end())
        try:
            while not self.stop.is_set():
                self._wake.clear()
                await self._tick()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TRIAL_SECONDS if self._trial else TICK_SECONDS)
        finally:
            self._network.leases.watch(None)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self._nudges.close()
            if self._trial:
                self._trial.end()
            await self.members.close()
        for failure in ended:
            if isinstance(failure, Exception):
                raise failure

    def wake(self) -> None:
        """Tick at once."""
        self._wake.set()

    def end(self) -> None:
        """End :meth:`run` soon."""
        self.stop.set()
        self._wake.set()

    async def _tick(self) -> None:
        try:
            await self.members.follow()
            async with self._interface:
                made = await asyncio.to_thread(self._network.reconcile)
            if made:
                say(f"changed {len(made)} peers")
                self.health.greet(self._network.greetable(made))
            await self.members.tick()
            self._follow_changes()
            self._reconciled, self._problem = time.monotonic(), ""
        except (WireGuardError, OSError) as error:
            if str(error) != self._problem:
                say(f"the network cannot be reconciled: {error}")
            self._problem = str(error)
        if self._reconciled is not None:
            self._pulse.beat()
        self._follow_release()

    def _follow_changes(self) -> None:
        """Let those know who follow what a reconcile has found."""
        self.exchange.follow()
        self._stirred.set()
        if self._network.serving_version != self._served:
            self._served = self._network.serving_version
            self._balancer.wake()

    async def _keep_names(self) -> None:
        """Keep the names of the overlay, which may take as long as the machine's tools do."""
        while True:
            await asyncio.to_thread(self._names)
            await asyncio.sleep(TICK_SECONDS)

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
        part = 0
        while True:
            everybody = set(self._network.addresses())
            self.health.keep(everybody)
            due = {address for address in everybody if int(address) % PROBE_STEPS == part}
            self.health.round(due | self.health.unknown(everybody))
            await asyncio.sleep(PROBE_SECONDS / PROBE_STEPS)
            self.members.watch()
            part = (part + 1) % PROBE_STEPS

    def close(self) -> None:
        """Give back what the service holds open."""
        self._store.close()
        self._audit.close()
        self._network.leases.close()


def _held(number: int, kept: KeptRoster | KeptCredentials) -> dict[str, Any]:
    """What the status tells of a document that was pushed."""
    return {"number": number, "sha256": kept.sha256, "content": kept.content}


def own_key() -> str | None:
    """The private key of the gateway's interface, as first boot wrote it; None when there is none to be read."""
    path = Path(os.environ.get("HYBRIDNET_WIREGUARD", "/etc/wireguard/wg0.conf"))
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        say(f"{path} cannot be read, so no machine of a pool can join: {error}")
        return None
    found = [
        value.strip() for name, _, value in (line.partition("=") for line in lines) if name.strip() == "PrivateKey"
    ]
    return found[0] if found else None


async def serve(
    network: Network,
    probe: Probe,
    pulse: Pulse,
    listener: socket.socket,
    nginx: Nginx,
    names: Callable[[], object] = lambda: None,
) -> None:
    """The service until SIGTERM, SIGINT, a newer release or the end of stage 0."""
    service = Service(network, Health(probe), pulse, release.running(), nginx, own_key(), names=names)
    loop = asyncio.get_running_loop()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, service.end)
    https = Listener(application(service), listener, tls_context(network.config.files))
    await https.start()
    address = network.config.control[0]
    tasks = [
        asyncio.create_task(service.metrics.run(address)),
        asyncio.create_task(listen(address, service.exchange.nudge)),
    ]
    try:
        await service.run()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await https.close()
        service.close()
