"""Who gets which address of which pool: the rules over the ledger.

A lease is live from its joining until it ends. The address of an ended one rests before another machine gets it, and
addresses are given as late as possible again. Every method may be called from any thread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

from node.gateway.lease import FULL_WEIGHT, Evidence, Joined, Lease, Refusal, State
from node.gateway.ledger import Ledger
from node.gateway.tickets import Ticket
from node.joining import Request
from overlay.pools import MEMBER_ID_LENGTH, Pool, is_in_range, member_name, usable_addresses
from overlay.roster import Roster

KEEP_SECONDS = 86400.0
"""How long an ended lease is remembered at least."""
HOLD_SECONDS = 60.0
"""How long a gateway that has lost its disk lets in only those who can say which address they had."""
LEASES_A_PLACE = 2
"""So many times a pool's limit may hold leases, whether they work or not: its range has room for as many."""
_HERE: Mapping[str, str] = MappingProxyType({})
RETRY_SECONDS = 10
"""When a machine may ask a full pool again."""


class Leases:
    """The leases in the database ``path``. ``clock`` gives seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._ledger = Ledger(path)
        self._roster: Roster | None = None
        self._keys: frozenset[str] = frozenset()
        self._addresses: frozenset[IPv4Address] = frozenset()
        self._names: frozenset[str] = frozenset()
        self._revoked: frozenset[str] = frozenset()
        self._elsewhere: dict[str, str] = {}

    def open(self, *, read_only: bool = False) -> None:
        """Read the database; StateError. ``read_only`` neither makes nor migrates nor changes it."""
        with self._lock:
            self._ledger.open(read_only=read_only)

    def close(self) -> None:
        with self._lock:
            self._ledger.close()

    def live(self) -> list[Lease]:
        """Every live lease, in the order of joining."""
        return list(self._ledger.by_key.values())

    def of_key(self, public_key: str) -> Lease | None:
        return self._ledger.by_key.get(public_key)

    def at(self, address: IPv4Address) -> Lease | None:
        return self._ledger.by_address.get(address)

    def of_pool(self, pool: str) -> list[Lease]:
        return list(self._ledger.by_pool.get(pool, {}).values())

    def last_of(self, name: str) -> Lease | None:
        """The last lease of a name, also one that has ended within the last day. sqlite3.Error."""
        with self._lock:
            return self._ledger.last_of(name)

    def resting(self, pool: Pool) -> int:
        """How many addresses of ``pool`` rest now."""
        now = self._clock()
        rests = list(self._ledger.rests.values())
        return sum(rest.pool == pool.name and now < rest.ended + pool.rest for rest in rests)

    def take_changed(self) -> set[str]:
        """The public keys whose leases came, went or changed since the last call; after opening, all."""
        with self._lock:
            found, self._ledger.changed = self._ledger.changed, set()
            return found

    @property
    def version(self) -> int:
        """Another one after each change of a lease."""
        return self._ledger.version

    def watch(self, on_change: Callable[[], None] | None) -> None:
        """Call ``on_change`` after each change of a lease, from whichever thread makes it; None ends that."""
        with self._lock:
            self._ledger.on_change = on_change

    # What the stack declares.

    def follow(self, roster: Roster, elsewhere: Mapping[str, str] = _HERE) -> list[tuple[Lease, str]]:
        """Take a roster: the leases that had to end for it, each with the reason. sqlite3.Error changes no lease.

        ``elsewhere`` names, by pool, the gateway where its machines join if that is another one.
        """
        with self._lock:
            is_first, self._roster = self._roster is None, roster
            gained = (self._elsewhere.keys() - elsewhere.keys()) & {pool.name for pool in roster.pools}
            self._elsewhere = dict(elsewhere)
            self._keys = frozenset(node.public_key for node in roster.nodes)
            self._addresses = frozenset(node.address for node in roster.nodes)
            self._names = frozenset(node.name for node in roster.nodes) | {pool.name for pool in roster.pools}
            self._revoked = frozenset(roster.revoked_keys)
            has_lost = is_first and self._ledger.was_made and roster.number > 1 and roster.pools
            if has_lost or gained:
                self._ledger.hold(self._clock() + HOLD_SECONDS)
            ending = [(lease, why) for lease in self.live() if (why := self._misfit(lease))]
            self._ledger.end([lease for lease, _ in ending], self._clock())
            return ending

    def _misfit(self, lease: Lease) -> str | None:
        """Why a live lease cannot stay under the roster."""
        assert self._roster
        pool = next((each for each in self._roster.pools if each.name == lease.pool), None)
        if pool is None:
            return "pool removed"
        if pool.name in self._elsewhere:
            return f"its machines join at {self._elsewhere[pool.name]} now"
        if not self._is_in_range(pool, lease.address):
            return "the pool has another range"
        if lease.public_key in self._revoked:
            return "key revoked"
        if lease.public_key in self._keys or lease.address in self._addresses or lease.name in self._names:
            return "a declared node has its key, address or name"
        return None

    # Joining.

    def examine(self, request: Request) -> Lease | None:
        """The live lease that ``request`` asks for again, or None when it asks for a new one; Refusal."""
        with self._lock:
            pool, key = self._pool(request.pool), request.public_key
            if key in self._keys:
                raise Refusal(409, "public_key: a declared node has this key")
            mine = self._ledger.by_key.get(key)
            if mine and (mine.pool, mine.instance_id) != (request.pool, request.instance_id):
                raise Refusal(409, "public_key: another machine has this key; make a new one")
            if key in self._revoked:
                raise Refusal(403, "public_key: this key is revoked", kind="revoked")
            if mine and mine.state != "left":
                return mine
            if request.address:
                if not self._is_in_range(pool, request.address):
                    raise Refusal(400, f"address: {request.address} is outside the pool's range {pool.addresses}")
                if not self._is_free_for(request.address, pool, key, self._gone_with(request)):
                    raise Refusal(409, f"address: {request.address} is not free")
            return None

    def join(
        self, request: Request, ticket: Ticket | None, evidence: Evidence | None, is_working: Callable[[Lease], bool]
    ) -> Joined:
        """The lease of a machine that may join, kept for good before this returns; Refusal, sqlite3.Error.

        ``ticket`` is one of ours for this pool and key. ``is_working`` says whether a lease counts against the limit.
        """
        with self._lock:
            mine = self.examine(request)
            if mine:
                return Joined(mine, is_new=False)
            pool, gone = self._pool(request.pool), self._gone_with(request)
            if evidence and evidence.binds:
                bound = self._ledger.bound_key(evidence.machine)
                if bound not in (None, request.public_key):
                    raise Refusal(409, "proof: this machine's document was used with another key", kind="proof")
            superseded = tuple(lease for lease in gone if lease.state != "left")
            if superseded and evidence is None:
                why = "instance_id: this machine has joined under another key, and proves nothing"
                raise Refusal(409, why, kind="proof")
            self._check_room(pool, gone, is_working)
            address, is_wish = self._address(request, pool, ticket, gone)
            self._check_hold(ticket)
            lease = self._made(request, ticket, address, gone)
            self._ledger.keep(lease, gone, evidence, self._clock(), moves_cursor=not is_wish)
            return Joined(lease, is_new=True, superseded=superseded)

    def _pool(self, name: str) -> Pool:
        if self._roster is None:
            raise Refusal(503, "no roster yet", RETRY_SECONDS)
        try:
            return self._roster.pool(name)
        except KeyError:
            raise Refusal(403, "no such pool") from None

    def _gone_with(self, request: Request) -> list[Lease]:
        """The live leases that end when this machine gets a new one: one that it has left, one of an older key."""
        found = (
            self._ledger.by_key.get(request.public_key),
            self._ledger.by_instance.get((request.pool, request.instance_id)),
        )
        return list({lease.id: lease for lease in found if lease}.values())

    def _check_room(self, pool: Pool, gone: Sequence[Lease], is_working: Callable[[Lease], bool]) -> None:
        members = self._ledger.by_pool.get(pool.name, {})
        if len(members) < pool.limit:
            return
        leaving = {lease.id for lease in gone}
        staying = [lease for lease in members.values() if lease.id not in leaving]
        if sum(map(is_working, staying)) >= pool.limit:
            raise _full(f"the pool is full: {pool.limit} machines work in it")
        if len(staying) >= LEASES_A_PLACE * pool.limit:
            raise _full(f"the pool is full: {len(staying)} machines work, drain or are silent")

    def _check_hold(self, ticket: Ticket | None) -> None:
        left = self._ledger.hold_until - self._clock()
        # A longer hold is a clock that was set back.
        if ticket is None and 0 < left <= HOLD_SECONDS:
            raise Refusal(
                503,
                "machines that were in the network come first: this gateway has lost its disk, or has the pool anew",
                int(left) + 1,
            )

    def _is_in_range(self, pool: Pool, address: IPv4Address) -> bool:
        assert self._roster
        return is_in_range(address, pool.addresses, self._roster.network.site(pool.site).subnet)

    def _is_free_for(self, address: IPv4Address, pool: Pool, public_key: str, gone: Iterable[Lease]) -> bool:
        """Whether a machine with ``public_key`` can have ``address`` when the leases ``gone`` have ended."""
        holder = self._ledger.by_address.get(address)
        if holder:
            return any(holder.id == lease.id for lease in gone)
        rest = self._ledger.rests.get(address)
        return rest is None or rest.public_key == public_key or self._clock() >= rest.ended + pool.rest

    def _address(
        self, request: Request, pool: Pool, ticket: Ticket | None, gone: Sequence[Lease]
    ) -> tuple[IPv4Address, bool]:
        """The address for a new lease, and whether it is one that the machine asked for or had."""
        assert self._roster
        wishes = [request.address, *(lease.address for lease in gone)]
        wishes.append(IPv4Address(ticket.address) if ticket else None)
        last = self._ledger.last.get(request.public_key)
        wishes.append(last[0] if last and last[1].pool == pool.name else None)
        for wish in wishes:
            if wish and self._is_in_range(pool, wish) and self._is_free_for(wish, pool, request.public_key, gone):
                return wish, True
        usable = usable_addresses(pool.addresses, self._roster.network.site(pool.site).subnet)
        cursor = self._ledger.cursors.get(pool.name)
        start = int(cursor) + 1 - usable.start if cursor else 0
        for step in range(len(usable)):
            address = IPv4Address(usable[(start + step) % len(usable)])
            if self._is_free_for(address, pool, request.public_key, ()):
                return address, False
        raise _full("every address of the pool is taken or rests")

    def _made(self, request: Request, ticket: Ticket | None, address: IPv4Address, gone: Sequence[Lease]) -> Lease:
        """The new lease: the ticket's again when the disk with it was lost, else another."""
        given_up = {lease.name for lease in gone}

        def is_free(name: str) -> bool:
            return name not in self._names and (name not in self._ledger.by_name or name in given_up)

        lost = ticket if ticket and not self._ledger.is_known(ticket.lease) else None
        ident = lost.lease if lost else secrets.token_hex(16)
        longest = len(request.instance_id) + MEMBER_ID_LENGTH
        names = (member_name(request.pool, request.instance_id, length) for length in range(MEMBER_ID_LENGTH, longest))
        name = lost.name if lost and is_free(lost.name) else next(filter(is_free, names), f"{request.pool}-{ident}")
        now = self._clock()
        return Lease(
            ident, request.pool, name, address, request.public_key, request.instance_id, "active", FULL_WEIGHT, now
        )

    # Afterwards.

    def change(self, ident: str, state: State | None, weight: int | None) -> Lease | None:
        """Note what the machine of a live lease says of itself: the lease as it is then, None when it has ended.

        One that drains does not work again, and one that has left stays so. sqlite3.Error.
        """
        with self._lock:
            lease = self._of_id(ident)
            if lease is None or lease.state == "left":
                return None
            new = replace(
                lease,
                state=state if state and (state, lease.state) != ("active", "draining") else lease.state,
                weight=lease.weight if weight is None else weight,
            )
            if new != lease:
                self._ledger.change(new)
            return new

    def end(self, idents: Iterable[str]) -> list[Lease]:
        """End live leases: those that were live. sqlite3.Error ends none."""
        with self._lock:
            ending = [lease for each in idents if (lease := self._of_id(each))]
            self._ledger.end(ending, self._clock())
            return ending

    def _of_id(self, ident: str) -> Lease | None:
        return next((pool[ident] for pool in self._ledger.by_pool.values() if ident in pool), None)

    def prune(self) -> None:
        """Forget what ended more than a day ago and rests no more. sqlite3.Error."""
        with self._lock:
            rests = {pool.name: pool.rest for pool in self._roster.pools} if self._roster else {}
            for pool in self._ledger.ended_pools():
                self._ledger.prune(pool, self._clock() - max(KEEP_SECONDS, rests.get(pool, 0)))


def _full(why: str) -> Refusal:
    return Refusal(503, why, RETRY_SECONDS, kind="pool_full")
