"""Resources from their making to their end: what is told of them, and what the clouds let be taken away when."""

from __future__ import annotations

import re

import pytest

from localcloud.provider.catalogue import Type
from localcloud.provider.clouds import KINDS
from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.provider.typecheck import Checker
from localcloud.wire import UNKNOWN, Secret, Value, plain, plain_properties
from tests.localcloud.provider.harness import Harness, RefusedError
from tests.localcloud.provider.scenery import (
    OTHER_ED25519,
    PRIVATE_KEY,
    REGION,
    ami,
    make_aws,
    make_everything,
    make_gcp,
    make_hcloud,
)

IDS = {
    "server": r"\d+",
    "address": r"\d+",
    "place": r"\d+-\d+",
    "vpc": r"vpc-[0-9a-f]{17}",
    "instance": r"i-[0-9a-f]{17}",
    "ingress": r"sgr-[0-9a-f]{17}",
    "key_pair": r"stack",
    "hroute": r"\d+-10\.100\.0\.0/16",
    "groute": r"projects/my-project/global/routes/overlay",
    "eip": r"eipalloc-[0-9a-f]{17}",
    "gnetwork": r"projects/my-project/global/networks/net",
    "gsubnet": r"projects/my-project/regions/europe-west3/subnetworks/sub",
    "nat": r"my-project/europe-west3/router/nat",
    "ginstance": r"projects/my-project/zones/europe-west3-a/instances/gcp-1",
    "key": r"[0-9a-f]{40}",
    "ca": r"\d+",
}


def test_everything_is_told_in_the_sdks_names_and_types(clouds: Harness) -> None:
    for name, resource in make_everything(clouds).items():
        outputs = KINDS[resource.token].shape.outputs
        told = plain_properties(resource.outputs)
        assert told.keys() <= outputs.keys(), f"{name}: {told.keys() - outputs.keys()}"
        for output, value in told.items():
            assert _fits(value, outputs[output]), f"{name}.{output}: {value!r} is no {outputs[output].shape}"
        if name in IDS:
            assert re.fullmatch(IDS[name], resource.id), resource.id


def test_reading_tells_what_making_told(clouds: Harness) -> None:
    for name, resource in make_everything(clouds).items():
        id_, outputs, inputs = clouds.read(resource)
        assert (id_, inputs) == (resource.id, resource.inputs), name
        changes = {key for key, value in outputs.items() if resource.outputs.get(key) != value}
        later = {"ssh": {"applyTos"}, "guard": {"applyTos"}, "address": {"assigneeId"}, "placement": {"servers"}}
        later |= {"server": {"firewallIds"}, "reserved": {"users"}, "instance": {"publicIp"}}
        later |= {"eip": {"instance", "associationId", "networkInterface", "privateIp"}}
        assert changes <= later.get(name, set()), f"{name}: {changes}"


def test_reading_what_is_gone_tells_no_id(clouds: Harness) -> None:
    key = clouds.make(hcloud.PLACEMENT_GROUP, type="spread")
    clouds.delete(key)
    assert clouds.read(key)[0] == ""
    clouds.delete(key)


def test_a_preview_tells_inputs_and_leaves_the_rest_unknown(clouds: Harness) -> None:
    told = clouds.preview(hcloud.PRIMARY_IP, name="address", type="ipv4", location="fsn1")
    assert told["name"] == "address"
    assert told["ipAddress"] is UNKNOWN
    key = clouds.preview(PRIVATE_KEY, algorithm="ED25519")
    assert key["privateKeyPem"] == Secret(UNKNOWN)
    assert key["publicKeyOpenssh"] is UNKNOWN
    assert clouds.fabric.history == [], "a preview makes nothing"


def test_secrets_stay_secret(clouds: Harness) -> None:
    made = make_gcp(clouds)
    secret: dict[str, Value] = {"user-data": Secret("#cloud-config\n# secret\n"), "plain": "x"}
    changed = clouds.update(made["ginstance"], metadata=secret)
    assert changed.inputs["metadata"] == secret
    assert changed.outputs["metadata"] == secret
    assert clouds.read(changed)[1]["metadata"] == secret
    server = clouds.make(hcloud.SERVER, serverType="cx23", image="debian-12", userData=Secret("#cloud-config\n"))
    assert server.outputs["userData"] == Secret("wK9leoEi2xH7hUH5D+q3hxwsPXE="), "the provider keeps a digest"
    key = clouds.make(PRIVATE_KEY, algorithm="ED25519")
    for name in ("privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"):
        assert isinstance(key.outputs[name], Secret), name


