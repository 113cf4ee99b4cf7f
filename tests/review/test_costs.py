"""Estimates, reckoned by hand from prices that the tests give or read in the table."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import yaml

from review.costs import ROSTER, Estimate, Resource, estimate
from review.machines import MACHINES, POOLS
from review.prices import TABLE, prices
from tests.components.recorder import run_program
from tests.policy.findings import config_of

AWS_POOL = "aws:autoscaling/group:Group"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"


def server(**inputs: object) -> Resource:
    return Resource("hcloud:index/server:Server", "a-server", {"serverType": "cx23", "location": "fsn1", **inputs})


def usd(cloud: str, place: str, server_type: str) -> Decimal:
    price = prices().server(cloud, place, server_type)
    assert price is not None
    return price.usd


def address(cloud: str) -> Decimal:
    return prices().address(cloud).usd


def test_euros_are_converted_at_the_tables_rate() -> None:
    rate = Decimal(str(yaml.safe_load(TABLE.read_text())["exchange"]["EUR"]["usd"]))
    assert usd("hetzner", "fsn1", "cx23") == Decimal("5.49") * rate
    assert usd("aws", "eu-central-1", "t3.small") == Decimal("0.024") * 730


def test_a_server_costs_itself_and_the_address_that_it_brings() -> None:
    alone = usd("hetzner", "fsn1", "cx23")
    for nets, expected in (
        ([{"ipv4Enabled": True, "ipv6Enabled": True}], alone + address("hetzner")),
        ([{"ipv4Enabled": False, "ipv6Enabled": True}], alone),
        ([{"ipv4Enabled": True, "ipv4": 4711}], alone),
    ):
        found = estimate([server(publicNets=nets)])
        assert found.smallest == found.largest == expected, nets
    primary = Resource("hcloud:index/primaryIp:PrimaryIp", "gw-address", {"type": "ipv4"})
    assert estimate([primary]).smallest == address("hetzner")
    assert estimate([Resource(primary.type, "six", {"type": "ipv6"})]).lines == ()


def pool(types: list[str], **template: object) -> list[Resource]:
    policy = {"launchTemplate": {"overrides": [{"instanceType": name} for name in types]}}
    group: dict[str, Any] = {"name": "burst", "minSize": 1.0, "maxSize": 6.0, "region": "eu-central-1"}
    made = {"name": "burst", "blockDeviceMappings": [{"ebs": {"volumeType": "gp3", "volumeSize": 100}}], **template}
    return [
        Resource(AWS_POOL, "burst-group", {**group, "mixedInstancesPolicy": policy}),
        Resource(TEMPLATE, "burst-template", made),
    ]


def test_a_pool_costs_from_its_smallest_and_cheapest_to_its_largest_and_dearest() -> None:
    found = estimate(pool(["g5.xlarge", "g4dn.xlarge"], networkInterfaces=[{"associatePublicIpAddress": "true"}]))
    disk = prices().disk("aws", "eu-central-1", "gp3")
    assert disk is not None
    each = 100 * disk.usd + address("aws")
    assert found.smallest == usd("aws", "eu-central-1", "g4dn.xlarge") + each
    assert found.largest == 6 * (usd("aws", "eu-central-1", "g5.xlarge") + each)


def test_what_has_no_price_is_named_and_not_counted() -> None:
    found = estimate(
        [*pool(["p4d.24xlarge"]), server(serverType="cx9000"), Resource("aws:lb/loadBalancer:LoadBalancer", "lb", {})]
    )
    assert {(one.name, one.what) for one in found.unpriced} == {
        ("burst-group", "p4d.24xlarge in eu-central-1"),
        ("a-server", "cx9000 in fsn1"),
        ("lb", "LoadBalancer"),
    }
    assert not any("cx9000" in line.what for line in found.lines)


def google(limit: int) -> Estimate:
    inputs: Mapping[str, Any] = {"name": "p-burst", "targetSize": 2, "region": "europe-west3"}
    manager = "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"
    template: Mapping[str, Any] = {
        "namePrefix": "p-burst-",
        "machineType": "e2-small",
        "disks": [{"boot": True}],
        "networkInterfaces": [{}],
    }
    return estimate(
        [
            Resource(manager, "gcp-burst-group", inputs),
            Resource("gcp:compute/instanceTemplate:InstanceTemplate", "gcp-burst-template", template),
            Resource("gcp:compute/routerNat:RouterNat", "gcp-nat", {"region": "europe-west3"}),
            Resource(ROSTER, "roster", {"pools": {"gcp-burst": {"limit": limit}}}),
        ]
    )


@pytest.mark.parametrize(("limit", "hourly"), [(4, 4 * Decimal("0.0014")), (33, Decimal("0.044"))])
def test_googles_pools_end_where_the_roster_says_and_go_out_by_nat(limit: int, hourly: Decimal) -> None:
    found = google(limit)
    disk = prices().disk("gcp", "europe-west3", "pd-standard")
    assert disk is not None
    machine = usd("gcp", "europe-west3", "e2-small") + 10 * disk.usd
    own = Decimal("0.005") * 730
    assert found.smallest == 2 * machine + 2 * Decimal("0.0014") * 730 + own
    assert found.largest == limit * machine + hourly * 730 + own


@pytest.mark.parametrize("name", ["dev", "sites", "mesh"])
def test_everything_that_this_repositorys_stacks_use_has_a_price(name: str) -> None:
    registered = [one for one in run_program(config_of(name)).resources if one.request.custom]
    found = estimate(Resource(one.type, one.name, one.inputs) for one in registered)
    assert found.unpriced == ()
    machines = [one.name for one in registered if one.type in (*MACHINES, *POOLS)]
    priced = sum(line.most for line in found.lines if "disk" not in line.what and " in " in line.what)
    assert priced >= len(machines) > 3


def test_every_price_says_where_it_is_from_and_when_it_was_seen() -> None:
    table = yaml.safe_load(TABLE.read_text())
    groups = [group for what in ("servers", "disks") for cloud in table[what].values() for group in cloud]
    groups += [*table["addresses"].values(), *table["nat"].values(), *table["exchange"].values()]
    for group in groups:
        assert group["source"].startswith("https://")
        assert group["date"].isoformat() >= "2026-01-01"
    for group in (group for what in ("servers", "disks") for cloud in table[what].values() for group in cloud):
        places: list[str] = group["places"]
        rows: Mapping[str, list[float | None] | float] = group["types"]
        for name, listed in rows.items():
            assert not isinstance(listed, list) or len(listed) == len(places), name
