"""Joining: who is let into which pool. The order of the checks is the contract's (docs/control-plane.md)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from node import joining
from node.gateway import identity
from node.gateway.audit import Audit
from node.gateway.health import Health
from node.gateway.identity.gcp import GoogleKeys
from node.gateway.lease import Joined, Lease, Misdirected, Refusal
from node.gateway.limits import Buckets
from node.gateway.network import Network
from node.gateway.tickets import Seal, Ticket
from node.gateway.traffic import Traffic
from node.log import say
from overlay.model import Node
from overlay.pools import Pool, token_digest
from overlay.roster import Roster
from overlay.topology import endpoint_for

SILENT_SECONDS = 15.0
QUIET_SECONDS = 30.0
"""A machine that has answered no echo for the one and sent nothing at all for the other, which is longer than its
tunnel's 25 s between two keepalives, does not count against its pool's limit."""
FLUSH_SECONDS = 2.0
STORE_RETRY_SECONDS = 10
_FREE = (421, 429, 503)
"""What costs nothing: another gateway is asked, or only time mends it."""
_NO_TOKEN = "unknown join token"
_T = TypeVar("_T")


class Store:
    """Changes of leases, one after the other and off the event loop."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "leases")
        self._problem = ""

    async def run(self, change: Callable[[], _T]) -> _T:
        """The outcome of ``change``; Refusal (503) when the disk does not take it."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._worker, change)
        except sqlite3.Error as error:
            if str(error) != self._problem:
                say(f"the leases cannot be stored: {error}")
            self._problem = str(error)
            raise Refusal(503, "the lease cannot be stored right now", STORE_RETRY_SECONDS) from None
        self._problem = ""
        return found

    def close(self) -> None:
        self._worker.shutdown()


@dataclass
class _Attempt:
    """Somebody's try to join: whose bucket its failure is taken from, and what the log tells of it."""

    buckets: Buckets
    payer: str
    about: dict[str, str | None] = field(default_factory=dict[str, str | None])


