"""What is changed in place and what replaces a resource follows the real providers, and is told path by path."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import pytest

from localcloud.wire import UNKNOWN, Secret, Value
from tests.localcloud.provider.harness import Harness, RefusedError
from tests.localcloud.provider.scenery import (
    LOCALLY_SIGNED,
    OTHER_ED25519,
    SELF_SIGNED,
    Made,
    make_everything,
    make_gcp,
)


@dataclass(frozen=True)
class Scene:
    clouds: Harness
    made: Made


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    clouds = Harness(tmp_path_factory.mktemp("replace"))
    yield Scene(clouds, make_everything(clouds))
    clouds.close()


Case = tuple[str, Mapping[str, Value], dict[str, str]]
IN_PLACE: list[Case] = [
    ("ssh_key", {"name": "new"}, {"name": "UPDATE"}),
    ("guard", {"name": "new"}, {"name": "UPDATE"}),
    ("guard", {"rules": None}, {"rules": "DELETE"}),
    ("address", {"name": "new", "autoDelete": True}, {"name": "UPDATE", "autoDelete": "ADD"}),
    ("address", {"deleteProtection": True}, {"deleteProtection": "ADD"}),
    ("hnetwork", {"labels": {"a": "b"}}, {"labels": "ADD"}),
    ("placement", {"name": "new"}, {"name": "UPDATE"}),
    ("attachment", {"serverIds": UNKNOWN}, {"serverIds": "UPDATE"}),
    ("place", {"aliasIps": ["10.50.1.9"]}, {"aliasIps": "ADD"}),
    ("server", {"serverType": "cx33"}, {"serverType": "UPDATE"}),
    ("server", {"name": "new"}, {"name": "UPDATE"}),
    ("server", {"labels": {"node": "hetzner-gw", "a": "b"}}, {"labels.a": "ADD"}),
    ("server", {"firewallIds": None}, {"firewallIds": "DELETE"}),
    ("server", {"backups": True}, {"backups": "ADD"}),
    ("server", {"placementGroupId": None}, {"placementGroupId": "DELETE"}),
    ("vpc", {"enableDnsHostnames": True, "tags": {"a": "b"}}, {"enableDnsHostnames": "ADD", "tags": "ADD"}),
    ("subnet", {"mapPublicIpOnLaunch": True}, {"mapPublicIpOnLaunch": "ADD"}),
    ("table", {"routes": None}, {"routes": "DELETE"}),
    ("association", {"routeTableId": UNKNOWN}, {"routeTableId": "UPDATE"}),
    ("other", {"tags": {"a": "b"}}, {"tags": "ADD"}),
    ("ingress", {"cidrIpv4": "198.51.100.0/24"}, {"cidrIpv4": "UPDATE"}),
    ("ingress", {"fromPort": 21}, {"fromPort": "UPDATE"}),
    ("instance", {"userData": "new"}, {"userData": "UPDATE"}),
    ("instance", {"instanceType": "t3.small"}, {"instanceType": "UPDATE"}),
    ("instance", {"sourceDestCheck": True}, {"sourceDestCheck": "UPDATE"}),
    ("instance", {"tags": {"node": "aws-2"}}, {"tags.node": "UPDATE"}),
    (
        "instance",
        {"metadataOptions": {"httpTokens": "optional", "httpPutResponseHopLimit": 1}},
        {"metadataOptions.httpTokens": "UPDATE"},
    ),
    ("instance", {"rootBlockDevice": {"encrypted": True, "volumeSize": 20}}, {"rootBlockDevice.volumeSize": "ADD"}),
    ("gnetwork", {"mtu": 1500}, {"mtu": "ADD"}),
    ("gsubnet", {"privateIpGoogleAccess": True}, {"privateIpGoogleAccess": "ADD"}),
    ("gsubnet", {"ipCidrRange": "10.70.0.0/23"}, {"ipCidrRange": "UPDATE"}),
    ("router", {"description": "x"}, {"description": "ADD"}),
    ("nat", {"minPortsPerVm": 128}, {"minPortsPerVm": "ADD"}),
    ("wireguard", {"priority": 500}, {"priority": "ADD"}),
    ("wireguard", {"sourceRanges": ["203.0.113.0/24"]}, {"sourceRanges[0]": "UPDATE"}),
    ("reserved", {"labels": {"a": "b"}}, {"labels": "ADD"}),
    ("by_interface", {"networkInterfaceId": UNKNOWN}, {"networkInterfaceId": "UPDATE"}),
    ("groute", {"deletionPolicy": "ABANDON"}, {"deletionPolicy": "ADD"}),
    (
        "ginstance",
        {"metadata": {"user-data": "new"}},
        {'metadata["user-data"]': "UPDATE", 'metadata["ssh-keys"]': "DELETE"},
    ),
    ("ginstance", {"machineType": "e2-medium"}, {"machineType": "UPDATE"}),
    ("ginstance", {"tags": ["spoke", "ssh"]}, {"tags[1]": "ADD"}),
    ("ginstance", {"labels": {"node": "gcp-2"}}, {"labels.node": "UPDATE"}),
    ("ginstance", {"canIpForward": True}, {"canIpForward": "ADD"}),
    ("template", {"userData": "bmV3"}, {"userData": "UPDATE"}),
    ("template", {"imageId": UNKNOWN}, {"imageId": "UPDATE"}),
    ("scaling", {"minSize": 3}, {"minSize": "UPDATE"}),
    ("scaling", {"desiredCapacity": 3}, {"desiredCapacity": "ADD"}),
    ("scaling", {"vpcZoneIdentifiers": UNKNOWN}, {"vpcZoneIdentifiers": "UPDATE"}),
    ("scaling", {"capacityRebalance": False}, {"capacityRebalance": "UPDATE"}),
    ("hook", {"heartbeatTimeout": 60}, {"heartbeatTimeout": "ADD"}),
    ("role", {"description": "x"}, {"description": "ADD"}),
    ("profile", {"role": UNKNOWN}, {"role": "UPDATE"}),
    ("account", {"displayName": "x"}, {"displayName": "ADD"}),
    ("manager", {"versions": UNKNOWN}, {"versions": "UPDATE"}),
    ("manager", {"targetSize": 3}, {"targetSize": "UPDATE"}),
    ("certificate", {"earlyRenewalHours": 24}, {"earlyRenewalHours": "ADD"}),
]
REPLACING: list[Case] = [
    ("ssh_key", {"publicKey": OTHER_ED25519}, {"publicKey": "UPDATE_REPLACE"}),
    ("attachment", {"firewallId": UNKNOWN}, {"firewallId": "UPDATE_REPLACE"}),
    ("address", {"type": "ipv6"}, {"type": "UPDATE_REPLACE"}),
    ("address", {"location": "nbg1"}, {"location": "UPDATE_REPLACE"}),
    ("hnetwork", {"ipRange": "10.52.0.0/16"}, {"ipRange": "UPDATE_REPLACE"}),
    ("hsubnet", {"ipRange": "10.50.3.0/24"}, {"ipRange": "UPDATE_REPLACE"}),
    ("place", {"ip": "10.50.1.7"}, {"ip": "ADD_REPLACE"}),
    ("server", {"userData": "new"}, {"userData": "UPDATE_REPLACE"}),
    ("server", {"userData": None}, {"userData": "DELETE_REPLACE"}),
    ("server", {"userData": UNKNOWN}, {"userData": "UPDATE_REPLACE"}),
    ("server", {"image": "debian-12"}, {"image": "UPDATE_REPLACE"}),
    ("server", {"location": None}, {"location": "DELETE_REPLACE"}),
    ("server", {"sshKeys": None}, {"sshKeys": "DELETE_REPLACE"}),
    ("vpc", {"cidrBlock": "10.62.0.0/24"}, {"cidrBlock": "UPDATE_REPLACE"}),
    ("vpc", {"region": "eu-west-1"}, {"region": "ADD_REPLACE"}),
    ("subnet", {"availabilityZone": "eu-central-1b"}, {"availabilityZone": "UPDATE_REPLACE"}),
    ("table", {"vpcId": UNKNOWN}, {"vpcId": "UPDATE_REPLACE"}),
    ("association", {"subnetId": UNKNOWN}, {"subnetId": "UPDATE_REPLACE"}),
    ("key_pair", {"publicKey": OTHER_ED25519}, {"publicKey": "UPDATE_REPLACE"}),
    ("other", {"description": "new"}, {"description": "ADD_REPLACE"}),
    ("other", {"name": "new"}, {"name": "UPDATE_REPLACE"}),
    ("ingress", {"securityGroupId": UNKNOWN}, {"securityGroupId": "UPDATE_REPLACE"}),
    ("ingress", {"cidrIpv4": None, "cidrIpv6": "::/0"}, {"cidrIpv4": "DELETE_REPLACE", "cidrIpv6": "ADD_REPLACE"}),
    ("instance", {"ami": UNKNOWN}, {"ami": "UPDATE_REPLACE"}),
    ("instance", {"keyName": None}, {"keyName": "DELETE_REPLACE"}),
    ("instance", {"subnetId": UNKNOWN}, {"subnetId": "UPDATE_REPLACE"}),
    ("instance", {"associatePublicIpAddress": False}, {"associatePublicIpAddress": "UPDATE_REPLACE"}),
    ("instance", {"rootBlockDevice": {"encrypted": False}}, {"rootBlockDevice.encrypted": "UPDATE_REPLACE"}),
    (
        "instance",
        {"userData": "new", "userDataReplaceOnChange": True},
        {"userData": "UPDATE_REPLACE", "userDataReplaceOnChange": "ADD"},
    ),
    ("eip_association", {"instanceId": UNKNOWN}, {"instanceId": "UPDATE_REPLACE"}),
    ("by_interface", {"destinationCidrBlock": "10.101.0.0/16"}, {"destinationCidrBlock": "UPDATE_REPLACE"}),
    ("hroute", {"gateway": "10.50.1.2"}, {"gateway": "UPDATE_REPLACE"}),
    ("hroute", {"destination": "0.0.0.0/0"}, {"destination": "UPDATE_REPLACE"}),
    ("groute", {"priority": 900}, {"priority": "ADD_REPLACE"}),
    ("groute", {"nextHopInstance": UNKNOWN}, {"nextHopInstance": "UPDATE_REPLACE"}),
    ("groute", {"tags": ["other"]}, {"tags[0]": "UPDATE_REPLACE"}),
    ("gnetwork", {"description": "x"}, {"description": "ADD_REPLACE"}),
    ("gnetwork", {"autoCreateSubnetworks": UNKNOWN}, {"autoCreateSubnetworks": "UPDATE_REPLACE"}),
    ("gsubnet", {"ipCidrRange": "10.70.0.0/25"}, {"ipCidrRange": "UPDATE_REPLACE"}),
    ("gsubnet", {"network": UNKNOWN}, {"network": "UPDATE_REPLACE"}),
    ("router", {"network": UNKNOWN}, {"network": "UPDATE_REPLACE"}),
    ("nat", {"name": "new"}, {"name": "UPDATE_REPLACE"}),
    ("wireguard", {"name": "new"}, {"name": "UPDATE_REPLACE"}),
    ("reserved", {"networkTier": "STANDARD"}, {"networkTier": "ADD_REPLACE"}),
    ("ginstance", {"zone": "europe-west3-b"}, {"zone": "UPDATE_REPLACE"}),
    (
        "ginstance",
        {"bootDisk": {"initializeParams": {"image": "debian-12"}}},
        {"bootDisk.initializeParams.image": "UPDATE_REPLACE"},
    ),
    (
        "ginstance",
        {"networkInterfaces": [{"subnetwork": UNKNOWN}]},
        {"networkInterfaces[0].subnetwork": "UPDATE_REPLACE"},
    ),
    ("template", {"name": "new"}, {"name": "UPDATE_REPLACE"}),
    ("scaling", {"name": "new"}, {"name": "UPDATE_REPLACE"}),
    ("scaling", {"initialLifecycleHooks": None}, {"initialLifecycleHooks": "DELETE_REPLACE"}),
    ("hook", {"autoscalingGroupName": UNKNOWN}, {"autoscalingGroupName": "UPDATE_REPLACE"}),
    ("role", {"path": "/pools/"}, {"path": "ADD_REPLACE"}),
    ("profile", {"name": "new"}, {"name": "UPDATE_REPLACE"}),
    ("account", {"accountId": "another"}, {"accountId": "UPDATE_REPLACE"}),
    ("gtemplate", {"labels": {"pool": "other"}}, {"labels.pool": "UPDATE_REPLACE"}),
    ("gtemplate", {"machineType": "e2-medium"}, {"machineType": "UPDATE_REPLACE"}),
    ("gtemplate", {"metadata": UNKNOWN}, {"metadata": "UPDATE_REPLACE"}),
    ("manager", {"baseInstanceName": "new"}, {"baseInstanceName": "UPDATE_REPLACE"}),
    ("manager", {"distributionPolicyZones": ["europe-west3-a"]}, {"distributionPolicyZones": "ADD_REPLACE"}),
    ("key", {"ecdsaCurve": "P384"}, {"ecdsaCurve": "UPDATE_REPLACE"}),
    ("ca", {"subject": {"commonName": "new"}}, {"subject.commonName": "UPDATE_REPLACE"}),
    ("request", {"ipAddresses": ["10.100.0.2"]}, {"ipAddresses[0]": "UPDATE_REPLACE"}),
    ("certificate", {"allowedUses": ["client_auth"]}, {"allowedUses[0]": "UPDATE_REPLACE"}),
]


def test_nothing_changed_is_no_difference(scene: Scene) -> None:
    for resource in scene.made.values():
        assert scene.clouds.diff(resource, {}).kinds == {}, resource.token


@pytest.mark.parametrize(("name", "change", "kinds"), IN_PLACE)
def test_it_changes_in_place(scene: Scene, name: str, change: Mapping[str, Value], kinds: dict[str, str]) -> None:
    told = scene.clouds.diff(scene.made[name], change)
    assert told.kinds == kinds
    assert told.replaces == []
    assert not told.delete_first


@pytest.mark.parametrize(("name", "change", "kinds"), REPLACING)
def test_it_is_replaced(scene: Scene, name: str, change: Mapping[str, Value], kinds: dict[str, str]) -> None:
    told = scene.clouds.diff(scene.made[name], change)
    assert told.kinds == kinds
    assert set(told.replaces) == {
        path.partition(".")[0].partition("[")[0] for path, kind in kinds.items() if "REPL" in kind
    }


def test_the_old_one_goes_first_where_both_would_carry_one_given_name(scene: Scene) -> None:
    server = scene.made["server"]
    assert scene.clouds.diff(server, {"userData": "new"}).delete_first
    assert not scene.clouds.diff(server, {"userData": "new", "name": "another"}).delete_first
    unnamed = scene.clouds.make(server.token, "web", serverType="cx23", image="debian-12")
    assert not scene.clouds.diff(unnamed, {"image": "ubuntu-22.04"}).delete_first


def test_what_the_program_ignores_is_no_difference(scene: Scene) -> None:
    server, instance = scene.made["server"], scene.made["ginstance"]
    assert scene.clouds.diff(server, {"userData": "new"}, ("userData",)).kinds == {}
    changed: dict[str, Value] = {"bootDisk": {"initializeParams": {"image": "debian-12"}}}
    assert scene.clouds.diff(instance, changed, ("bootDisk.initializeParams.image",)).kinds == {}


def test_a_secret_is_compared_by_what_it_holds(scene: Scene) -> None:
    server = scene.made["server"]
    assert scene.clouds.diff(server, {"userData": Secret(server.inputs["userData"])}).kinds == {}


def test_an_unnamed_resource_keeps_the_name_it_was_given(scene: Scene) -> None:
    inputs: dict[str, Value] = {"type": "spread"}
    token = "hcloud:index/placementGroup:PlacementGroup"
    first = scene.clouds.check(token, inputs, "group")
    assert isinstance(first["name"], str)
    assert first["name"].startswith("group-")
    again = scene.clouds.check(token, inputs, "group", first)
    assert again == first
    renamed = scene.clouds.check(token, {**inputs, "name": "mine"}, "group", first)
    assert renamed["name"] == "mine"
    assert scene.clouds.check(token, inputs, "group", renamed)["name"] != "mine"
    lookalike = {**inputs, "name": "other-0123abc"}
    assert scene.clouds.check(token, inputs, "group", lookalike)["name"] != "other-0123abc"


def test_a_certificate_that_is_due_is_made_anew(scene: Scene) -> None:
    key = scene.made["key"]
    due = scene.clouds.make(
        SELF_SIGNED, privateKeyPem=key.outputs["privateKeyPem"], allowedUses=["server_auth"], validityPeriodHours=0
    )
    told = scene.clouds.diff(due, {})
    assert told.kinds == {"readyForRenewal": "UPDATE_REPLACE"}
    early = scene.clouds.diff(scene.made["certificate"], {"earlyRenewalHours": 87600})
    assert early.replaces == ["readyForRenewal"]
    assert scene.made["certificate"].token == LOCALLY_SIGNED


def test_what_goes_because_of_another_may_be_made_under_its_name_again(clouds: Harness) -> None:
    """Of such a one engines do not tell what it was, and in a preview it is there still."""
    route = make_gcp(clouds)["groute"]
    assert clouds.check(route.token, route.inputs, route.name)["name"] == route.inputs["name"]
    with pytest.raises(RefusedError, match="alreadyExists"):
        clouds.check(route.token, route.inputs, "another")
