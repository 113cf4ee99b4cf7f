"""The policy on the overlay and the clouds' own networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from policy.model import UNKNOWN
from tests.policy.findings import said, settings

OVERLAP = "overlay-overlaps-vpc"
OVERLAY6 = "fd3c:9a51:77d0::/64"
RANGES: list[tuple[str, str]] = [
    ("hcloud:index/network:Network", "ipRange"),
    ("hcloud:index/networkSubnet:NetworkSubnet", "ipRange"),
    ("aws:ec2/vpc:Vpc", "cidrBlock"),
    ("aws:ec2/vpcIpv4CidrBlockAssociation:VpcIpv4CidrBlockAssociation", "cidrBlock"),
    ("aws:ec2/subnet:Subnet", "cidrBlock"),
    ("gcp:compute/subnetwork:Subnetwork", "ipCidrRange"),
]


@pytest.mark.parametrize(("kind", "key"), RANGES)
@pytest.mark.parametrize("text", ["10.100.0.0/16", "10.0.0.0/8", "10.100.7.0/24"])
def test_a_network_in_the_overlay_is_found(kind: str, key: str, text: str) -> None:
    expected = [f"has {text}, which overlaps the overlay 10.100.0.0/16"]
    assert said(OVERLAP, kind, {key: text}, settings()) == expected
    assert not said(OVERLAP, kind, {key: text}, settings({"network/overlay": "10.200.0.0/16", **MOVED})) or text == (
        "10.0.0.0/8"
    )
    assert not said(OVERLAP, kind, {key: text}, None)


MOVED: Mapping[str, Any] = {
    "sites/hetzner/subnet": "10.200.1.0/24",
    "sites/aws/subnet": "10.200.2.0/24",
    "sites/gcp/subnet": "10.200.3.0/24",
    "gateways/hetzner-gw/address": "10.200.0.1",
    "pools": {},
}


@pytest.mark.parametrize(("kind", "key"), RANGES)
@pytest.mark.parametrize("text", ["10.99.0.0/16", "172.28.0.0/20", "192.168.0.0/16", UNKNOWN, None])
def test_a_network_beside_the_overlay_is_left_alone(kind: str, key: str, text: Any) -> None:
    assert not said(OVERLAP, kind, {key: text}, settings())


def test_secondary_ranges_of_a_subnetwork_count_too() -> None:
    inputs = {
        "ipCidrRange": "172.29.0.0/20",
        "secondaryIpRanges": [{"rangeName": "pods", "ipCidrRange": "10.96.0.0/12"}],
    }
    assert said(OVERLAP, "gcp:compute/subnetwork:Subnetwork", inputs, settings()) == [
        "has 10.96.0.0/12, which overlaps the overlay 10.100.0.0/16"
    ]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("aws:ec2/vpc:Vpc", "ipv6CidrBlock"),
        ("aws:ec2/subnet:Subnet", "ipv6CidrBlock"),
        ("gcp:compute/network:Network", "internalIpv6Range"),
        ("gcp:compute/subnetwork:Subnetwork", "internalIpv6Prefix"),
    ],
)
def test_an_overlay_of_ipv6_may_not_be_a_clouds_either(kind: str, key: str) -> None:
    of = settings({"network/overlay6": OVERLAY6})
    assert said(OVERLAP, kind, {key: "fd3c:9a51:77d0::/48"}, of)
    assert not said(OVERLAP, kind, {key: "fd3c:9a51:77d1::/48"}, of)
    assert not said(OVERLAP, kind, {key: "fd3c:9a51:77d0::/48"}, settings())


def test_a_network_of_gcp_that_makes_its_own_subnetworks_takes_half_of_10() -> None:
    network = "gcp:compute/network:Network"
    moved = {key: value.replace("10.200.", "10.130.") if value else value for key, value in MOVED.items()}
    for of, found in ((settings({"network/overlay": "10.130.0.0/16", **moved}), True), (settings(), False)):
        for inputs in ({}, {"autoCreateSubnetworks": True}):
            assert bool(said(OVERLAP, network, inputs, of)) is found, inputs
        for inputs in ({"autoCreateSubnetworks": False}, {"autoCreateSubnetworks": UNKNOWN}):
            assert not said(OVERLAP, network, inputs, of), inputs