class Admission:
    """Lets machines into the pools of ``network``.

    ``private_key`` is the gateway's own WireGuard key; without it or without ``seal`` nobody new is let in. ``flush``
    brings changed leases to the interface.
    """

    def __init__(
        self,
        network: Network,
        health: Health,
        traffic: Traffic,
        store: Store,
        audit: Audit,
        flush: Callable[[], Awaitable[None]],
        seal: Seal | None,
        private_key: str | None,
        google: GoogleKeys,
    ) -> None:
        self._network = network
        self._health = health
        self.traffic = traffic
        self._store = store
        self._audit = audit
        self._flush = flush
        self._seal = seal
        self._private_key = private_key
        self._google = google
        self.joined: Counter[str] = Counter()
        """By pool, how many machines have got a lease since the service's start."""
        self._strangers = Buckets(60, 1.0)
        """Failures by source of those without a valid token."""
        self._unproven = Buckets(60, 1.0)
        """Failures by source and pool of those with one who have not shown that they hold their key."""
        self._members = Buckets(20, 1.0)
        """Failures by pool and key of those who hold the key: so a machine pays for its own only, whatever it stands
        behind, and nobody else can make it pay."""

    def pools_of(self, token: str | None) -> list[Pool]:
        """The pools whose join token this is; none once a machine was revoked that came with it."""
        kept = self._network.rosters.kept
        if kept is None or token is None:
            return []
        digest = token_digest(token)
        if digest in self._network.revocations.tokens:
            return []
        return [pool for pool in kept.roster.pools if pool.token_sha256 == digest]

    def admit(self, source: str, token: str | None) -> None:
        """Refusal (429) for a source that has failed too often, unless it has a valid token."""
        if not self.pools_of(token):
            self._check(self._strangers, source)

    def failed(self, source: str, refusal: Refusal, **about: str | None) -> None:
        """Count and log what ``source`` was refused. What :data:`_FREE` has costs nothing."""
        if refusal.status not in _FREE:
            self._strangers.take(source)
        self._audit.refuse(source, status=refusal.status, reason=refusal.reason, **about)

    @staticmethod
    def _check(buckets: Buckets, key: str) -> None:
        wait = buckets.wait(key)
        if wait > 0:
            raise Refusal(429, "too many failed attempts", int(wait) + 1)

    async def join(
        self,
        source: str,
        token: str | None,
        possession: str | None,
        length: int | None,
        read: Callable[[], Awaitable[bytes]],
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a join; Refusal. ``read`` gives the body, of ``length`` bytes it is said."""
        pools = self.pools_of(token)
        attempt = _Attempt(self._unproven, f"{source} {pools[0].name}") if pools else _Attempt(self._strangers, source)
        try:
            try:
                return await self._join(token, possession, length, read, attempt)
            except Refusal as refusal:
                if refusal.status not in _FREE:
                    self._check(attempt.buckets, attempt.payer)
                    attempt.buckets.take(attempt.payer)
                raise
        except Refusal as refusal:
            self._audit.refuse(source, status=refusal.status, reason=refusal.reason, **attempt.about)
            raise

    async def _join(
        self,
        token: str | None,
        possession: str | None,
        length: int | None,
        read: Callable[[], Awaitable[bytes]],
        attempt: _Attempt,
    ) -> tuple[int, bytes]:
        if token is None or (not self.pools_of(token) and (length is None or length > joining.LIMIT)):
            # Only a body that is small and says so may show a ticket, whoever else has failed behind the same address.
            self._check(attempt.buckets, attempt.payer)
        if length is not None and length > joining.LIMIT:
            raise Refusal(413, f"a join has at most {joining.LIMIT} bytes")
        if token is None:
            raise Refusal(403, "no join token", kind="token")
        body = await read()
        request, ticket = self._parsed(token, body)
        attempt.about |= {"pool": request.pool, "public_key": request.public_key, "instance_id": request.instance_id}
        self._check_home(request)
        if self._seal is None or self._private_key is None:
            raise Refusal(503, "this gateway was made before there were pools: raise its `revision`", 30)
        try:
            is_possessed = joining.is_possessed(possession, self._private_key, request.public_key, body)
        except joining.JoinError as error:
            raise Refusal(400, str(error)) from None
        if not is_possessed:
            raise Refusal(403, f"{joining.POSSESSION}: not by the holder of public_key", kind="possession")
        attempt.buckets, attempt.payer = self._members, f"{request.pool} {request.public_key}"
        self._check(attempt.buckets, attempt.payer)
        joined = await self._leased(request, ticket)
        await self._until_on_interface(joined.lease)
        answer = joining.answer_body(self._answer(self._roster(), joined.lease, self._seal))
        return (201 if joined.is_new else 200), answer

    def _parsed(self, token: str, body: bytes) -> tuple[joining.Request, Ticket | None]:
        """The request, and its ticket if it is one of ours for this pool and key; Refusal when there is no right."""
        pools = {pool.name for pool in self.pools_of(token)}
        try:
            request = joining.parse_request(body)
        except joining.JoinError as error:
            raise (Refusal(400, str(error)) if pools else Refusal(403, _NO_TOKEN, kind="token")) from None
        ticket = self._seal.open(request.ticket) if self._seal and request.ticket else None
        if ticket and (ticket.pool, ticket.public_key) != (request.pool, request.public_key):
            ticket = None
        if request.pool not in pools and ticket is None:
            raise Refusal(403, "the join token is another pool's" if pools else _NO_TOKEN, kind="token")
        return request, ticket

    def _check_home(self, request: joining.Request) -> None:
        """Refusal (421) for a pool of another gateway: where its machines join."""
        kept = self._network.rosters.kept
        home = kept.homes.get(request.pool) if kept else None
        if kept is None or home is None or home.name == self._network.config.name:
            return
        pool = kept.roster.pool(request.pool)
        # The certificates of gateways on Hetzner do not name an address of their own network.
        is_near = pool.lan and kept.roster.network.site(pool.site).cloud != "hetzner"
        asker = Node("", pool.site, home.address, "spoke", request.public_key, lan=is_near)
        host = (endpoint_for(asker, home) or "").rpartition(":")[0]
        if not host:
            raise Refusal(503, f"the machines of this pool join at {home.name}, which has no endpoint", 30)
        raise Misdirected(home.name, f"https://{host}:{self._network.config.control[1]}", home.public_key)

    async def _leased(self, request: joining.Request, ticket: Ticket | None) -> Joined:
        leases, revocations = self._network.leases, self._network.revocations
        revocations.check(request)
        if leases.examine(request):
            evidence = None
        else:
            try:
                pool = self._roster().pool(request.pool)
            except KeyError:
                raise Refusal(403, "no such pool") from None
            evidence = await identity.verified(pool, request, self._google)

        def change() -> Joined:
            revocations.check(request)
            joined = leases.join(request, ticket, evidence, self.is_working)
            self._tell(joined)
            return joined

        return await self._store.run(change)

    def _roster(self) -> Roster:
        kept = self._network.rosters.kept
        if kept is None:
            raise Refusal(503, "no roster yet", STORE_RETRY_SECONDS)
        return kept.roster

    def is_working(self, lease: Lease) -> bool:
        """Whether a lease counts against its pool's limit."""
        if lease.state != "active":
            return False
        is_heard = self._health.silence(lease.address) < SILENT_SECONDS
        if not self._network.hangs_here(lease.public_key):
            return is_heard
        return is_heard or self.traffic.silence(lease.public_key) < QUIET_SECONDS

    def _tell(self, joined: Joined) -> None:
        lease = joined.lease
        for old in joined.superseded:
            self._audit.lease("supersede", old, reason=f"joined under another key as {lease.name}")
        if self._network.rotation:
            # The machine forgets its own, too: whatever either end has lost, they find each other.
            self._network.rotation.forget(self._network, lease.name)
        if joined.is_new:
            self.joined[lease.pool] += 1
            self._audit.lease("join", lease, instance_id=lease.instance_id, public_key=lease.public_key)
        else:
            self._audit.rejoin(lease)

    async def _until_on_interface(self, lease: Lease) -> None:
        if self._network.has(lease):
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._flush(), FLUSH_SECONDS)
        if not self._network.has(lease):
            raise Refusal(503, "the interface has not taken the peer yet", 2)

    def _answer(self, roster: Roster, lease: Lease, seal: Seal) -> joining.Answer:
        ticket = Ticket(lease.id, lease.pool, lease.public_key, lease.instance_id, str(lease.address), lease.name)
        peers, rotation = tuple(self._network.member_peers(lease)), self._network.rotation
        return joining.Answer(
            lease.name,
            lease.address,
            roster.network.overlay,
            roster.mtu,
            self._network.config.control[0],
            peers,
            seal.secret(lease.id, lease.public_key),
            seal.seal(ticket),
            rotation.used(peer.public_key for peer in peers) if rotation else {},
        )
