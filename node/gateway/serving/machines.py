"""Which machines may get requests: what the roster declares, and the live leases of its pools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from ipaddress import IPv4Address

from node.gateway.lease import FULL_WEIGHT, Lease
from node.gateway.serving.conf import Server
from node.neighbour_document import NeighbourLease
from overlay.roster import Roster


@dataclass(frozen=True)
class Endpoint:
    """Where a machine's inference server listens, and the path of its health check."""

    node: str
    address: IPv4Address
    port: int
    health_path: str

    @property
    def place(self) -> tuple[IPv4Address, int]:
        """What makes it the same server, whatever else the roster says of it."""
        return self.address, self.port


@dataclass(frozen=True)
class Machine:
    """A machine that serves, and its share of the requests; one that is ``draining`` gets no new ones."""

    endpoint: Endpoint
    weight: int
    backup: bool
    max_conns: int
    draining: bool

    def server(self) -> Server:
        """The machine as nginx is told of it."""
        return Server(self.endpoint.address, self.endpoint.port, self.weight, self.backup, self.max_conns)


def machines(
    roster: Roster, leases_of: Callable[[str], Iterable[Lease | NeighbourLease]], barred: Set[str]
) -> list[Machine]:
    """The machines that requests may go to, in the roster's order.

    ``leases_of`` gives a pool's live leases, ``barred`` are the public keys of whom nothing goes to.
    """
    balancer = roster.load_balancer
    if balancer is None:
        return []
    found: list[Machine] = []
    for name, target in balancer.nodes.items():
        if roster.node(name).public_key in barred:
            continue
        endpoint = Endpoint(name, roster.node(name).address, target.port, target.health_path)
        share = target.share
        found.append(Machine(endpoint, share.weight, share.backup, share.max_conns, draining=False))
    for name, share in balancer.pools.items():
        pool = roster.pool(name)
        for lease in leases_of(name):
            endpoint = Endpoint(lease.name, lease.address, pool.port, pool.health_path)
            weight = max(1, share.weight * lease.weight // FULL_WEIGHT)
            found.append(Machine(endpoint, weight, share.backup, share.max_conns, lease.state != "active"))
    return found
