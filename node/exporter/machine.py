"""A machine's metrics of itself: who it is, whether its interface is up, how old its key is."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from node.exporter.peers import Known

DEVICES = Path("/sys/class/net")
_IFF_UP = 1
"""linux/if.h"""


def is_up(interface: str) -> bool:
    """Whether the machine has the interface, and it is up."""
    try:
        return bool(int((DEVICES / interface / "flags").read_text(), 16) & _IFF_UP)
    except (OSError, ValueError):
        return False


def own_families(
    me: Known, release: int, interface: str, *, up: bool, key_made: float | None, healthy: bool | None
) -> list[Metric]:
    """``key_made`` is in seconds since 1970; None is what nobody knows, and is not told."""
    info = GaugeMetricFamily(
        "hybridnet_node_info",
        "Who the machine is and which release it runs; always 1.",
        labels=("name", "site", "role", "release"),
    )
    info.add_metric((*me, str(release)), 1)
    interfaces = GaugeMetricFamily(
        "hybridnet_interface_up", "Whether the WireGuard interface is there and up.", labels=("interface",)
    )
    interfaces.add_metric((interface,), up)
    key = GaugeMetricFamily(
        "hybridnet_key_created_timestamp_seconds",
        "When the machine's present WireGuard key was made, in seconds since 1970.",
        labels=("name",),
    )
    if key_made is not None:
        key.add_metric((me.name,), key_made)
    health = GaugeMetricFamily("hybridnet_healthy", "Whether `hybridnet health` found nothing wrong in its last look.")
    if healthy is not None:
        health.add_metric((), healthy)
    return [info, interfaces, key, health]