def test_everything_can_be_taken_apart_in_order(clouds: Harness) -> None:
    made = make_everything(clouds)
    remaining = list(made.values())
    while remaining:
        before = len(remaining)
        for resource in [*remaining]:
            try:
                clouds.delete(resource)
            except RefusedError:
                continue
            remaining.remove(resource)
        assert len(remaining) < before, [resource.token for resource in remaining]
    assert clouds.fabric.nodes == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vpc", "DependencyViolation: The vpc"),
        ("subnet", "DependencyViolation: The subnet"),
        ("group", "has a dependent object"),
        ("gateway", "has some mapped public address(es)"),
        ("table", "DependencyViolation: The routeTable"),
    ],
)
def test_aws_keeps_what_is_in_use(clouds: Harness, name: str, reason: str) -> None:
    made = make_aws(clouds)
    with pytest.raises(RefusedError, match=re.escape(reason)):
        clouds.delete(made[name])
    assert clouds.read(made[name])[0] == made[name].id


@pytest.mark.parametrize("name", ["gnetwork", "gsubnet", "router"])
def test_gcp_keeps_what_is_in_use(clouds: Harness, name: str) -> None:
    made = make_gcp(clouds)
    with pytest.raises(RefusedError, match="resourceInUseByAnotherResource"):
        clouds.delete(made[name])


def test_hetzner_keeps_what_is_in_use(clouds: Harness) -> None:
    made = make_hcloud(clouds)
    with pytest.raises(RefusedError, match="resource_in_use"):
        clouds.delete(made["placement"])
    with pytest.raises(RefusedError, match="servers are attached"):
        clouds.delete(made["hsubnet"])


def test_what_is_protected_stays(clouds: Harness) -> None:
    made = {**make_hcloud(clouds), **make_aws(clouds), **make_gcp(clouds)}
    protected = {
        "server": ({"deleteProtection": True, "rebuildProtection": True}, "server deletion is protected"),
        "address": ({"deleteProtection": True}, "primary IP is delete protected"),
        "hnetwork": ({"deleteProtection": True}, "network is delete protected"),
        "instance": ({"disableApiTermination": True}, "may not be terminated"),
        "ginstance": ({"deletionProtection": True}, "Deletion Protection is enabled"),
        "reserved": ({"deletionPolicy": "PREVENT"}, "deletion_policy is PREVENT"),
    }
    for name, (change, reason) in protected.items():
        guarded = clouds.update(made[name], **change)
        with pytest.raises(RefusedError, match=reason):
            clouds.delete(guarded)
        assert clouds.read(guarded)[0] == guarded.id


def test_a_primary_address_outlives_its_server(clouds: Harness) -> None:
    made = make_hcloud(clouds)
    assert clouds.read(made["address"])[1]["assigneeId"] == made["server"].number
    clouds.delete(made["server"])
    id_, outputs, _ = clouds.read(made["address"])
    assert id_ == made["address"].id
    assert outputs["assigneeId"] == 0
    again = clouds.make(
        hcloud.SERVER,
        serverType="cx23",
        image="ubuntu-22.04",
        publicNets=[{"ipv4": made["address"].number, "ipv6Enabled": False}],
    )
    assert again.outputs["ipv4Address"] == made["address"].outputs["ipAddress"]


def test_a_server_without_addresses_of_its_own_gets_some_that_go_with_it(clouds: Harness) -> None:
    server = clouds.make(hcloud.SERVER, serverType="cx23", image="ubuntu-22.04")
    assert re.fullmatch(r"198\.18\.1\.\d+", server.text("ipv4Address"))
    assert server.text("ipv6Address") == server.text("ipv6Network").replace("::/64", "::1")
    clouds.delete(server)
    assert not list(clouds.cloud.world.read_text().split("primaryIp")[1:]), "the addresses are gone too"


def test_quotas_hold(clouds: Harness) -> None:
    group = clouds.make(hcloud.PLACEMENT_GROUP, type="spread")
    for number in range(10):
        clouds.make(hcloud.SERVER, f"s{number}", serverType="cx23", image="debian-12", placementGroupId=group.number)
    with pytest.raises(RefusedError, match="placement_error"):
        clouds.make(hcloud.SERVER, "s10", serverType="cx23", image="debian-12", placementGroupId=group.number)
    for number in range(5):
        clouds.make(aws.VPC, cidrBlock=f"10.80.{number}.0/24")
    with pytest.raises(RefusedError, match="VpcLimitExceeded"):
        clouds.make(aws.VPC, cidrBlock="10.80.9.0/24")
    server = clouds.make(hcloud.SERVER, "many", serverType="cx23", image="debian-12", labels={"a": "b"})
    for number in range(5):
        clouds.make(hcloud.FIREWALL, f"f{number}", applyTos=[{"server": server.number}])
    with pytest.raises(RefusedError, match="6 firewalls, the limit is 5"):
        clouds.make(hcloud.FIREWALL, "f5", applyTos=[{"labelSelector": "a=b"}])


