"""Keeps nginx's configuration equal to what the roster, the leases, the health checks and the credentials say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from node.gateway.audit import Audit
from node.gateway.network import Network
from node.gateway.rosters import Kept as KeptRoster
from node.gateway.serving.checks import Checks
from node.gateway.serving.conf import Pems, render, servers_of
from node.gateway.serving.credentials import CredentialStore, Kept
from node.gateway.serving.machines import Endpoint, Machine, machines
from node.gateway.serving.nginx import Folder, Nginx, NginxError
from node.log import say
from overlay.serving import LoadBalancer

PAUSE_SECONDS = 1.0
"""Between two configurations: what changes meanwhile is one change."""
OUT_SECONDS = 3.0
"""How long a machine that drains waits at most until it gets no new request."""
LOOK_SECONDS = 10.0
"""Between two looks at whether nginx still runs, with the configuration that it should have."""
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 2.0, 60.0
"""What nginx has refused is tried again after the first, which doubles up to the second."""
HANDOVER_SECONDS = 0.3
"""nginx's old processes take requests for about 0.1 s after a reload (ngx_master_process_cycle)."""
_CALM = 4.0
"""After a look at thousands of machines none for so many times as long as it took, while they come and go."""
_NO_CREDENTIALS = "no credentials yet: `pulumi up` pushes them, with `--refresh` if it finds nothing to change"
_NOT_OURS = "nginx has another configuration: this gateway was made before gateways took requests; raise its `revision`"


