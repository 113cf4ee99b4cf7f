"""The gateway's Prometheus metrics; ``docs/metrics.md`` lists them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, get_args

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from node.exporter.machine import is_up, own_families
from node.exporter.peers import Known, known, peer_families
from node.exporter.text import CONTENT_TYPE, exposition
from node.gateway.audit import Audit
from node.gateway.conditions import Conditions
from node.gateway.counts import Counts
from node.gateway.expiries import Expiries
from node.gateway.health import Health
from node.gateway.lease import State
from node.gateway.members import Members
from node.gateway.network import Network
from node.gateway.serving.balancer import Balancer
from node.wireguard import INTERFACE

_MACHINE = ("node", "address")


class Metrics:
    """Answers ``GET /metrics`` for the gateway of ``network``, which runs ``release``."""

    def __init__(
        self,
        network: Network,
        health: Health,
        members: Members,
        balancer: Balancer,
        audit: Audit,
        expiries: Expiries,
        conditions: Conditions,
        release: int,
    ) -> None:
        self._network = network
        self._health = health
        self._members = members
        self._balancer = balancer
        self._audit = audit
        self.counts = Counts(_written(network.config.state / "roster.json"))
        self._expiries = expiries
        self._conditions = conditions
        self._release = release
        self._turn = asyncio.Lock()
        self._known: tuple[object, dict[str, Known]] = None, {}

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/metrics", self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(body=await self.text(), headers={"Content-Type": CONTENT_TYPE})

    async def text(self) -> bytes:
        """What Prometheus is told. One at a time, off the event loop: there may be thousands of peers."""
        async with self._turn:
            healthy, pools, said = self._health.healthy(), self._members.pools(), self._conditions.healthy()
            return await asyncio.to_thread(lambda: exposition(self._families(healthy, pools, said)))

    def _families(
        self, healthy: Set[IPv4Address], pools: Mapping[str, Mapping[str, Any]], said: Mapping[str, bool]
    ) -> Iterator[Metric]:
        config, kept, up = self._network.config, self._network.rosters.kept, is_up(INTERFACE)
        site = kept.roster.node(config.name).site if kept else ""
        me = Known(config.name, site, "gateway")
        rotation, well = self._network.rotation, said.get(me.name)
        made = rotation.tunnels.own.made / 1000 if rotation else None
        yield from own_families(me, self._release, INTERFACE, up=up, key_made=made, healthy=well)
        yield from self._nodes(said)
        yield from self._peers(healthy)
        yield from peer_families(INTERFACE, dict(self._network.observed) if up else {}, self._names())
        yield from self._reconciles()
        yield from self._leases(pools)
        yield self._refusals()
        yield from self._roster()
        yield self._certificates()
        yield from self._log()
        yield from self._upstreams()

    def _nodes(self, said: Mapping[str, bool]) -> Iterator[Metric]:
        healthy = GaugeMetricFamily(
            "hybridnet_node_healthy",
            "Whether `hybridnet health` found nothing wrong on the machine, as it told the gateway.",
            labels=("name",),
        )
        for name, is_well in said.items():
            healthy.add_metric((name,), is_well)
        yield healthy
        rotation = self._network.rotation
        yield GaugeMetricFamily(
            "hybridnet_rotation_in_progress",
            "Whether the WireGuard key of the gateway or of one of its peers is being changed.",
            value=rotation is not None and rotation.is_on,
        )

    def _names(self) -> Mapping[str, Known]:
        """Who is known by which key."""
        whole, kept = self._network.whole, self._network.rosters.kept
        about = kept and kept.sha256, whole.version
        if self._known[0] != about:
            self._known = about, known(whole.nodes(), set(whole.members))
        return self._known[1]

    def _peers(self, healthy: Set[IPv4Address]) -> Iterator[Metric]:
        whole = self._network.whole
        desired = set(whole.desired)
        answering = sum(node.public_key in desired and node.address in healthy for node in whole.nodes())
        awaited = {node.public_key for node in whole.awaited()}
        for what, told, value in (
            ("desired", "Peers that the gateway should have by roster and leases.", len(desired | awaited)),
            ("observed", "Peers that the interface had at the last look.", len(self._network.observed)),
            ("healthy", "Peers that the gateway should have and that answer its probes.", answering),
        ):
            yield GaugeMetricFamily(f"hybridnet_peers_{what}", told, value=value)

    def _reconciles(self) -> Iterator[Metric]:
        counts = self.counts
        durations = HistogramMetricFamily(
            "hybridnet_reconcile_duration_seconds",
            "How long it took to make the interface and the firewall equal to roster and leases.",
        )
        buckets = [(str(bound), count) for bound, count in counts.buckets.items()]
        durations.add_metric([], [*buckets, ("+Inf", counts.reconciles)], counts.reconcile_seconds)
        yield durations
        yield _at(
            "hybridnet_reconcile_last_success_timestamp_seconds",
            "When the network was last made equal to what it should be.",
            counts.reconciled,
        )
        yield CounterMetricFamily(
            "hybridnet_drift_repaired",
            "Changes to peers that neither roster nor leases asked for: somebody else had changed the interface.",
            value=self._network.drift_repaired,
        )

    def _leases(self, pools: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
        leases = GaugeMetricFamily(
            "hybridnet_leases", "Live leases of the pools whose machines join here.", labels=("pool", "state")
        )
        addresses = GaugeMetricFamily(
            "hybridnet_pool_addresses", "Addresses that machines of the pool can have.", labels=("pool",)
        )
        free = GaugeMetricFamily(
            "hybridnet_pool_addresses_free", "Those that no lease has and that do not rest.", labels=("pool",)
        )
        joins = CounterMetricFamily("hybridnet_joins", "Machines that have got a lease.", labels=("pool",))
        found = Counter((lease.pool, lease.state) for lease in self._network.leases.live())
        joined = self._members.admission.joined
        for name, pool in pools.items():
            for state in get_args(State):
                leases.add_metric((name, state), found[name, state])
            addresses.add_metric((name,), pool["free"] + pool["leases"] + pool["resting"])
            free.add_metric((name,), pool["free"])
            joins.add_metric((name,), joined[name])
        yield from (leases, addresses, free, joins)
        yield GaugeMetricFamily(
            "hybridnet_cleanup_paused",
            "Whether no lease ends for its machine's silence, since the gateway seems to be cut off itself.",
            value=self._members.pause is not None,
        )

    def _refusals(self) -> Metric:
        family = CounterMetricFamily(
            "hybridnet_refusals", "Requests to the control plane that were refused.", labels=("reason",)
        )
        for kind, count in self.counts.refusals.items():
            family.add_metric((kind,), count)
        return family

    def _roster(self) -> Iterator[Metric]:
        kept, counts = self._network.rosters.kept, self.counts
        number = GaugeMetricFamily("hybridnet_roster_number", "The number of the roster that the gateway follows.")
        if kept:
            number.add_metric((), kept.roster.number)
        yield number
        yield CounterMetricFamily(
            "hybridnet_roster_refused", "Rosters that were pushed and refused.", value=counts.rosters_refused
        )
        offered = "When a roster of the stack's that is no older one was last pushed."
        yield _at("hybridnet_roster_offered_timestamp_seconds", offered, counts.roster_offered)
        accepted = "When a pushed roster was last taken, or was the one that is followed."
        yield _at("hybridnet_roster_accepted_timestamp_seconds", accepted, counts.roster_accepted)

    def _certificates(self) -> Metric:
        family = GaugeMetricFamily(
            "hybridnet_certificate_expiry_timestamp_seconds",
            "When the certificate expires, in seconds since 1970.",
            labels=("certificate",),
        )
        for name, end in self._expiries.ends().items():
            family.add_metric((name,), end)
        return family

    def _log(self) -> Iterator[Metric]:
        yield CounterMetricFamily("hybridnet_audit_events", "Lines of the audit log.", value=self._audit.events)
        head = GaugeMetricFamily(
            "hybridnet_audit_head_info", "The hash of the audit log's last line; always 1.", labels=("hash",)
        )
        head.add_metric((self._audit.head,), 1)
        yield head

    def _upstreams(self) -> Sequence[Metric]:
        healthy = GaugeMetricFamily(
            "hybridnet_upstream_healthy", "Whether the machine's health checks succeed.", labels=_MACHINE
        )
        chosen = GaugeMetricFamily(
            "hybridnet_upstream_in_rotation", "Whether nginx sends requests to the machine.", labels=_MACHINE
        )
        failures = CounterMetricFamily(
            "hybridnet_upstream_check_failures", "Health checks of the machine that failed.", labels=_MACHINE
        )
        for machine in self._balancer.machines:
            endpoint = machine.endpoint
            labels, outcome = (endpoint.node, str(endpoint.address)), self._balancer.checks.outcome(endpoint)
            healthy.add_metric(labels, outcome is not None and outcome.healthy)
            chosen.add_metric(labels, endpoint in self._balancer.rotation)
            failures.add_metric(labels, outcome.failures if outcome else 0)
        reloads = CounterMetricFamily(
            "hybridnet_balancer_reloads", "Configurations that nginx has taken.", value=self._balancer.reloads
        )
        return [reloads, healthy, chosen, failures]


def _written(path: Path) -> float | None:
    """When the file was written (seconds since 1970); None without it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _at(name: str, told: str, seconds: float | None) -> Metric:
    """A moment, which is not told if it was not yet."""
    family = GaugeMetricFamily(name, f"{told[:-1]}, in seconds since 1970.")
    if seconds is not None:
        family.add_metric((), seconds)
    return family