def test_a_retired_type_stays_where_it_is_and_is_not_ordered_again(clouds: Harness) -> None:
    server = clouds.make(hcloud.SERVER, serverType="cx23", image="debian-12")
    world = clouds.cloud.world
    assert '"cx23"' in world.read_text()
    old = {**server.inputs, "serverType": "cx22"}
    clouds.check(hcloud.SERVER, {**old, "labels": {"a": "b"}}, "it", old)
    with pytest.raises(RefusedError, match="can no longer be ordered"):
        clouds.check(hcloud.SERVER, old, "it")
    with pytest.raises(RefusedError, match="can no longer be ordered"):
        clouds.check(hcloud.SERVER, old, "another")


def test_a_server_outlives_its_ssh_key_and_is_not_made_with_one_that_is_gone(clouds: Harness) -> None:
    key = clouds.make(hcloud.SSH_KEY, name="one", publicKey=OTHER_ED25519)
    wanted: dict[str, Value] = {"name": "a", "serverType": "cx23", "image": "ubuntu-22.04", "sshKeys": [key.id]}
    server = clouds.make(hcloud.SERVER, **wanted)
    clouds.delete(key)
    assert clouds.check(hcloud.SERVER, server.inputs, olds=server.inputs) == server.inputs
    with pytest.raises(RefusedError, match="SSH key not found"):
        clouds.make(hcloud.SERVER, "other", **{**wanted, "name": "b"})


def test_servers_are_resized_but_never_to_a_smaller_disk_or_another_architecture(clouds: Harness) -> None:
    server = clouds.make(hcloud.SERVER, serverType="cx23", image="debian-12")
    assert clouds.update(server, serverType="cx33", keepDisk=True).outputs["primaryDiskSize"] == 40
    larger = clouds.update(server, serverType="cx43")
    assert larger.outputs["primaryDiskSize"] == 160
    with pytest.raises(RefusedError, match="smaller than the server's"):
        clouds.update(larger, serverType="cx23")
    with pytest.raises(RefusedError, match="cannot change from x86 to arm"):
        clouds.update(larger, serverType="cax41")


def test_gcp_stops_an_instance_only_when_it_may(clouds: Harness) -> None:
    instance = make_gcp(clouds)["ginstance"]
    with pytest.raises(RefusedError, match="allow_stopping_for_update"):
        clouds.update(instance, machineType="e2-medium")
    assert all(spec.running for specs in clouds.fabric.history for spec in specs.values())
    clouds.update(instance, machineType="e2-medium", allowStoppingForUpdate=True)
    assert [spec.running for specs in clouds.fabric.history[-2:] for spec in specs.values()] == [False, True]


def test_a_change_of_type_or_user_data_restarts_the_machine_where_the_provider_does(clouds: Harness) -> None:
    made = {**make_hcloud(clouds), **make_aws(clouds)}
    before = made["instance"].outputs["publicIp"]
    for name, change in (("server", {"serverType": "cx33"}), ("instance", {"userData": "#cloud-config\n# new\n"})):
        node = {"server": "hetzner-gw", "instance": "aws-1"}[name]
        seen = len(clouds.fabric.history)
        made[name] = clouds.update(made[name], **change)
        machines = [next(s for s in specs.values() if s.node == node) for specs in clouds.fabric.history[seen:]]
        assert [machine.running for machine in machines] == [False, True], name
    assert made["instance"].outputs["publicIp"] != before, "a stop gives the public address back"
    seen = len(clouds.fabric.history)
    clouds.update(made["instance"], tags={"node": "aws-1", "a": "b"})
    assert all(spec.running for specs in clouds.fabric.history[seen:] for spec in specs.values())


def test_lookups_find_what_a_program_is_given(clouds: Harness) -> None:
    made = {**make_aws(clouds), **make_gcp(clouds)}
    assert clouds.invoke("aws:ec2/getVpc:getVpc", id=made["vpc"].id)["cidrBlock"] == "10.60.0.0/24"
    subnet = clouds.invoke("aws:ec2/getSubnet:getSubnet", vpcId=made["vpc"].id)
    assert (subnet["id"], subnet["availabilityZone"]) == (made["subnet"].id, "eu-central-1a")
    by_filter: Value = [{"name": "cidr-block", "values": ["10.60.*"]}]
    assert clouds.invoke("aws:ec2/getSubnet:getSubnet", filters=by_filter)["id"] == made["subnet"].id
    zones = clouds.invoke("aws:index/getAvailabilityZones:getAvailabilityZones", state="available")
    assert zones["names"] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    assert clouds.invoke("aws:index/getRegion:getRegion")["region"] == "eu-central-1"
    network = clouds.invoke("gcp:compute/getNetwork:getNetwork", name="net")
    assert network["subnetworksSelfLinks"] == [made["gsubnet"].outputs["selfLink"]]
    found = clouds.invoke("gcp:compute/getSubnetwork:getSubnetwork", name="sub", region=REGION)
    assert found["ipCidrRange"] == "10.70.0.0/24"
    assert clouds.invoke("gcp:compute/getZones:getZones", region=REGION)["names"] == [f"{REGION}-{x}" for x in "abc"]
    image = clouds.invoke("gcp:compute/getImage:getImage", family="debian-12", project="debian-cloud")
    assert isinstance(image["selfLink"], str)
    assert image["selfLink"].startswith("https://www.googleapis.com/compute/v1/projects/debian-cloud/global/images/")