class Balancer:
    """The load balancer of ``network``'s gateway. ``ticks`` is monotonic, in seconds."""

    def __init__(
        self,
        network: Network,
        credentials: CredentialStore,
        nginx: Nginx,
        audit: Audit,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.checks = Checks(self.wake)
        self.machines: list[Machine] = []
        """Those that requests may go to, healthy or not."""
        self.rotation: frozenset[Endpoint] = frozenset()
        """Those that nginx sends requests to."""
        self._coming: frozenset[Endpoint] = frozenset()
        """Those that it may send requests to by now, since it has been told to."""
        self.reloads = 0
        self._network = network
        self._credentials = credentials
        self._nginx = nginx
        self._audit = audit
        self._ticks = ticks
        self._folder = Folder(network.config.state / "nginx")
        self._wake = asyncio.Event()
        self._turned = asyncio.Event()
        """Set, and another one from then on, when the rotation changes."""
        self._followed: tuple[str, tuple[int, int]] | None = None
        """The roster's digest and the leases' version that the machines are of."""
        self._not_before = float("-inf")
        self._looked = float("-inf")
        self._is_running = False
        self._is_off = False
        """Whether the credentials were forgotten since the load balancer was on: those that come then are for later."""
        self._wait = 0.0
        self._retry = float("-inf")
        """When what was refused is tried again, and how long that was put off."""
        self._refused: str | None = None
        self._problem: str | None = None

    def wake(self) -> None:
        """Look at once for what has changed."""
        self._wake.set()

    async def until_out(self, address: IPv4Address) -> None:
        """Wait until nginx sends no new request to the machine at ``address``, or has had the time for that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + OUT_SECONDS
        was_in = False
        while any(each.address == address for each in self.rotation | self._coming) and loop.time() < deadline:
            was_in = True
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._turned.wait(), deadline - loop.time())
        if was_in:
            await asyncio.sleep(HANDOVER_SECONDS)

    async def run(self) -> None:
        """Follow every change until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                # Not with wait_for, which up to Python 3.11 may take a cancellation for the event's end.
                timer = loop.call_later(await self._step(), self.wake)
                await self._wake.wait()
                timer.cancel()
        finally:
            await self.checks.close()

    async def _step(self) -> float:
        """Do what is due; in how many seconds to look again, at the latest."""
        now = self._ticks()
        if now < self._not_before:
            return self._not_before - now
        kept = self._network.rosters.kept
        if kept is None:
            return LOOK_SECONDS
        try:
            if kept.roster.load_balancer is None:
                await self._turn_off(now)
            else:
                self._is_off = False
                self._follow(kept, kept.roster.load_balancer)
                await self._serve(kept.roster.load_balancer, now)
        except Exception as error:
            # Whatever it is, the network goes on.
            self._tell_problem(str(error) if isinstance(error, NginxError) else f"{type(error).__name__}: {error}")
            self._wait = min(MAX_RETRY_SECONDS, max(FIRST_RETRY_SECONDS, self._wait * 2))
            self._retry = self._ticks() + self._wait
        return min(LOOK_SECONDS, self._retry - now) if self._problem and self._retry > now else LOOK_SECONDS

    def _follow(self, kept: KeptRoster, balancer: LoadBalancer) -> None:
        """Look anew at which machines there are, if they may be others."""
        began, version = self._ticks(), self._network.serving_version
        if self._followed == (kept.sha256, version):
            return
        trusted: set[tuple[Any, int]] = set()
        if self._followed is None:
            # Who had requests before this process began is healthy until the checks say otherwise.
            trusted = servers_of(self._folder.configuration() or "")
        self.machines = machines(kept.roster, self._network.leases_of, self._network.revocations.keys)
        endpoints = [machine.endpoint for machine in self.machines]
        self.checks.follow(balancer.check, endpoints, trusted)
        if self._followed is None:
            self.rotation = frozenset(each for each in endpoints if each.place in trusted)
        self._followed = kept.sha256, version
        self._not_before = self._ticks() + _CALM * (self._ticks() - began)

    async def _serve(self, balancer: LoadBalancer, now: float) -> None:
        """Bring nginx what it should have, unless it has it."""
        await self._look(now)
        kept = self._credentials.kept
        if kept is None:
            self._tell_problem(self._credentials.problem or _NO_CREDENTIALS)
            return
        chosen = [each for each in self.machines if not each.draining and self.checks.is_healthy(each.endpoint)]
        self._coming |= {each.endpoint for each in chosen}
        pems = self._folder.pems(kept.credentials)
        servers = [each.server() for each in chosen]
        text = render(servers, pems, kept.credentials.api_keys, balancer.trusted_proxies)
        if self._is_running and await asyncio.to_thread(self._folder.is_taken, text):
            self._settle(chosen)
            return
        if text == self._refused and now < self._retry:
            return
        self._refused, self._not_before = text, now + PAUSE_SECONDS
        await asyncio.to_thread(self._take, text, pems, kept)
        self._looked, self._is_running = self._ticks(), True
        self.reloads += 1
        say(f"nginx takes a configuration with {len(chosen)} machines")
        self._settle(chosen)

    async def _look(self, now: float) -> None:
        if now - self._looked >= LOOK_SECONDS:
            self._is_running = await asyncio.to_thread(self._nginx.is_running)
            self._looked = now

    def _take(self, text: str, pems: Pems, kept: Kept) -> None:
        self._folder.write(pems, kept.credentials)
        self._folder.offer(text)
        self._nginx.take()
        if self._folder.configuration() != text:
            raise NginxError(_NOT_OURS)
        self._folder.note_taken(text, pems)

    def _settle(self, chosen: list[Machine]) -> None:
        """Nginx sends requests to ``chosen`` now."""
        self._refused, self._wait, self._problem = None, 0.0, None
        new = frozenset(machine.endpoint for machine in chosen)
        draining = {machine.endpoint: machine.draining for machine in self.machines}
        were, are = ({(each.place, each.node): each for each in them} for them in (self.rotation, new))
        for place in sorted(were.keys() - are.keys()):
            gone = were[place]
            outcome = self.checks.outcome(gone)
            why = "draining" if draining.get(gone) else outcome.why if outcome else "no target any more"
            self._tell_rotation("unserve", gone, why)
        for place in sorted(are.keys() - were.keys()):
            self._tell_rotation("serve", are[place], None)
        self.rotation, self._coming = new, frozenset()
        self._turned.set()
        self._turned = asyncio.Event()

    def _tell_rotation(self, event: str, endpoint: Endpoint, why: str | None) -> None:
        self._audit.write(event, node=endpoint.node, address=str(endpoint.address), reason=why)

    async def _turn_off(self, now: float) -> None:
        """The roster has no load balancer: neither has this gateway."""
        self.machines, self._followed = [], None
        self.checks.stop()
        if not self._folder.exists():
            self._settle([])
            return
        if not self._is_off:
            self._credentials.forget()
            self._is_off = True
        if self._problem and now < self._retry:
            return
        await asyncio.to_thread(self._nginx.stop)
        self._folder.remove()
        self._is_running = False
        say("the load balancer is off")
        self._settle([])

    def _tell_problem(self, problem: str) -> None:
        if problem != self._problem:
            say(f"the load balancer: {problem}")
        self._problem = problem

    @property
    def problem(self) -> str | None:
        """What is wrong with it, and the way out; nothing where there is none."""
        roster, kept = self._network.rosters.kept, self._credentials.kept
        if roster is None or roster.roster.load_balancer is None:
            return None
        if self._problem is None and kept and self._credentials.is_expired(kept):
            return f"the certificate expired on {kept.not_after:%Y-%m-%d}"
        return self._problem

    def status(self) -> dict[str, Any] | None:
        """``load_balancer`` of ``GET /v1/status``."""
        roster, kept = self._network.rosters.kept, self._credentials.kept
        if roster is None or roster.roster.load_balancer is None:
            return None
        return {
            "state": "serving" if self._is_running and self._folder.exists() else "waiting",
            "problem": self.problem,
            "certificate": {"not_after": kept.not_after.isoformat()} if kept else None,
            "reloads": self.reloads,
            "targets": [self._told(machine) for machine in self.machines],
        }

    def _told(self, machine: Machine) -> dict[str, Any]:
        endpoint = machine.endpoint
        return {
            "name": endpoint.node,
            "address": str(endpoint.address),
            "port": endpoint.port,
            "healthy": self.checks.is_healthy(endpoint),
            "draining": machine.draining,
            "weight": machine.weight,
            "backup": machine.backup,
            "in_rotation": endpoint in self.rotation,
        }
