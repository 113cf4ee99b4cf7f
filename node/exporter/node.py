"""What the exporter of a spoke, or of the machine of a pool, shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from node.exporter.machine import is_up, own_families
from node.exporter.peers import Known, known, peer_families
from node.exporter.text import exposition
from node.exporter.worker import Exporter
from node.health import outcome
from node.health.outcome import Outcome
from node.network.kept import Kept
from node.network.running import Running
from node.wireguard import INTERFACE, PeerState
from overlay.model import gateways_of


class NodeMetrics:
    """A machine's metrics. ``role`` is spoke or pool; ``outcome`` is what its last look at its health came to.

    One caller at a time.
    """

    def __init__(
        self,
        running: Running,
        role: str,
        release: int,
        outcome: Callable[[], Outcome | None] = outcome.read,
    ) -> None:
        self._running = running
        self._role = role
        self._release = release
        self._outcome = outcome
        self._known: tuple[Kept | None, dict[str, Known]] = None, {}

    def text(self) -> bytes:
        """WireGuardError when the interface is up and cannot be looked at."""
        return exposition(self._families())

    def _families(self) -> Iterator[Metric]:
        agent = self._running.agent
        kept, me, up, found = agent.kept, agent.myself(), is_up(INTERFACE), self._outcome()
        if self._known[0] is not kept:
            self._known = kept, _known(kept)
        name = me.name if me else ""
        site = next((each.site for each in self._known[1].values() if each.name == name), "")
        who, healthy = Known(name, site, self._role), found.healthy if found else None
        observed: Mapping[str, PeerState] = agent.peers() if up else {}
        yield from own_families(who, self._release, INTERFACE, up=up, key_made=agent.key_made, healthy=healthy)
        yield self._reachable(kept)
        yield from peer_families(INTERFACE, observed, self._known[1])

    def _reachable(self, kept: Kept | None) -> Metric:
        family = GaugeMetricFamily(
            "hybridnet_gateway_reachable",
            "Whether the gateway that the machine hangs on answered its last question through the tunnel.",
            labels=("gateway",),
        )
        answered = self._running.asker.answered
        if answered is not None:
            address, is_reached = answered
            gateways = gateways_of(kept.roster.nodes) if kept else []
            family.add_metric(
                (next((each.name for each in gateways if each.address == address), str(address)),), is_reached
            )
        return family


def exporter(running: Running, role: str, release: int) -> Exporter:
    """The exporter of the machine whose network is ``running``; the rest is as for :class:`NodeMetrics`."""
    metrics = NodeMetrics(running, role, release)
    return Exporter(metrics.text, running.agent.address, running.stop)


def _known(kept: Kept | None) -> dict[str, Known]:
    return {} if kept is None else known(kept.nodes, {member.public_key for member in kept.document.members})
