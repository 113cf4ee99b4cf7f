"""WireGuard's peers as metrics: pure, from what the interface has and who is known by which key.

Everything is told twice: by names of ours, and by those of prometheus_wireguard_exporter 3.6.6, which dashboards know.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from node.exporter.text import Labels
from node.wireguard import PeerState
from overlay.model import Node

_SEEN = "in seconds since 1970, 0 for never."


class Known(NamedTuple):
    """A node as metrics tell of it. ``role`` is gateway, spoke, or pool for the machine of a pool."""

    name: str
    site: str
    role: str


def known(nodes: Iterable[Node], machines: Container[str]) -> dict[str, Known]:
    """``nodes`` by public key; ``machines`` are the keys of those that are machines of pools."""
    return {
        node.public_key: Known(node.name, node.site, "pool" if node.public_key in machines else node.role)
        for node in nodes
    }


def peer_families(interface: str, observed: Mapping[str, PeerState], names: Mapping[str, Known]) -> list[Metric]:
    """The metrics of an interface's peers; one that nobody knows is told by its public key."""
    handshakes = GaugeMetricFamily("wireguard_peer_last_handshake_seconds", f"When the peer last shook hands, {_SEEN}")
    transfer = CounterMetricFamily(
        "wireguard_peer_transfer_bytes",
        "Bytes received from the peer and sent to it through the tunnel.",
    )
    prefixes = GaugeMetricFamily("wireguard_peer_allowed_ips_count", "How many prefixes lead to the peer.")
    sent = CounterMetricFamily("wireguard_sent_bytes", "Bytes sent to the peer.")
    received = CounterMetricFamily("wireguard_received_bytes", "Bytes received from the peer.")
    latest = GaugeMetricFamily("wireguard_latest_handshake_seconds", f"When the peer last shook hands, {_SEEN}")
    for key, state in observed.items():
        each = _labels(interface, key, names.get(key) or Known(key, "", ""), state.allowed_ips)
        handshakes.add_sample(handshakes.name, each.ours, state.handshake)
        transfer.add_sample(f"{transfer.name}_total", each.inward, state.received)
        transfer.add_sample(f"{transfer.name}_total", each.outward, state.sent)
        prefixes.add_sample(prefixes.name, each.ours, len(state.allowed_ips))
        sent.add_sample(f"{sent.name}_total", each.theirs, state.sent)
        received.add_sample(f"{received.name}_total", each.theirs, state.received)
        latest.add_sample(latest.name, each.theirs, state.handshake)
    return [handshakes, transfer, prefixes, sent, received, latest]


class _Each(NamedTuple):
    """A peer's labels: by our names, also with each direction, and by theirs."""

    ours: Labels
    inward: Labels
    outward: Labels
    theirs: Labels


@lru_cache(maxsize=1 << 14)
def _labels(interface: str, key: str, who: Known, allowed_ips: frozenset[str]) -> _Each:
    ours = {"interface": interface, "peer": who.name, "site": who.site, "role": who.role}
    prefixes = ",".join(sorted(allowed_ips))
    theirs = {"interface": interface, "public_key": key, "allowed_ips": prefixes, "friendly_name": who.name}
    inward, outward = ({**ours, "direction": direction} for direction in ("received", "sent"))
    return _Each(Labels(ours), Labels(inward), Labels(outward), Labels(theirs))
