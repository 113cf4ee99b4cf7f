"""What the status tells people on top of the plain facts: where nodes are, throughput, round trips, alerts, events."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

from node.gateway.alerts import Alerts, Facts, Silent, find
from node.gateway.counts import is_offer
from node.gateway.health import Health
from node.gateway.network import Network
from node.gateway.rates import Rates
from node.gateway.recent import Recent
from overlay.model import EXTERNAL


class Overview:
    """The additions to ``GET /v1/status`` for whoever looks at it. ``clock`` gives seconds since 1970."""

    def __init__(self, network: Network, health: Health, clock: Callable[[], float] = time.time) -> None:
        self._network = network
        self._health = health
        self._clock = clock
        self._rates = Rates()
        self._alerts = Alerts()
        self._recent = Recent(network.config.state / "audit.jsonl")
        self.roster_refused: str | None = None

    def offered_roster(self, status: int, reason: str) -> None:
        """Note the answer to a roster that only the stack can have sent."""
        if is_offer(status):
            self.roster_refused = reason if status >= 400 else None

    def look(self, **told: Any) -> None:
        """Look at what is there now; every few seconds. ``told`` are the ``Facts`` that only the service knows."""
        self._rates.look(self._network.observed)
        now = self._clock()
        self._alerts.look(find(self._facts(now, told)), now)

    def _facts(self, now: float, told: Mapping[str, Any]) -> Facts:
        network, kept = self._network, self._network.rosters.kept
        if kept is None:
            return Facts(now, has_roster=False, **told)
        external = {site.name for site in kept.roster.network.sites if site.cloud == EXTERNAL}
        places = {pool.name: pool.site for pool in kept.roster.pools}
        sites = Counter(node.site for node in network.declared())
        sites.update(places[lease.pool] for lease in network.leases.live() if lease.pool in places)
        silent: list[Silent] = []
        for address, seconds in self._health.silent().items():
            node, lease = kept.by_address.get(address), network.leases.at(address)
            if node and node.site not in external:
                silent.append(Silent(node.name, node.site, seconds))
            elif lease and lease.state != "left" and lease.pool in places:
                silent.append(Silent(lease.name, places[lease.pool], seconds, lease.pool))
        desired, observed = network.whole.desired.keys(), network.observed.keys()
        missing = desired - observed
        names = {node.public_key: node.name for node in network.whole.nodes()} if missing else {}
        awaited = {node.public_key for node in network.whole.awaited()}
        others = network.neighbours.status(kept.gateways.keys() - {network.config.name})
        return Facts(
            now,
            silent=silent,
            sites=sites,
            missing=sorted(names.get(key, key) for key in missing),
            strangers=len(observed - desired - awaited),
            unreachable={name: each["age"] for name, each in others.items() if not each["reachable"]},
            roster_refused=self.roster_refused,
            barred=[pool.name for pool in kept.roster.pools if pool.token_sha256 in network.revocations.tokens],
            **told,
        )

    def tell(self, found: dict[str, Any]) -> None:
        """Add to the full status ``found`` what people want to see."""
        network, kept = self._network, self._network.rosters.kept
        found |= {
            "gateway": {"name": network.config.name, "address": str(network.config.control[0]), "site": None},
            "time": round(self._clock(), 3),
            "sites": {},
            "elsewhere": [],
            "alerts": self._alerts.now,
            "events": self._recent.lines(),
        }
        if kept is None:
            return
        roster = kept.roster
        found["sites"] = {
            site.name: {"cloud": site.cloud, "region": site.region, "subnet": str(site.subnet)}
            for site in roster.network.sites
        }
        # Another roster may come at any time, so what is of the last one may be in none of these.
        places = {pool.name: pool.site for pool in roster.pools}
        nodes = {node.name: node for node in (*network.whole.nodes(), *roster.nodes)}
        found["gateway"]["site"] = nodes[network.config.name].site
        for peer in (*found["peers"], *found["leases"]):
            node = nodes.get(peer["name"])
            peer["site"] = node.site if node else places.get(peer.get("pool", ""))
            peer["gateway"] = network.whole.gateway_of(node) if node and node.role == "spoke" else None
            self._measure(peer)
        for peer in found["peers"]:
            node = nodes.get(peer["name"])
            peer["role"] = node.role if node else "spoke"
        for name, pool in found["pools"].items():
            pool["site"] = places.get(name)
        found["elsewhere"] = self._elsewhere(places)

    def host_names(self) -> set[str]:
        """What this gateway is called in the overlay."""
        name, kept = self._network.config.name, self._network.rosters.kept
        if kept is None:
            return {name}
        return {name, f"{name}.{kept.roster.node(name).site}.{kept.roster.network.domain}"}

    def _measure(self, peer: dict[str, Any]) -> None:
        rate, rtt = self._rates.of(peer["public_key"]), self._health.rtt(IPv4Address(peer["address"]))
        peer["rtt"] = None if rtt is None else round(rtt, 6)
        peer["rx_rate"], peer["tx_rate"] = round(rate.received), round(rate.sent)

    def _elsewhere(self, sites: Mapping[str, str]) -> list[dict[str, Any]]:
        """The machines that joined at other gateways, as those tell of them."""
        return [
            {
                "name": lease.member.name,
                "pool": lease.member.pool,
                "site": sites.get(lease.member.pool),
                "address": str(lease.member.address),
                "state": lease.state,
            }
            for lease in self._network.whole.elsewhere.values()
        ]
