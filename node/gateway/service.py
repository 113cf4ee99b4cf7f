"""The gateway's service: startup, tick, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from node import release
from node.gateway.admission import Admission, Store
from node.gateway.alerts import STALE_SECONDS
from node.gateway.audit import Audit
from node.gateway.batch import Batch
from node.gateway.certificate import Certificates
from node.gateway.certificate import Kept as KeptCertificate
from node.gateway.conditions import Conditions
from node.gateway.directory import Directory
from node.gateway.exchange import Exchange
from node.gateway.expiries import Expiries
from node.gateway.health import Health
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.lease import Refusal
from node.gateway.members import Members
from node.gateway.metrics import Metrics
from node.gateway.network import HOLD_SECONDS, Network
from node.gateway.nudges import AGAIN_SECONDS, Nudges
from node.gateway.offers import Offers
from node.gateway.overview import Overview
from node.gateway.page import Page
from node.gateway.revoking import Revoker
from node.gateway.rosters import Kept as KeptRoster
from node.gateway.serving.balancer import Balancer
from node.gateway.serving.credentials import CredentialStore
from node.gateway.serving.credentials import Kept as KeptCredentials
from node.gateway.serving.nginx import Nginx
from node.gateway.targets import Targets
from node.gateway.tickets import load_seal
from node.gateway.traffic import Traffic
from node.health import outcome
from node.log import say
from node.pulse import Pulse
from node.wireguard import WireGuardError
from overlay.groups import group_of, is_administrator

TICK_SECONDS = 2.0
TRIAL_SECONDS = 0.2
"""Between two looks at a newer release's self-check, or while somebody's key changes."""
PROBE_SECONDS = 3.0
"""Between two probes of a peer that answers; one that does not is probed each second (``node.gateway.health``)."""
PROBE_STEPS = 6
"""The peers are probed in as many parts, for thousands of answers at once would overrun the socket."""
STIR_SECONDS = 0.05
"""Between two rounds of nudges."""


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
        self._wake = asyncio.Event()
        self._interface = asyncio.Lock()
        self._reconciled: float | None = None
        self._trial: release.Trial | None = None
        self._problem = ""
        self._served = network.serving_version
        state, files = network.config.state, network.config.files
        self._store = Store()
        self._audit = Audit(state / "audit.jsonl")
        if network.rotation:
            network.rotation.tell = self._audit.write
        self._credentials = CredentialStore(state / "credentials.json", network.config.name, network.trust)
        self._credentials.load()
        self.certificates = Certificates(network.config, network.trust)
        self.certificates.load()
        self.expiries = Expiries(network, self._credentials, self.certificates)
        self._balancer = Balancer(network, self._credentials, nginx, self._audit)
        self.targets = Targets(network, self.is_administrator)
        self._names = names
        self._loop: asyncio.AbstractEventLoop | None = None
        self.exchange = Exchange(network, private_key, self._wake.set)
        self._nudges = Nudges(network.config.control[0])
        self._stirred = asyncio.Event()
        """Set when the other gateways and the nodes may have to be told something."""
        self.directory = Directory(network, private_key, self._audit, Batch(self._keep_reports).run, self._on_report)
        self.conditions = Conditions(network.config.name, outcome.read, self.directory.node_at)
        flush, seal = Batch(self._apply_leases).run, load_seal(files / "seal.key")
        self.joins = Admission(
            network, health, Traffic(), self._store, self._audit, flush, seal, private_key, google or GoogleKeys()
        )
        self.members = Members(
            network, health, self._store, self._audit, flush, seal, self.joins, self._balancer.until_out
        )
        self.offers = Offers(
            network, own, self._credentials, self.certificates, self._audit, self._on_taken, self._on_roster
        )
        self.revoker = Revoker(network, self._audit, self.members.end, flush, self._on_report)
        self._overview = Overview(network, health)
        self.metrics = Metrics(
            network, health, self.members, self._balancer, self._audit, self.expiries, self.conditions, own.number
        )
        self.counts = self.metrics.counts
        self.page = Page(partial(self.status, with_peers=True), self.is_administrator, self._overview.host_names)

    def status(self, *, with_peers: bool) -> dict[str, Any]:
        kept, failed, credentials = self._network.rosters.kept, release.failed(), self._credentials.kept
        certificate = self.certificates.kept
        found: dict[str, Any] = {
            "schema_version": 1,
            "stage": "service",
            "healthy": self._reconciled is not None and time.monotonic() - self._reconciled < STALE_SECONDS,
            "release": {"number": self.offers.own.number, "sha256": self.offers.own.sha256},
            "failed_release": {"number": failed[0], "reason": failed[1]} if failed else None,
            "newest_release": release.newest(),
            "roster": _held(kept.roster.number, kept) if kept else None,
            "credentials": _held(credentials.credentials.number, credentials) if credentials else None,
            "signing": self._network.trust.key,
            "handovers": len(self._network.trust.handovers),
            "public_key": self._network.rotation.public_key if self._network.rotation else None,
            "certificate": _held(certificate.certificate.number, certificate) if certificate else None,
        }
        if with_peers:
            found["peers"] = self._network.peer_status(self.health.healthy())
            found |= self._network.status()
            found["drift_repaired"] = self._network.drift_repaired
            found |= self.members.status()
            found["load_balancer"] = self._balancer.status()
            found["conditions"] = self.conditions.status()
            self._overview.tell(found)
            found["revoked"] = self._network.revocations.status()
            found["audit"] = {"events": self._audit.events, "head": self._audit.head}
        return found

    def is_administrator(self, source: str) -> bool:
        """Whether whoever asks over the overlay from ``source`` is told everything: this gateway itself is."""
        kept, address = self._network.rosters.kept, IPv4Address(source)
        if kept is None or not kept.roster.network.groups or self.is_overlay(source):
            return True
        group = group_of(kept.roster.network, kept.roster.nodes, address)
        return group is not None and is_administrator(kept.roster.network, group)

    def rotate(self, names: Sequence[str]) -> list[str]:
        """Have the keys of these nodes changed: their names. Refusal."""
        rotation = self._network.rotation
        if rotation is None:
            raise Refusal(409, "this gateway changes no keys")
        try:
            asked = rotation.ask(self._network, names)
        except OSError as error:
            raise Refusal(507, f"it cannot be stored: {error}") from None
        self._stirred.set()
        self._wake.set()
        return asked

    def is_overlay(self, address: str) -> bool:
        return address == str(self._network.config.control[0])

    def _on_taken(self) -> None:
        """The stack has pushed something new."""
        self._wake.set()
        self._balancer.wake()

    async def _on_roster(self, status: int, reason: str) -> None:
        """A roster was answered."""
        self.counts.offer_roster(status)
        self._overview.offered_roster(status, reason)
        await self.members.follow()
        self.exchange.follow()
        self._balancer.wake()

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
            versions = network.leases.version, network.reports.version, network.revocations.version
            now = kept.sha256, versions, network.seen, network.keys_told
            if now != told:
                told = now
                self._nudges.send(node.address for node in self.exchange.others().values())
            spokes = network.hanging_here()
            self.directory.forget_all_but(spokes)
            wanted = {name: self.directory.pressing(name) for name in spokes}
            await self._nudges.round(self._nudges.due(wanted, self.directory.told), spokes)
            await asyncio.sleep(STIR_SECONDS)

    async def run(self, *beside: Coroutine[Any, Any, None]) -> None:
        """Tick until told to stop, with everything that runs ``beside``; raises what ends one of those: none may."""
        self._loop = asyncio.get_running_loop()
        self._network.leases.watch(self._on_lease)
        jobs = (self._probe(), self._balancer.run(), self.exchange.run(), self._tell(), self._keep_names(), *beside)
        tasks = [asyncio.create_task(job) for job in jobs]
        for task in tasks:
            task.add_done_callback(lambda _: self.end())
        try:
            while not self.stop.is_set():
                self._wake.clear()
                await self._tick()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._pause())
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

    def _pause(self) -> float:
        rotation = self._network.rotation
        return TRIAL_SECONDS if self._trial or (rotation and rotation.is_on) else TICK_SECONDS

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
            if self._network.rotation:
                self._network.rotation.healthy = self.health.healthy()
            async with self._interface:
                begun = time.monotonic()
                made = await asyncio.to_thread(self._network.reconcile)
                self.counts.reconcile(time.monotonic() - begun)
            if made:
                say(f"changed {len(made)} peers")
                self.health.greet(self._network.greetable(made))
            self._network.found.tell(self._audit, self._network.whole.nodes)
            await self.members.tick()
            await self.revoker.follow()
            self._follow_changes()
            self._reconciled, self._problem = time.monotonic(), ""
        except (WireGuardError, OSError) as error:
            if str(error) != self._problem:
                say(f"the network cannot be reconciled: {error}")
            self._problem = str(error)
        self._look()
        if self._reconciled is not None:
            self._pulse.beat()
        self._follow_release()

    def _look(self) -> None:
        """See what is wrong now, for the status."""
        self._overview.look(
            reconciled=None if self._reconciled is None else time.monotonic() - self._reconciled,
            problem=self._problem,
            certificates=self.expiries.ends(),
            pools={pool.name: room for pool, room in self.members.rooms().items()},
            cleanup=self.members.pause,
            failed_release=release.failed(),
            balancer=self._balancer.problem,
            conditions=self.conditions.status(),
        )

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
            newer = release.newer_than(self.offers.own.number)
            if newer is not None:
                say(f"release {newer} checks itself")
                self._trial = release.Trial(newer, "gateway")
            return
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
            self.health.round(due | self.health.unknown(everybody) | self.health.late())
            await asyncio.sleep(PROBE_SECONDS / PROBE_STEPS)
            self.members.watch()
            part = (part + 1) % PROBE_STEPS

    def close(self) -> None:
        """Give back what the service holds open."""
        self._store.close()
        self._audit.close()
        self._network.leases.close()


def _held(number: int, kept: KeptRoster | KeptCredentials | KeptCertificate) -> dict[str, Any]:
    """What the status tells of a document that was pushed."""
    return {"number": number, "sha256": kept.sha256, "content": kept.content}
