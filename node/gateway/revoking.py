"""Cuts a node off: its peer goes at once, its lease ends, and what it could come back with is barred everywhere."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from node.gateway.audit import Audit
from node.gateway.lease import Lease, Refusal
from node.gateway.neighbours import STALE_SECONDS
from node.gateway.network import Network
from node.gateway.pool_api import body_of, refused
from node.log import say
from node.neighbour_document import Revocation
from overlay.fields import FieldError, read

REASON_LIMIT = 200
_LIMIT = 4096
_REASON = "revoked"


@dataclass(frozen=True)
class _Target:
    """Who is to be cut off; ``pool`` is None for a declared node."""

    name: str
    pool: str | None
    keys: tuple[str, ...]
    instance: str | None = None


class Revoker:
    """Revokes nodes of ``network``.

    ``end`` ends leases and tells of each, ``flush`` brings what has changed to the interface, and ``on_change`` is
    called after that. ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        network: Network,
        audit: Audit,
        end: Callable[[list[Lease], Callable[[Lease], None]], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._network = network
        self._revocations = network.revocations
        self._audit = audit
        self._end = end
        self._flush = flush
        self._on_change = on_change
        self._clock = clock
        self._told = frozenset(network.revocations.all)
        """What the log has."""
        self._followed: tuple[int, int] | None = None
        self._problem = ""

    async def revoke(self, name: str, reason: str) -> dict[str, Any]:
        """Cut the node ``name`` off: what whoever asked for it is told. Refusal; 507 has cut it off all the same."""
        target = self._target(name)
        made = Revocation(name, int(self._clock() * 1000), target.keys, target.instance, self._token(target), reason)
        is_known = self._is_barred(made)
        problem = ""
        if not is_known:
            try:
                self._revocations.add(made)
            except OSError as error:
                problem = str(error)
        # Before anything is waited for: whoever follows meanwhile would take it for another gateway's.
        self._tell("command")
        await self._flush()
        await self._end_leases()
        self._on_change()
        if problem:
            raise Refusal(
                507,
                f"{name} is cut off and the other gateways are told, but this one's disk does not take it ({problem}): "
                "make room, or it comes back here with a restart",
            )
        return {
            "name": name,
            "pool": target.pool,
            "already": is_known,
            "token": made.token in self._revocations.tokens,
            "unreachable": self._unreachable(),
        }

    async def follow(self) -> None:
        """Do here what was revoked on another gateway, or what could not be done before."""
        now = self._revocations.version, self._network.leases.version
        if now != self._followed:
            self._tell("another gateway")
            await self._end_leases()
            self._followed = now
        try:
            self._revocations.save()
            self._problem = ""
        except OSError as error:
            if str(error) != self._problem:
                say(f"the revocations cannot be stored yet, and hold all the same: {error}")
            self._problem = str(error)

    def _target(self, name: str) -> _Target:
        kept = self._network.rosters.kept
        if kept is None:
            raise Refusal(503, "there is no roster yet, so nobody is in the network: run `pulumi up` first")
        node = next((node for node in kept.roster.nodes if node.name == name), None)
        if node is not None:
            if node.role == "gateway":
                raise Refusal(
                    409,
                    f"{name} is a gateway, and the network hangs on it: have the stack make it anew with another key "
                    "(raise its `revision`), or take it out of `gateways`, and run `pulumi up`",
                )
            return _Target(name, None, self._keys(name, node.public_key))
        found = self._machine(name)
        if found is None:
            raise Refusal(
                404,
                f"no node and no machine of a pool is called {name}, nor was within the last day: "
                "`hybridnet status` lists them",
            )
        return found

    def _machine(self, name: str) -> _Target | None:
        """The machine of a pool that is called so, or was until it left."""
        leases = self._network.leases
        own = next((lease for lease in leases.live() if lease.name == name), None) or leases.last_of(name)
        if own is not None:
            return _Target(name, own.pool, self._keys(name, own.public_key), self._instance(own))
        others = self._network.whole.elsewhere.values()
        other = next((lease.member for lease in others if lease.name == name), None)
        if other is not None:
            return _Target(name, other.pool, self._keys(name, other.public_key))
        known = self._revocations.of_name(name)
        return None if known is None else _Target(name, None, known.keys, known.instance)

    def _keys(self, name: str, public_key: str) -> tuple[str, ...]:
        """Its enrolment key, and those that it says it has come to use, if they are nobody else's."""
        report = self._network.reports.of(name)
        said = (report.keys.first, report.keys.second) if report else ()
        kept = self._network.rosters.kept
        everybody = (*self._network.whole.nodes(), *(kept.roster.nodes if kept else ()))
        others = {node.public_key for node in everybody if node.name != name}
        return (public_key, *(key for key in said if key and key not in others))

    def _instance(self, lease: Lease) -> str | None:
        """Its instance id, unless a machine of another pool has the same: one of them says so without being it."""
        live = self._network.leases.live()
        others = (each.instance_id for each in live if each.public_key != lease.public_key)
        return None if lease.instance_id in others else lease.instance_id

    def _token(self, target: _Target) -> str | None:
        kept = self._network.rosters.kept
        pools = kept.roster.pools if kept else ()
        return next((pool.token_sha256 for pool in pools if pool.name == target.pool), None)

    def _is_barred(self, made: Revocation) -> bool:
        known = self._revocations
        return known.keys.issuperset(made.keys) and (made.instance is None or known.bars_machine("", made.instance))

    def _tell(self, source: str) -> None:
        """Lines about what the log does not have yet."""
        new = [each for each in self._revocations.all if each not in self._told]
        self._told |= frozenset(new)
        for each in new:
            reason, key = each.reason or None, each.keys[0] if each.keys else None
            self._audit.write("revoke", node=each.name, reason=reason, public_key=key, source=source)
            say(f"{each.name} is revoked, by {source}")

    async def _end_leases(self) -> None:
        """End the leases of those who are cut off, and bar what of them the gateway that cut them off did not know."""
        bars = self._revocations.bars_machine
        leases = [lease for lease in self._network.leases.live() if bars(lease.public_key, lease.instance_id)]
        for lease in leases:
            known = self._revocations.of_key(lease.public_key)
            instance = self._instance(lease)
            if known and instance and not bars("", instance):
                more = replace(known, keys=(lease.public_key,), instance=instance)
                self._told |= {more}
                self._revocations.merge([more])
        if leases:
            await self._end(leases, lambda lease: self._audit.lease("expire", lease, reason=_REASON))

    def _unreachable(self) -> list[str]:
        """The gateways that learn of it only when they are back."""
        kept, own = self._network.rosters.kept, self._network.config.name
        names = sorted(kept.gateways.keys() - {own}) if kept else []
        ages = {name: self._network.neighbours.age(name) for name in names}
        return [name for name, age in ages.items() if age is None or age >= STALE_SECONDS]

    def routes(self) -> list[web.RouteDef]:
        """The routes for root on this machine."""

        async def get(request: web.Request) -> web.Response:  # noqa: ARG001
            return web.json_response({"revoked": self._revocations.status()})

        async def post(request: web.Request) -> web.Response:
            try:
                fields = read("revocation", await body_of(request, _LIMIT))
                name, reason = fields.text("name"), fields.optional_text("reason")
                fields.end()
                if len(reason) > REASON_LIMIT:
                    raise FieldError(f"revocation.reason: at most {REASON_LIMIT} characters are taken")
                return web.json_response(await self.revoke(name, reason))
            except FieldError as error:
                return refused(Refusal(400, str(error)))
            except Refusal as refusal:
                return refused(refusal)

        return [web.get("/v1/revocations", get), web.post("/v1/revocations", post)]
