"""Whom a gateway has as peers: by the roster, all gateways' leases, and where nodes say that they hang."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from ipaddress import IPv4Address

from node.gateway.lease import Lease
from node.gateway.leases import Leases
from node.gateway.neighbours import Neighbours
from node.gateway.reports import Reports
from node.gateway.revocations import Revocations
from node.gateway.rosters import Kept
from node.neighbour_document import NeighbourLease
from node.network_words import Member
from node.reconcile import Wanted, wanted
from overlay.model import Node
from overlay.pools import Pool, is_in_range
from overlay.roster import Roster
from overlay.topology import Peering, gateway_of


class Plan:
    """The peers of the gateway ``name``, made anew only as far as something has changed.

    One caller at a time follows; the rest may be called meanwhile.
    """

    def __init__(
        self, name: str, leases: Leases, neighbours: Neighbours, reports: Reports, revocations: Revocations
    ) -> None:
        self._name = name
        self._leases = leases
        self._neighbours = neighbours
        self._reports = reports
        self._revocations = revocations
        self._barred = revocations.version
        """The version of the revocations that was followed."""
        self._kept: Kept | None = None
        self._me: Node | None = None
        self._pools: dict[str, Pool] = {}
        self._targets: dict[str, str] = {}
        """By site, the gateway that its spokes hang on by the topology."""
        self._declared: dict[str, Node] = {}
        self._said: tuple[int, int, dict[str, str]] = (0, 0, {})
        """The versions of neighbours and reports that were followed, and who was held."""
        self.attached: dict[str, str] = {}
        """By spoke, the gateway that it hangs on where that is not the topology's."""
        self.elsewhere: dict[str, NeighbourLease] = {}
        """Public key -> lease of another gateway. Replaced, never changed."""
        self._guests: dict[IPv4Address, str] = {}
        self.elsewhere_version = 0
        """Another one after each change of those."""
        self.members: dict[str, Node] = {}
        """Public key -> the machine of a live lease, of whichever gateway."""
        self.peering: Peering | None = None
        self.desired: dict[str, Wanted] = {}
        """Public key -> the peer that this gateway should have."""
        self.version = 0
        """Another one after each change of who there is."""

    def follow(self, kept: Kept, holding: Mapping[str, str]) -> set[str]:
        """Bring everything up to date; the public keys whose peers may be others now.

        ``holding`` names the gateway of nodes that are to stay there for now, whatever their reports say.
        """
        changed = self._leases.take_changed()
        is_new = self._kept is not kept or self._barred != self._revocations.version
        if is_new:
            changed |= self._take_roster(kept)
        told = self._neighbours.version
        if is_new or told != self._said[0]:
            changed |= self._take_neighbours(kept.roster)
        were = {self.members[key].name for key in changed & self.members.keys()}
        self._take_members(changed)
        stirred = were | {self.members[key].name for key in changed & self.members.keys()}
        self._take_reports(None if is_new or told != self._said[0] else stirred)
        said = told, self._reports.version, dict(holding)
        if is_new or said != self._said or not stirred.isdisjoint(self.attached):
            attached, before = self._attached(holding), self.attached
            self._said, self.attached = said, attached
            if is_new or attached != before or not stirred.isdisjoint(attached):
                return changed | self._make(kept.roster)
        self._add(changed - self._declared.keys())
        return changed

    def _take_roster(self, kept: Kept) -> set[str]:
        roster, self._barred = kept.roster, self._revocations.version
        self._kept, self._me = kept, roster.node(self._name)
        self._pools = {pool.name: pool for pool in roster.pools}
        self._targets = {s.name: gateway_of(roster.network, roster.nodes, s.name).name for s in roster.network.sites}
        self._declared = {node.public_key: node for node in roster.nodes if not self._revocations.bars(node)}
        self._neighbours.keep(kept.gateways.keys() - {self._name})
        self.version += 1
        return {lease.public_key for lease in self._leases.live()} | self.members.keys()

    def _take_neighbours(self, roster: Roster) -> set[str]:
        """Take the leases of the other gateways as far as the roster gives them these pools: those that changed."""
        assert self._kept
        taken = {node.address for node in roster.nodes} | {node.name for node in roster.nodes}
        revoked = {*roster.revoked_keys, *self._declared, *self._revocations.keys}
        found: dict[str, NeighbourLease] = {}
        for name, answer in self._neighbours.answers.items():
            for lease in answer.leases:
                member = lease.member
                pool = self._pools.get(member.pool)
                if (
                    pool
                    and self._kept.homes[pool.name].name == name
                    and member.public_key not in revoked
                    and taken.isdisjoint((member.address, member.name))
                    and is_in_range(member.address, pool.addresses, roster.network.site(pool.site).subnet)
                ):
                    found[member.public_key] = lease
        old, self.elsewhere = self.elsewhere, found
        self._guests = {lease.address: key for key, lease in found.items()}
        changed = {key for key in old.keys() | found.keys() if old.get(key) != found.get(key)}
        self.elsewhere_version += bool(changed)
        return changed

    def _take_members(self, changed: Iterable[str]) -> None:
        """Bring the members of these keys up to date."""
        assert self._kept
        for key in changed:
            node = self._member(key)
            if node is None or node.address in self._kept.by_address or key in self._declared:
                self.version += self.members.pop(key, None) is not None
            elif self.members.get(key) != node:
                self.members[key] = node
                self.version += 1

    def _member(self, key: str) -> Node | None:
        lease, other = self._leases.of_key(key), self.elsewhere.get(key)
        if key in self._revocations.keys:
            return None
        if lease is not None:
            return self.node_of(lease)
        if other is None:
            return None
        return self._node(other.member.pool, other.name, other)

    def node_of(self, lease: Lease) -> Node | None:
        """The node of one of this gateway's leases; None without its pool."""
        return self._node(lease.pool, lease.name, lease)

    def _node(self, pool_name: str, name: str, lease: Lease | NeighbourLease) -> Node | None:
        pool = self._pools.get(pool_name)
        if pool is None:
            return None
        key = lease.public_key if isinstance(lease, Lease) else lease.member.public_key
        return Node(name, pool.site, lease.address, "spoke", key, group=pool.group, lan=pool.lan)

    def _take_reports(self, stirred: Set[str] | None) -> None:
        """Take what the other gateways know of the nodes that there are, and forget those who are gone.

        Only ``stirred`` can have come or gone, unless it is None.
        """
        if stirred is not None and not stirred:
            return
        names = {node.name for node in self.nodes()}
        if stirred is None or any(self._reports.of(name) for name in stirred - names):
            self._reports.keep(names)
        for answer in self._neighbours.answers.values():
            whose = answer.reports.keys() & (names if stirred is None else names & stirred)
            if whose and self._reports.take(answer.reports[name] for name in whose):
                self._neighbours.changed()

    def _attached(self, holding: Mapping[str, str]) -> dict[str, str]:
        assert self._kept
        gateways = self._kept.gateways
        said = {**self._reports.gateways(), **holding}
        return {
            node.name: where
            for node in self.nodes()
            if node.role == "spoke" and (where := said.get(node.name)) in gateways and where != self._targets[node.site]
        }

    def _make(self, roster: Roster) -> set[str]:
        """Everything anew; the keys whose peers are others now."""
        assert self._me
        nodes = self.nodes()
        self.peering = Peering(roster.network, nodes, attached=self.attached)
        old, self.desired = self.desired, {peer.public_key: wanted(peer) for peer in self.peering.of(self._me)}
        return {key for key in old.keys() | self.desired.keys() if old.get(key) != self.desired.get(key)}

    def _add(self, changed: Set[str]) -> None:
        """Only what these members need: nobody else's peer depends on them."""
        assert self._me
        assert self.peering
        for key in changed:
            node = self.members.get(key)
            entry = self.peering.entry(self._me, node) if node else None
            if entry is None:
                self.desired.pop(key, None)
            else:
                self.desired[key] = wanted(entry)

    def nodes(self) -> list[Node]:
        """Everybody: declared nodes, and the machines of all pools."""
        return [*self._declared.values(), *list(self.members.values())]

    def all_members(self) -> list[Member]:
        """The machines of all pools, as nodes are told of them."""
        return [
            Member(node.name, pool, node.site, node.address, key, node.group, node.lan)
            for key, node in list(self.members.items())
            if (pool := self._pool_of(key))
        ]

    def _pool_of(self, key: str) -> str | None:
        lease, other = self._leases.of_key(key), self.elsewhere.get(key)
        return lease.pool if lease else other.member.pool if other else None

    def guest_at(self, address: IPv4Address) -> str | None:
        """The public key of another gateway's machine."""
        return self._guests.get(address)

    def gateway_of(self, node: Node) -> str | None:
        """The gateway that a spoke hangs on; None before the roster that has its site was followed."""
        try:
            return self.peering.gateway_of(node).name if self.peering else None
        except KeyError:
            return None

    def awaited(self) -> list[Node]:
        """The spokes that are to hang here and still hang elsewhere."""
        moving = [node for node in self.nodes() if node.name in self.attached] if self.attached else []
        return [node for node in moving if self._targets[node.site] == self._name]