@pytest.mark.parametrize(
    ("token", "arguments", "reason"),
    [
        ("aws:ec2/getAmi:getAmi", {"owners": ["1"]}, "returned no results"),
        ("aws:ec2/getAmi:getAmi", {"owners": ["099720109477"]}, "more than one result"),
        ("aws:ec2/getAmi:getAmi", {"filters": [{"name": "nam", "values": ["x"]}]}, "The filter 'nam' is invalid"),
        ("aws:ec2/getAmi:getAmi", {"region": "mars-1"}, "Invalid AWS Region: mars-1"),
        ("aws:ec2/getVpc:getVpc", {"id": "vpc-1"}, "no matching EC2 VPC found"),
        ("gcp:compute/getImage:getImage", {"family": "debian-7", "project": "debian-cloud"}, "was not found"),
        ("gcp:compute/getZones:getZones", {"region": "mars-1"}, "was not found"),
        ("gcp:compute/getNetwork:getNetwork", {"name": "default"}, "networks/default' was not found"),
    ],
)
def test_lookups_that_find_nothing_say_so(
    clouds: Harness, token: str, arguments: dict[str, Value], reason: str
) -> None:
    with pytest.raises(RefusedError, match=re.escape(reason)):
        clouds.invoke(token, **arguments)


def test_images_have_an_id_in_every_region(clouds: Harness) -> None:
    here = ami(clouds)
    there = clouds.invoke("aws:ec2/getAmi:getAmi", mostRecent=True, nameRegex="jammy.*amd64", region="us-east-1")["id"]
    assert re.fullmatch(r"ami-[0-9a-f]{17}", here)
    assert here != there


def test_an_automatic_network_brings_a_subnetwork_a_region(clouds: Harness) -> None:
    network = clouds.make(gcp.NETWORK, name="auto")
    subnet = clouds.invoke("gcp:compute/getSubnetwork:getSubnetwork", name="auto", region=REGION)
    assert subnet["ipCidrRange"] == "10.156.0.0/20"
    clouds.delete(network)
    with pytest.raises(RefusedError, match="was not found"):
        clouds.invoke("gcp:compute/getSubnetwork:getSubnetwork", name="auto", region=REGION)


def _fits(value: Value, declared: Type) -> bool:
    if value is None:
        return True
    checker = Checker()
    match declared.shape, value:
        case "object", dict():
            checker.properties(value, declared.properties)
            return not checker.failures
        case ("list", list()) if declared.element:
            return all(_fits(item, declared.element) for item in value)
        case ("map", dict()) if declared.element:
            return all(_fits(item, declared.element) for item in value.values())
        case ("string", str()) | ("boolean", bool()) | ("any", _):
            return True
        case "integer" | "number", int():
            return not isinstance(plain(value), bool)
        case _:
            return False


@pytest.mark.parametrize(("shutdown", "powers"), [(True, [True, False]), (False, [True])])
def test_a_server_that_is_to_shut_down_before_its_deletion_does(
    clouds: Harness, shutdown: bool, powers: list[bool]
) -> None:
    values: dict[str, Value] = {"name": "web", "serverType": "cx23", "image": "debian-12"}
    clouds.delete(clouds.make(hcloud.SERVER, **values, shutdownBeforeDeletion=shutdown))
    assert [spec.running for specs in clouds.fabric.history for spec in specs.values()] == powers
    assert clouds.fabric.history[-1] == {}


def test_a_protected_server_is_not_shut_down_either(clouds: Harness) -> None:
    values: dict[str, Value] = {"name": "web", "serverType": "cx23", "image": "debian-12", "deleteProtection": True}
    server = clouds.make(hcloud.SERVER, **values, rebuildProtection=True, shutdownBeforeDeletion=True)
    with pytest.raises(RefusedError, match="protected"):
        clouds.delete(server)
    assert all(spec.running for specs in clouds.fabric.history for spec in specs.values())
