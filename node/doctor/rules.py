"""All rules together: facts in, the causes out, the likeliest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from node.doctor import machine_rules, tunnel_rules
from node.doctor.facts import Cause, Facts

Rule = Callable[[Facts], Iterator[Cause]]

RULES: tuple[Rule, ...] = (
    tunnel_rules.interface,
    tunnel_rules.address,
    tunnel_rules.own_key,
    tunnel_rules.peer_keys,
    tunnel_rules.allowed,
    tunnel_rules.endpoint,
    tunnel_rules.flapping,
    tunnel_rules.membership,
    tunnel_rules.routes,
    tunnel_rules.way_out,
    tunnel_rules.gateway,
    tunnel_rules.mtu,
    tunnel_rules.loss,
    tunnel_rules.latency,
    tunnel_rules.beyond,
    tunnel_rules.peers_of_gateway,
    machine_rules.firewall_drops,
    machine_rules.firewall_changed,
    machine_rules.forwarding,
    machine_rules.return_path,
    machine_rules.tracking,
    machine_rules.clock,
    machine_rules.certificate,
    machine_rules.disk,
    machine_rules.services,
    machine_rules.release,
    machine_rules.setup,
    machine_rules.names,
)
_BESIDE = 63
"""Causes that are at most as likely do not explain why a peer is silent."""


def diagnose(facts: Facts) -> list[Cause]:
    """The causes of what is wrong, the likeliest first; none on a machine that is well."""
    found = [cause for rule in RULES for cause in rule(facts)]
    if not any(cause.likelihood > _BESIDE for cause in found):
        found += tunnel_rules.unexplained(facts)
    return sorted(found, key=lambda cause: -cause.likelihood)
