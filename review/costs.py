"""What a stack costs a month by list prices: an estimate from the inputs of its resources.

Machines, their disks, public IPv4 addresses and Cloud NAT's gateways are counted, traffic is not. A pool's machines are
spot machines, mostly far below the list price; they are taken at the price on demand, so the estimate is an upper bound
for them. A pool that scales costs something between its smallest and its largest size.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from review.inputs import flag, items, number, section, text
from review.prices import Price, Prices, prices

UNLISTED = frozenset(
    {
        "aws:ebs/volume:Volume", "aws:ec2/natGateway:NatGateway", "aws:ec2/vpcEndpoint:VpcEndpoint",
        "aws:ec2transitgateway/transitGateway:TransitGateway", "aws:lb/loadBalancer:LoadBalancer",
        "aws:route53/zone:Zone", "cloudflare:index/healthcheck:Healthcheck",
        "cloudflare:index/loadBalancer:LoadBalancer", "gcp:compute/disk:Disk",
        "gcp:compute/forwardingRule:ForwardingRule", "gcp:compute/globalAddress:GlobalAddress",
        "gcp:compute/vpnTunnel:VpnTunnel", "hcloud:index/floatingIp:FloatingIp",
        "hcloud:index/loadBalancer:LoadBalancer", "hcloud:index/snapshot:Snapshot", "hcloud:index/volume:Volume",
    }
)  # fmt: skip
"""Kinds of resources that are billed and that the table says nothing about."""
NAT_MACHINES = 32
"""Machines up to which Cloud NAT bills each (cloud.google.com/nat/pricing)."""


@dataclass(frozen=True)
class Resource:
    """A resource as an engine knows it: its type token, its name, and its inputs in camelCase."""

    type: str
    name: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """So many of one kind at a price in US dollars a month each.

    ``fewest`` at ``each`` make the smallest cost, ``most`` at ``dearest`` the largest.
    """

    what: str
    fewest: int
    most: int
    each: Decimal
    dearest: Decimal

    @property
    def smallest(self) -> Decimal:
        """US dollars a month with pools at their smallest."""
        return self.fewest * self.each

    @property
    def largest(self) -> Decimal:
        """US dollars a month with pools at their largest."""
        return self.most * self.dearest


@dataclass(frozen=True)
class Unpriced:
    """A resource that is billed, and ``what`` of it has no price in the table."""

    type: str
    name: str
    what: str


@dataclass(frozen=True)
class Estimate:
    """What resources cost a month in US dollars, by list prices."""

    lines: tuple[Line, ...]
    unpriced: tuple[Unpriced, ...]
    seen: tuple[datetime.date, ...]
    """The days that the prices that were used are of, oldest first."""

    @property
    def smallest(self) -> Decimal:
        """With each pool at its smallest."""
        return sum((line.smallest for line in self.lines), Decimal(0))

    @property
    def largest(self) -> Decimal:
        """With each pool at its largest."""
        return sum((line.largest for line in self.lines), Decimal(0))


def estimate(resources: Iterable[Resource]) -> Estimate:
    """The estimate for a stack that has these resources. Of those that cost nothing none is said."""
    return _Counting(list(resources), prices()).done()


@dataclass(frozen=True)
class _Machines:
    """Machines of one resource: how many, of which types, and what belongs to each."""

    owner: Resource
    cloud: str
    place: str
    types: tuple[str, ...]
    fewest: int = 1
    most: int = 1
    disk: tuple[str, int] | None = None
    """Kind and GB; None for one that comes with the machine."""
    public: bool = False
    """Whether each has a public IPv4 address that is billed with it."""


@dataclass
class _Counting:
    resources: list[Resource]
    prices: Prices
    _fewest: Counter[tuple[str, Decimal, Decimal]] = field(default_factory=Counter[tuple[str, Decimal, Decimal]])
    _most: Counter[tuple[str, Decimal, Decimal]] = field(default_factory=Counter[tuple[str, Decimal, Decimal]])
    _unpriced: list[Unpriced] = field(default_factory=list[Unpriced])
    _seen: set[datetime.date] = field(default_factory=set[datetime.date])

    def done(self) -> Estimate:
        behind_nat: defaultdict[str, list[_Machines]] = defaultdict(list)
        for resource in self.resources:
            if resource.type in UNLISTED:
                self._unpriced.append(Unpriced(resource.type, resource.name, resource.type.rpartition(":")[2]))
            for cloud in self._own_addresses(resource):
                self._count(f"public IPv4 address at {CLOUDS[cloud]}", 1, 1, [self.prices.address(cloud)])
        for machines in self._machines():
            self._machine(machines)
            if machines.cloud == "gcp" and not _has_address(machines):
                behind_nat[machines.place].append(machines)
        for resource in self.resources:
            if resource.type == "gcp:compute/routerNat:RouterNat":
                self._nat(resource, behind_nat[text(resource.inputs, "region")])
        lines = (Line(key[0], self._fewest[key], self._most[key], key[1], key[2]) for key in self._most)
        return Estimate(
            tuple(sorted(lines, key=lambda line: (-line.largest, line.what))),
            tuple(self._unpriced),
            tuple(sorted(self._seen)),
        )

    def _count(self, what: str, fewest: int, most: int, found: list[Price]) -> None:
        self._seen.update(price.seen for price in found)
        key = (what, min(price.usd for price in found), max(price.usd for price in found))
        self._fewest[key] += fewest
        self._most[key] += most

    def _machine(self, machines: _Machines) -> None:
        name, place = " or ".join(machines.types), machines.place
        found = [self.prices.server(machines.cloud, place, each) for each in machines.types]
        known = [price for price in found if price is not None]
        missing = [each for each, price in zip(machines.types, found, strict=True) if price is None]
        for each in missing:
            self._unpriced.append(Unpriced(machines.owner.type, machines.owner.name, f"{each} in {place}"))
        if known and not missing:
            self._count(f"{name} in {place}", machines.fewest, machines.most, known)
        if machines.disk is not None:
            kind, size = machines.disk
            price = self.prices.disk(machines.cloud, place, kind)
            if price is None:
                self._unpriced.append(
                    Unpriced(machines.owner.type, machines.owner.name, f"{kind} disk of {size} GB in {place}")
                )
            else:
                whole = Price(price.usd * size, price.seen, price.source)
                self._count(f"{kind} disk of {size} GB in {place}", machines.fewest, machines.most, [whole])
        if machines.public:
            address = self.prices.address(machines.cloud)
            self._count(f"public IPv4 address at {CLOUDS[machines.cloud]}", machines.fewest, machines.most, [address])

    def _nat(self, nat: Resource, machines: list[_Machines]) -> None:
        price = self.prices.nat("gcp")
        costs: list[Price] = []
        for count in (sum(each.fewest for each in machines), sum(each.most for each in machines)):
            usd = count * price.each.usd if count <= NAT_MACHINES else price.most.usd
            costs.append(Price(usd + price.address.usd, price.each.seen, price.each.source))
        self._count(f"Cloud NAT in {text(nat.inputs, 'region')}", 1, 1, costs)

    def _own_addresses(self, resource: Resource) -> Iterator[str]:
        """The clouds of the public IPv4 addresses that a resource is by itself."""
        if resource.type == "hcloud:index/primaryIp:PrimaryIp" and text(resource.inputs, "type") == "ipv4":
            yield "hetzner"
        if resource.type == "aws:ec2/eip:Eip":
            yield "aws"
        if resource.type == "gcp:compute/address:Address" and text(resource.inputs, "addressType") != "INTERNAL":
            yield "gcp"

    def _machines(self) -> Iterator[_Machines]:
        for resource in self.resources:
            match resource.type:
                case "hcloud:index/server:Server":
                    yield self._hetzner(resource)
                case "aws:ec2/instance:Instance":
                    yield self._instance(resource)
                case "gcp:compute/instance:Instance":
                    yield self._gcp(resource)
                case "aws:autoscaling/group:Group":
                    yield self._aws_group(resource)
                case "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager":
                    yield self._gcp_group(resource)
                case _:
                    pass

    def _hetzner(self, server: Resource) -> _Machines:
        nets = items(server.inputs, "publicNets")
        # A primary address that is given is a resource of its own; a server without any word on it gets one.
        public = not nets or any(flag(net, "ipv4Enabled", default=True) and "ipv4" not in net for net in nets)
        inputs = server.inputs
        return _Machines(server, "hetzner", text(inputs, "location"), (text(inputs, "serverType"),), public=public)

    def _instance(self, instance: Resource) -> _Machines:
        inputs, disk = instance.inputs, section(instance.inputs, "rootBlockDevice")
        return _Machines(
            instance,
            "aws",
            text(inputs, "region"),
            (text(inputs, "instanceType"),),
            disk=(text(disk, "volumeType") or "gp3", number(disk, "volumeSize") or self.prices.disk_size("aws")),
            public=flag(inputs, "associatePublicIpAddress"),
        )

    def _gcp(self, instance: Resource) -> _Machines:
        disk = section(section(instance.inputs, "bootDisk"), "initializeParams")
        access = [one for net in items(instance.inputs, "networkInterfaces") for one in items(net, "accessConfigs")]
        return _Machines(
            instance,
            "gcp",
            text(instance.inputs, "zone").rpartition("-")[0],
            (text(instance.inputs, "machineType"),),
            disk=(text(disk, "type") or "pd-standard", number(disk, "size") or self.prices.disk_size("gcp")),
            public=any("natIp" not in one for one in access),
        )

    def _aws_group(self, group: Resource) -> _Machines:
        template = section(section(group.inputs, "mixedInstancesPolicy"), "launchTemplate")
        types = tuple(text(override, "instanceType") for override in items(template, "overrides"))
        # What a group starts is in a template of the same name.
        made = self._named("aws:ec2/launchTemplate:LaunchTemplate", text(group.inputs, "name"), "name")
        nets = items(made.inputs, "networkInterfaces") if made is not None else []
        mapped = items(made.inputs, "blockDeviceMappings") if made is not None else []
        disk: Mapping[str, Any] = section(mapped[0], "ebs") if mapped else {}
        return _Machines(
            group,
            "aws",
            text(group.inputs, "region"),
            types or (text(made.inputs, "instanceType") if made is not None else "",),
            number(group.inputs, "minSize"),
            number(group.inputs, "maxSize"),
            disk=(text(disk, "volumeType") or "gp3", number(disk, "volumeSize") or self.prices.disk_size("aws")),
            public=any(flag(net, "associatePublicIpAddress") for net in nets),
        )

    def _gcp_group(self, group: Resource) -> _Machines:
        name, fewest = text(group.inputs, "name"), number(group.inputs, "targetSize")
        made = self._named("gcp:compute/instanceTemplate:InstanceTemplate", f"{name}-", "namePrefix")
        inputs: Mapping[str, Any] = made.inputs if made is not None else {}
        disks = items(inputs, "disks")
        disk: Mapping[str, Any] = disks[0] if disks else {}
        nets = items(inputs, "networkInterfaces")
        return _Machines(
            group,
            "gcp",
            text(group.inputs, "region"),
            (text(inputs, "machineType"),),
            fewest,
            max(fewest, self._limit(group.name.removesuffix("-group"))),
            disk=(text(disk, "diskType") or "pd-standard", number(disk, "diskSizeGb") or self.prices.disk_size("gcp")),
            public=any(items(net, "accessConfigs") for net in nets),
        )

    def _named(self, token: str, name: str, key: str) -> Resource | None:
        found = (one for one in self.resources if one.type == token and text(one.inputs, key) == name)
        return next(found, None)

    def _limit(self, pool: str) -> int:
        """How many machines a pool may have: a group of Google's says nothing of it, the roster does."""
        rosters = (one for one in self.resources if one.type == ROSTER)
        return max((number(section(section(each.inputs, "pools"), pool), "limit") for each in rosters), default=0)


ROSTER = "pulumi-python:dynamic/hybrid-wireguard:Roster"
"""The resource that tells gateways what the stack declares."""
CLOUDS = {"hetzner": "Hetzner", "aws": "AWS", "gcp": "Google"}


def _has_address(machines: _Machines) -> bool:
    """Whether machines on Google's cloud go out by an address of their own."""
    if machines.public:
        return True
    nets = items(machines.owner.inputs, "networkInterfaces")
    return any(items(net, "accessConfigs") for net in nets)
