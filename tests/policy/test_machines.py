"""Policies on machines: metadata, disks, addresses, types, protection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from components.server_types import RETIRED
from policy.model import UNKNOWN
from tests.policy.findings import (
    GCP_INSTANCE,
    GCP_REGIONAL,
    GCP_TEMPLATE,
    INSTANCE,
    LAUNCH,
    SERVER,
    said,
    settings,
    who_say,
)

IMDS, DISK, PUBLIC, RETIREMENT, PROTECTION = (
    *("imdsv1", "unencrypted-disk", "inference-public-address", "retired-server-type", "gateway-unprotected"),
)
SPOT = "aws:ec2/spotInstanceRequest:SpotInstanceRequest"
CONFIGURATION = "aws:ec2/launchConfiguration:LaunchConfiguration"
GOOD_TOKENS = {"metadataOptions": {"httpTokens": "required"}}
GOOD_DISK = {"rootBlockDevice": {"encrypted": True}}


@pytest.mark.parametrize("kind", [INSTANCE, SPOT, CONFIGURATION, LAUNCH])
def test_ec2_metadata_must_ask_for_a_token(kind: str) -> None:
    without: list[dict[str, Any]] = [{}, {"metadataOptions": {}}, {"metadataOptions": {"httpTokens": "optional"}}]
    for inputs in without:
        assert len(said(IMDS, kind, inputs, None)) == 1, inputs
    for options in (
        GOOD_TOKENS["metadataOptions"],
        {"httpEndpoint": "disabled"},
        {"httpTokens": UNKNOWN},
        UNKNOWN,
    ):
        assert not said(IMDS, kind, {"metadataOptions": options}, None), options


def test_an_instance_of_a_template_has_what_the_template_says() -> None:
    assert not who_say(INSTANCE, {"launchTemplate": {"id": UNKNOWN}}, settings())
    overruled = {"launchTemplate": {"id": "lt-1"}, "metadataOptions": {"httpTokens": "optional"}}
    assert who_say(INSTANCE, overruled, settings()) == {IMDS}
    unlocked = {"launchTemplate": {"id": "lt-1"}, "rootBlockDevice": {"volumeSize": 50}}
    assert who_say(INSTANCE, unlocked, settings()) == {DISK}


def test_other_clouds_have_no_imdsv1() -> None:
    assert not said(IMDS, SERVER, {}, None)
    assert not said(IMDS, GCP_INSTANCE, {}, None)


@pytest.mark.parametrize("kind", [INSTANCE, SPOT, CONFIGURATION])
def test_every_disk_of_an_instance_must_be_encrypted(kind: str) -> None:
    for root in ({}, {"rootBlockDevice": {"volumeType": "gp3"}}, {"rootBlockDevice": {"encrypted": False}}):
        assert said(DISK, kind, root, None) == ["has a root disk that is not encrypted"], root
    more = {**GOOD_DISK, "ebsBlockDevices": [{"deviceName": "/dev/sdf"}, {"deviceName": "/dev/sdg", "encrypted": True}]}
    assert said(DISK, kind, more, None) == ["has a disk /dev/sdf that is not encrypted"]
    assert not said(DISK, kind, GOOD_DISK, None)
    assert not said(DISK, kind, {"rootBlockDevice": UNKNOWN}, None)
    assert not said(DISK, kind, {"rootBlockDevice": {"encrypted": UNKNOWN}}, None)


def test_every_disk_of_a_template_must_be_encrypted() -> None:
    def mapping(**ebs: Any) -> dict[str, Any]:
        return {"deviceName": "/dev/sda1", "ebs": ebs}

    plain = ["has a disk /dev/sda1 that is not encrypted"]
    assert said(DISK, LAUNCH, {"blockDeviceMappings": [mapping(encrypted="false")]}, None) == plain
    assert said(DISK, LAUNCH, {"blockDeviceMappings": [mapping(encrypted="true"), mapping()]}, None) == plain
    nothings: list[dict[str, Any]] = [
        {},
        {"blockDeviceMappings": [{"deviceName": "/dev/sdb", "virtualName": "ephemeral0"}]},
        {"blockDeviceMappings": [{"deviceName": "/dev/sdb", "ebs": {"encrypted": "true"}}]},
    ]
    for nothing in nothings:
        assert said(DISK, LAUNCH, nothing, None) == ["has a root disk that is not encrypted"]
    assert not said(DISK, LAUNCH, {"blockDeviceMappings": [mapping(encrypted="true")]}, None)
    assert not said(DISK, LAUNCH, {"blockDeviceMappings": UNKNOWN}, None)
    encrypted = {"encrypted": "true"}
    for known in (UNKNOWN, {"deviceName": UNKNOWN, "ebs": encrypted}, {"deviceName": "/dev/xvda", "ebs": encrypted}):
        assert not said(DISK, LAUNCH, {"blockDeviceMappings": [known]}, None), known


def test_a_volume_must_be_encrypted() -> None:
    volume = "aws:ebs/volume:Volume"
    assert said(DISK, volume, {"size": 10}, None)
    assert not said(DISK, volume, {"size": 10, "encrypted": True}, None)


def test_where_nothing_can_be_set_disks_are_left_alone() -> None:
    assert not said(DISK, SERVER, {}, None)
    assert not said(DISK, "hcloud:index/volume:Volume", {"size": 10}, None)
    assert not said(DISK, GCP_INSTANCE, {"bootDisk": {}}, None)


GIVEN = {"sites/aws/vpcId": "vpc-1", "sites/aws/subnetId": "subnet-1"}
GATEWAY_AT_AWS = {
    "gateways/aws-gw": {"site": "aws", "address": "10.100.2.100"},
    "gateways/hetzner-gw/address": "10.100.1.254",
    "network": {"topology": "sites"},
}


def of_role(role: str, site: str, **more: str) -> dict[str, Any]:
    return {"stack": "dev", "site": site, "role": role, **more}


@pytest.mark.parametrize("kind", [GCP_INSTANCE, GCP_TEMPLATE, GCP_REGIONAL])
@pytest.mark.parametrize(
    ("key", "version"), [("accessConfigs", "IPv4"), ("ipv6AccessConfigs", "IPv6")], ids=["ipv4", "ipv6"]
)
def test_what_serves_on_gcp_needs_no_public_address(kind: str, key: str, version: str) -> None:
    for labels in (of_role("burst", "gcp", pool="gcp-burst"), of_role("wireguard-spoke", "gcp", node="gcp-1")):
        public: Mapping[str, Any] = {"networkInterfaces": [{"subnetwork": "s", key: [{}]}], "labels": labels}
        assert said(PUBLIC, kind, public, settings()) == [f"serves inference and has a public {version} address"]
        private = {"networkInterfaces": [{"subnetwork": "s"}], "labels": labels}
        assert not said(PUBLIC, kind, private, settings())
        unknown = {"networkInterfaces": [{"subnetwork": "s", key: UNKNOWN}], "labels": labels}
        assert not said(PUBLIC, kind, unknown, settings())


@pytest.mark.parametrize(
    ("kind", "inputs", "version"),
    [
        (INSTANCE, {"associatePublicIpAddress": True}, "IPv4"),
        (INSTANCE, {"ipv6AddressCount": 1}, "IPv6"),
        (INSTANCE, {"ipv6Addresses": ["2001:db8::7"]}, "IPv6"),
        (LAUNCH, {"networkInterfaces": [{"associatePublicIpAddress": "true"}]}, "IPv4"),
        (LAUNCH, {"networkInterfaces": [{"associatePublicIpAddress": "false", "ipv6AddressCount": 1}]}, "IPv6"),
    ],
)
def test_what_serves_on_aws_needs_no_public_address_where_another_way_leads_out(
    kind: str, inputs: dict[str, Any], version: str
) -> None:
    labelled = {**inputs, "tags": of_role("burst", "aws", pool="aws-burst")}
    for of in (settings(GIVEN), settings(GATEWAY_AT_AWS)):
        assert said(PUBLIC, kind, labelled, of) == [f"serves inference and has a public {version} address"]
    assert not said(PUBLIC, kind, labelled, settings()), "the address is its only way out"
    assert not said(PUBLIC, kind, labelled, None)


def test_private_machines_of_aws_are_left_alone() -> None:
    labels = {"tags": of_role("wireguard-spoke", "aws", node="aws-1")}
    for inputs in (
        {"associatePublicIpAddress": False},
        {"associatePublicIpAddress": UNKNOWN},
        {"ipv6AddressCount": 0},
        {},
    ):
        assert not said(PUBLIC, INSTANCE, {**inputs, **labels}, settings(GIVEN)), inputs
    hidden = {"networkInterfaces": [{"associatePublicIpAddress": "false"}], **labels}
    assert not said(PUBLIC, LAUNCH, hidden, settings(GIVEN))


def test_hetzner_has_no_other_way_out() -> None:
    labels = of_role("wireguard-spoke", "hetzner", node="hetzner-1")
    public = {"publicNets": [{"ipv4Enabled": True, "ipv6Enabled": True}], "labels": labels}
    assert not said(PUBLIC, SERVER, public, settings())


def test_what_does_not_serve_may_be_public() -> None:
    public: dict[str, Any] = {"networkInterfaces": [{"accessConfigs": [{}]}]}
    of = settings({"spokes/gcp-1/serves": False})
    for labels in (
        of_role("wireguard-gateway", "gcp", node="gcp-gw"),
        of_role("wireguard-spoke", "gcp", node="gcp-1"),
        of_role("monitoring", "gcp"),
        {},
    ):
        assert not said(PUBLIC, GCP_INSTANCE, {**public, "labels": labels}, of), labels


@pytest.mark.parametrize("name", sorted(RETIRED))
def test_a_type_that_cannot_be_ordered_is_found(name: str) -> None:
    assert said(RETIREMENT, SERVER, {"serverType": name}, None) == [f"is a {name}"]
    assert not said(RETIREMENT, SERVER, {"serverType": RETIRED[name].successor}, None)


def test_other_types_are_left_alone() -> None:
    assert not said(RETIREMENT, SERVER, {"serverType": UNKNOWN}, None)
    assert not said(RETIREMENT, INSTANCE, {"instanceType": "cx22"}, None)


PRODUCTION = {"production": True}
GATEWAY = of_role("wireguard-gateway", "hetzner", node="hetzner-gw")
PARTS = [
    (SERVER, "labels", "deleteProtection"),
    ("hcloud:index/primaryIp:PrimaryIp", "labels", "deleteProtection"),
    (INSTANCE, "tags", "disableApiTermination"),
    ("aws:ec2/eip:Eip", "tags", None),
    (GCP_INSTANCE, "labels", "deletionProtection"),
    ("gcp:compute/address:Address", "labels", None),
]


@pytest.mark.parametrize(("kind", "key", "lock"), PARTS)
def test_gateways_of_production_are_protected(kind: str, key: str, lock: str | None) -> None:
    of = settings(PRODUCTION)
    assert said(PROTECTION, kind, {key: GATEWAY}, of) == ["can be deleted or replaced by a mistake"]
    assert not said(PROTECTION, kind, {key: GATEWAY}, of, protect=True)
    if lock is not None:
        assert said(PROTECTION, kind, {key: GATEWAY, lock: False}, of)
        assert not said(PROTECTION, kind, {key: GATEWAY, lock: True}, of)
    assert not said(PROTECTION, kind, {key: GATEWAY}, settings()), "the stack is not marked as production"
    assert not said(PROTECTION, kind, {key: of_role("wireguard-spoke", "hetzner", node="x")}, of)


def test_a_gateways_firewall_may_be_made_anew() -> None:
    assert not said(PROTECTION, "hcloud:index/firewall:Firewall", {"labels": GATEWAY}, settings(PRODUCTION))
