"""The pools' machines after their joining: what they say of themselves, how they leave, and whose time is over."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

from node.gateway.admission import Admission, Store
from node.gateway.audit import Audit
from node.gateway.cleanup import ANNOUNCE_SECONDS, Cleanup
from node.gateway.health import Health
from node.gateway.lease import Lease, Refusal, State
from node.gateway.limits import Buckets
from node.gateway.network import Network
from node.gateway.tickets import Seal
from node.log import say
from overlay.pools import Pool, usable_addresses
from overlay.roster import Roster

LEAVE_SECONDS = 0.3
"""After the answer to a leave: so much later its peer goes, and with it the way of the answer."""
DRAIN_SECONDS = 180.0
"""How long a machine may drain: longer than any cloud gives one that it takes away."""
PRUNE_SECONDS = 3600.0


class Members:
    """The machines that hold leases of ``network``. ``clock`` gives seconds since 1970, ``ticks`` monotonic ones."""

    def __init__(
        self,
        network: Network,
        health: Health,
        store: Store,
        audit: Audit,
        flush: Callable[[], Awaitable[None]],
        seal: Seal | None,
        admission: Admission,
        until_out: Callable[[IPv4Address], Awaitable[None]],
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.admission = admission
        self._network = network
        self._leases = network.leases
        self._health = health
        self._store = store
        self._audit = audit
        self._flush = flush
        self._seal = seal
        self._until_out = until_out
        self._clock = clock
        self._ticks = ticks
        self._cleanups = {network.config.name: Cleanup(clock, ticks)}
        """By the gateway that machines hang on: whose silence there counts."""
        self._paused: str | None = None
        self._followed: str | None = None
        self._known = network.rosters.kept.sha256 if network.rosters.kept else None
        self._started = ticks()
        self._pruned = float("-inf")
        self._changes = Buckets(10, 1.0, clock=ticks)
        """What machines said of themselves, by public key: each is written to the disk and to the log."""
        self._draining: dict[str, float] = {}
        """Since when a lease was seen to drain, by its id; a restart begins anew."""
        self._connected = set(network.addresses())
        """Who counts as connected: at first all that were there, so that a restart is nobody's coming or going."""
        self.leaving: dict[str, asyncio.Task[None]] = {}
        """Leaves that were answered and are not finished, by the lease's id."""

    # What a machine asks through the tunnel.

    def _authentic(self, address: str, secret: str | None) -> Lease:
        """The lease of whoever speaks from this overlay address with its secret; Refusal (404, 403)."""
        lease = self._leases.at(IPv4Address(address))
        if lease is None or lease.state == "left" or self._seal is None:
            raise Refusal(404, "no lease has this address")
        right = self._seal.secret(lease.id, lease.public_key)
        if not hmac.compare_digest((secret or "").encode(), right.encode()):
            raise Refusal(403, "wrong lease secret")
        return lease

    def _changeable(self, address: str, secret: str | None) -> Lease:
        """The lease of whoever may change it now; Refusal (404, 403, 429)."""
        lease = self._authentic(address, secret)
        if not self._changes.take(lease.public_key):
            raise Refusal(429, "too many changes of one lease", int(self._changes.wait(lease.public_key)) + 1)
        return lease

    def tell(self, address: str, secret: str | None) -> dict[str, Any]:
        """The lease of a machine, as it is told; Refusal."""
        return self._answer(self._authentic(address, secret))

    def _answer(self, lease: Lease) -> dict[str, Any]:
        """What a machine is told of its lease. ``port`` is where requests come: it leaves when they have ended."""
        kept = self._network.rosters.kept
        port = next((pool.port for pool in kept.roster.pools if pool.name == lease.pool), None) if kept else None
        return {**_told(lease), "port": port}

    async def change(
        self, address: str, secret: str | None, state: State | None, weight: int | None, reason: str | None
    ) -> dict[str, Any]:
        """Note that a machine drains, or its weight; Refusal. One that drains gets no new request after that."""
        old = self._changeable(address, secret)

        def keep() -> Lease | None:
            new = self._leases.change(old.id, state, weight)
            if new and new.state != old.state:
                self._audit.lease("drain", new, reason=reason)
            if new and new.weight != old.weight:
                self._audit.lease("weight", new, weight=new.weight, reason=reason)
            return new

        new = await self._store.run(keep)
        if new is None:
            raise Refusal(404, "no lease has this address")
        if new.state == "draining":
            await self._until_out(new.address)
        return self._answer(new)

    async def leave(self, address: str, secret: str | None, reason: str | None) -> dict[str, Any]:
        """End a machine's lease a moment after this returns, when no new request goes to it; Refusal."""
        old = self._changeable(address, secret)

        def keep() -> Lease | None:
            new = self._leases.change(old.id, "left", None)
            if new:
                self._audit.lease("leave", new, reason=reason)
            return new

        new = await self._store.run(keep)
        if new is None:
            raise Refusal(404, "no lease has this address")
        task = self.leaving[new.id] = asyncio.create_task(self._finish(new))
        task.add_done_callback(lambda _: self.leaving.pop(new.id))
        await self._until_out(new.address)
        return self._answer(new)

    async def _finish(self, lease: Lease) -> None:
        await self._until_out(lease.address)
        await asyncio.sleep(LEAVE_SECONDS)
        await self.end([lease], lambda _: None)

    async def end(self, leases: list[Lease], tell: Callable[[Lease], None]) -> None:
        """End leases and take their peers from the interface. What the disk does not take is tried again later."""

        def keep() -> None:
            for lease in self._leases.end([each.id for each in leases]):
                tell(lease)

        try:
            await self._store.run(keep)
        except Refusal:
            return
        await self._flush()

    # What the gateway does by itself.

    async def follow(self) -> None:
        """Bring the leases into line with the roster."""
        kept = self._network.rosters.kept
        if kept is None or kept.sha256 == self._followed:
            return

        def keep() -> None:
            own = self._network.config.name
            elsewhere = {pool: home.name for pool, home in kept.homes.items() if home.name != own}
            for lease, why in self._leases.follow(kept.roster, elsewhere):
                self._audit.lease("roster", lease, reason=why)
            if kept.sha256 != self._known:
                self._audit.write("roster", roster=kept.roster.number, sha256=kept.sha256)
            self._known = kept.sha256

        try:
            await self._store.run(keep)
        except Refusal:
            return
        self._followed = kept.sha256

    async def tick(self) -> None:
        """End the leases of those who left or were silent for too long, and forget old ones."""
        kept = self._network.rosters.kept
        if kept is None:
            return
        leases = self._leases.live()
        left = [lease for lease in leases if lease.state == "left" and lease.id not in self.leaving]
        if left:
            await self.end(left, lambda _: None)
        observed = dict(self._network.observed)
        self.admission.traffic.look(observed)
        await self._end_drained(leases)
        handshakes = {key: state.handshake for key, state in observed.items()}
        due = self._due(kept.roster, leases, handshakes)
        self._tell_pause()
        if due:

            def tell(lease: Lease) -> None:
                heard = max(handshakes.get(lease.public_key, 0), lease.joined)
                self._audit.lease("expire", lease, reason=f"not heard of for {self._clock() - heard:.0f} s")

            await self.end(due, tell)
        if self._ticks() - self._pruned >= PRUNE_SECONDS:
            self._pruned = self._ticks()
            with contextlib.suppress(Refusal):
                await self._store.run(self._leases.prune)

    def _due(self, roster: Roster, leases: list[Lease], handshakes: dict[str, int]) -> list[Lease]:
        """The leases whose time is over. Those on each gateway are looked at by themselves.

        A gateway that does not answer, and nobody behind it, tells nothing of its machines.
        """
        ttls, healthy = {pool.name: pool.ttl for pool in roster.pools}, self._health.healthy()
        own, members = self._network.config.name, self._network.whole.members
        behind: dict[str, list[Lease]] = {own: []}
        for lease in leases:
            where = self._network.whole.gateway_of(members[lease.public_key]) if lease.public_key in members else own
            behind.setdefault(where or own, []).append(lease)
        others: dict[str, list[IPv4Address]] = {}
        for node in self._network.declared():
            is_gateway = node.role == "gateway"
            where = node.name if is_gateway else self._network.whole.gateway_of(node) or own
            others.setdefault(where, []).append(node.address)
            if is_gateway:
                others.setdefault(own, []).append(node.address)
        self._cleanups = {each: self._cleanups.get(each) or Cleanup(self._clock, self._ticks) for each in behind}
        return [
            lease
            for where, theirs in behind.items()
            for lease in self._cleanups[where].due(theirs, ttls, handshakes, healthy, others.get(where, []))
        ]

    @property
    def pause(self) -> str | None:
        """Why no lease of some machines ends at present: ``cleanup`` of ``GET /v1/status``."""
        own = self._network.config.name
        for where, cleanup in self._cleanups.items():
            if cleanup.pause:
                return cleanup.pause if where == own else f"{cleanup.pause} behind {where}"
        return None

    async def _end_drained(self, leases: list[Lease]) -> None:
        """End the leases of those who drain for too long: else a pool would fill up with machines that do not work."""
        now = self._ticks()
        self._draining = {each.id: self._draining.get(each.id, now) for each in leases if each.state == "draining"}
        over = [each for each in leases if now - self._draining.get(each.id, now) >= DRAIN_SECONDS]
        if over:
            why = f"it has drained for {DRAIN_SECONDS:.0f} s"
            await self.end(over, lambda lease: self._audit.lease("expire", lease, reason=why))

    def _tell_pause(self) -> None:
        if self.pause == self._paused:
            return
        self._paused = self.pause
        if self._paused:
            say(f"no lease ends for its machine's silence while {self._paused}")
            self._audit.write("cleanup", state="paused", reason=self._paused)
        else:
            say("leases of silent machines end again")
            self._audit.write("cleanup", state="resumed")

    def watch(self) -> None:
        """Log who has come and gone by the probes."""
        healthy = self._health.healthy()
        if healthy == self._connected:
            return
        names = {node.address: node.name for node in self._network.declared()}
        for address in healthy - self._connected:
            self._tell_health("connect", address, names)
            self._connected.add(address)
        if self._ticks() - self._started < ANNOUNCE_SECONDS:
            return
        for address in self._connected - healthy:
            self._tell_health("disconnect", address, names)
            self._connected.discard(address)

    def _tell_health(self, event: str, address: IPv4Address, names: dict[IPv4Address, str]) -> None:
        """A line, unless the peer is none any more: its leaving or expiry was told."""
        lease = self._leases.at(address)
        if lease:
            self._audit.lease(event, lease)
        elif address in names:
            self._audit.write(event, node=names[address], address=str(address))

    # What the status tells.

    def status(self) -> dict[str, Any]:
        """``leases``, ``pools`` and ``cleanup`` of ``GET /v1/status``."""
        healthy = self._health.healthy()
        leases = [
            {
                **_told(lease),
                "public_key": lease.public_key,
                "instance_id": lease.instance_id,
                "joined": lease.joined,
                **self._network.told(lease.public_key),
                "healthy": lease.address in healthy,
            }
            for lease in self._leases.live()
        ]
        return {"leases": leases, "pools": self.pools(), "cleanup": self.pause}

    def pools(self) -> dict[str, dict[str, Any]]:
        """``pools`` of ``GET /v1/status``: those whose machines join here."""
        found: dict[str, dict[str, Any]] = {}
        for pool, (free, _) in self.rooms().items():
            members = self._leases.of_pool(pool.name)
            found[pool.name] = {
                "limit": pool.limit,
                "working": sum(map(self.admission.is_working, members)),
                "leases": len(members),
                "resting": self._leases.resting(pool),
                "free": free,
            }
        return found

    def rooms(self) -> dict[Pool, tuple[int, int]]:
        """How many addresses of each pool whose machines join here are free, and how many it has."""
        kept = self._network.rosters.kept
        found: dict[Pool, tuple[int, int]] = {}
        for pool in kept.roster.pools if kept else ():
            assert kept
            if self._network.is_home(pool.name):
                size = len(usable_addresses(pool.addresses, kept.roster.network.site(pool.site).subnet))
                taken = len(self._leases.of_pool(pool.name)) + self._leases.resting(pool)
                found[pool] = max(0, size - taken), size
        return found

    async def close(self) -> None:
        """Finish the leaves that were answered."""
        await asyncio.gather(*self.leaving.values())


def _told(lease: Lease) -> dict[str, Any]:
    return {
        "name": lease.name,
        "pool": lease.pool,
        "address": str(lease.address),
        "state": lease.state,
        "weight": lease.weight,
    }
