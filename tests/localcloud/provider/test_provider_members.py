"""Members of groups as machines, what they hold on to in the clouds, and what becomes of them with their group."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from localcloud.provider import groups, members, unclaimed
from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.provider.clouds.gcp.projection import project_number
from localcloud.provider.members import MEMBER
from localcloud.provider.world import load
from localcloud.spec import Interface, MachineSpec, Rule
from localcloud.wire import UNKNOWN, Value
from overlay.pools import member_name
from tests.localcloud.provider.harness import Harness, RefusedError
from tests.localcloud.provider.scenery import ED25519, REGION, ZONE, launched, make_aws, make_gcp
from tests.localcloud.provider.simulation import AWS, GCP, Simulation


def test_an_aws_member_is_what_its_template_said(aws_pool: Simulation) -> None:
    made, node = aws_pool.made, aws_pool.nodes(AWS)[0]
    member = aws_pool.record(node)
    assert re.fullmatch(r"i-0[0-9a-f]{16}", member.id)
    assert node == member_name("aws-burst", member.id)
    assert aws_pool.clouds.fabric.machine(node) == MachineSpec(
        id=member.id,
        node=node,
        cloud="aws",
        hostname="ip-10-60-0-5",
        user_data="#cloud-config\n",
        ssh_keys=(ED25519,),
        interfaces=(Interface("eth0", made["vpc"].id, "10.60.0.5", 26, 9001, public=member.facts.text("publicIp")),),
        ingress=(Rule("tcp", (22, 22), ("203.0.113.0/24",)),),
        egress=(Rule("any", None, ("0.0.0.0/0",)),),
        forwarding=False,
        metadata={
            "account": "123456789012",
            "group": "pool",
            "image": made["template"].text("imageId"),
            "imds": {"enabled": True, "tokens_required": True, "hop_limit": 1, "instance_tags": False},
            "instance_type": "t3.small",
            "labels": {
                "Name": "dev-aws-burst",
                "aws:autoscaling:groupName": "pool",
                "pool": "aws-burst",
                "stack": "dev",
            },
            "lifecycle": "spot",
            "lifecycle_state": "InService",
            "pool": "aws-burst",
            "region": "eu-central-1",
            "role": "pool",
            "zone": "eu-central-1a",
        },
    )


def test_a_gcp_member_is_what_its_template_said(gcp_pool: Simulation) -> None:
    made, node = gcp_pool.made, gcp_pool.nodes(GCP)[0]
    member = gcp_pool.record(node)
    assert node == member_name("gcp-burst", member.id)
    spec = gcp_pool.clouds.fabric.machine(node)
    assert re.fullmatch(r"pool-[0-9a-z]{4}", spec.hostname)
    assert spec == MachineSpec(
        id=f"gcp-{member.id}",
        node=node,
        cloud="gcp",
        hostname=spec.hostname,
        user_data="#cloud-config\n",
        ssh_keys=(ED25519,),
        interfaces=(Interface("eth0", f"gcp-{made['gnetwork'].id}", "10.70.0.3", 24, 1460, nat="198.18.9.1"),),
        ingress=(Rule("udp", (51820, 51820), ("0.0.0.0/0",)),),
        egress=None,
        forwarding=False,
        metadata={
            "created": members.clock(gcp_pool.now),
            "group": "pool",
            "image": "ubuntu-os-cloud/ubuntu-2204-lts",
            "instance_id": member.id,
            "instance_type": "e2-small",
            "labels": {"pool": "gcp-burst"},
            "name": spec.hostname,
            "pool": "gcp-burst",
            "preempted": False,
            "preemptible": True,
            "project": "my-project",
            "project_number": project_number("my-project"),
            "region": REGION,
            "service_account": "gcp-burst@my-project.iam.gserviceaccount.com",
            "zone": ZONE,
        },
    )


def test_a_public_address_is_given_where_it_is_asked_for(aws_pool: Simulation, gcp_pool: Simulation) -> None:
    card: dict[str, Value] = {"deviceIndex": 0, "securityGroups": [aws_pool.made["other"].id]}
    private: Value = [{**card, "associatePublicIpAddress": "false"}]
    aws_pool.clouds.update(aws_pool.made["template"], networkInterfaces=private)
    aws_pool.scale(AWS, 3)
    aws_pool.settle()
    machine = aws_pool.clouds.fabric.machine(aws_pool.nodes(AWS)[2])
    assert machine.interfaces[0].public is None
    aws_pool.clouds.update(aws_pool.made["template"], networkInterfaces=[card])
    aws_pool.clouds.update(aws_pool.made["subnet"], mapPublicIpOnLaunch=True)
    aws_pool.scale(AWS, 4)
    aws_pool.settle()
    assert aws_pool.clouds.fabric.machine(aws_pool.nodes(AWS)[3]).interfaces[0].public is not None
    made = gcp_pool.made
    public: Value = [{"subnetwork": made["gsubnet"].id, "accessConfigs": [{}]}]
    inputs: dict[str, Value] = {**made["gtemplate"].inputs, "networkInterfaces": public}
    template = gcp_pool.clouds.make(gcp.INSTANCE_TEMPLATE, "public", **inputs)
    gcp_pool.clouds.update(made["manager"], versions=[{"instanceTemplate": template.id}])
    gcp_pool.scale(GCP, 3)
    gcp_pool.settle()
    interface = gcp_pool.clouds.fabric.machine(gcp_pool.nodes(GCP)[2]).interfaces[0]
    assert interface.public is not None
    assert interface.nat is None


def test_a_template_that_changes_makes_a_version_and_changes_no_member(aws_pool: Simulation) -> None:
    clouds, made = aws_pool.clouds, aws_pool.made
    assert (made["template"].outputs["latestVersion"], made["template"].outputs["defaultVersion"]) == (1, 1)
    image = made["template"].text("imageId")
    template = clouds.update(made["template"], **launched(image, made["other"].id, "new"))
    assert (template.outputs["latestVersion"], template.outputs["defaultVersion"]) == (2, 1)
    template = clouds.update(template, tags={"a": "b"})
    assert template.outputs["latestVersion"] == 2, "tags are the template's own"
    aws_pool.scale(AWS, 3)
    aws_pool.settle()
    assert [clouds.fabric.machine(node).user_data for node in aws_pool.nodes(AWS)] == [
        "#cloud-config\n",
        "#cloud-config\n",
        "new",
    ]
    template = clouds.update(template, updateDefaultVersion=True, keyName=None)
    assert (template.outputs["latestVersion"], template.outputs["defaultVersion"]) == (3, 3)
    template = clouds.update(template, updateDefaultVersion=None, defaultVersion=1)
    assert (template.outputs["latestVersion"], template.outputs["defaultVersion"]) == (3, 1)
    with pytest.raises(RefusedError, match="Could not find the specified version 4"):
        clouds.update(template, defaultVersion=4)


def test_a_preview_leaves_the_number_of_a_version_unknown_that_is_yet_to_come(clouds: Harness) -> None:
    template = make_aws(clouds)["template"]
    assert clouds.preview_update(template, userData="bmV3")["latestVersion"] is UNKNOWN
    told = clouds.preview_update(template, tags={"a": "b"})
    assert (told["latestVersion"], told["defaultVersion"]) == (1, 1)


def test_a_group_that_is_named_stands_for_its_members_too(aws_pool: Simulation) -> None:
    made = aws_pool.made
    rule: dict[str, Value] = {"ipProtocol": "icmp", "fromPort": -1, "toPort": -1}
    rule |= {"securityGroupId": made["group"].id, "referencedSecurityGroupId": made["other"].id}
    aws_pool.clouds.make(aws.INGRESS_RULE, "named", **rule)
    sources = next(
        rule.sources for rule in aws_pool.clouds.fabric.machine("aws-1").ingress or () if rule.protocol == "icmp"
    )
    assert set(sources) == {"10.60.0.4/32", "10.60.0.5/32", "10.60.0.6/32"}


def test_a_tag_that_is_named_stands_for_members_too(gcp_pool: Simulation) -> None:
    gcp_pool.clouds.make(gcp.FIREWALL, "named", name="named", network="net", allows=[{"protocol": "icmp"}],
                         sourceTags=["spoke"])  # fmt: skip
    sources = next(
        rule.sources for rule in gcp_pool.clouds.fabric.machine("gcp-1").ingress or () if rule.protocol == "icmp"
    )
    assert set(sources) == {"10.70.0.2/32", "10.70.0.3/32", "10.70.0.4/32"}


def test_an_instance_gets_no_address_that_a_member_has(aws_pool: Simulation, gcp_pool: Simulation) -> None:
    made = {**aws_pool.made, **gcp_pool.made}
    inputs: dict[str, Value] = {**made["instance"].inputs, "tags": {"node": "aws-2"}}
    aws_pool.clouds.make(aws.INSTANCE, "aws-2", **inputs)
    cards = [aws_pool.clouds.fabric.machine(node).interfaces[0] for node in ("aws-1", "aws-2", *aws_pool.nodes(AWS))]
    assert len({card.address for card in cards}) == len({card.public for card in cards}) == 4
    with pytest.raises(RefusedError, match=r"Address 10\.60\.0\.5 is in use"):
        aws_pool.clouds.make(aws.INSTANCE, "aws-3", **inputs, privateIp="10.60.0.5")
    taken: Value = [{"subnetwork": made["gsubnet"].id, "networkIp": "10.70.0.3"}]
    other: dict[str, Value] = {**made["ginstance"].inputs, "name": "gcp-2", "networkInterfaces": taken}
    with pytest.raises(RefusedError, match="already being used"):
        gcp_pool.clouds.make(gcp.INSTANCE, "gcp-2", **other)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("subnet", "DependencyViolation: The subnet"),
        ("other", "has a dependent object"),
        ("gateway", "has some mapped public address(es)"),
        ("role", "must remove roles from instance profile first"),
    ],
)
def test_aws_keeps_what_members_use(aws_pool: Simulation, name: str, reason: str) -> None:
    aws_pool.clouds.delete(aws_pool.made["instance"])
    with pytest.raises(RefusedError, match=re.escape(reason)):
        aws_pool.clouds.delete(aws_pool.made[name])


@pytest.mark.parametrize("name", ["gsubnet", "gtemplate"])
def test_gcp_keeps_what_members_use(gcp_pool: Simulation, name: str) -> None:
    gcp_pool.clouds.delete(gcp_pool.made["ginstance"])
    with pytest.raises(RefusedError, match="resourceInUseByAnotherResource"):
        gcp_pool.clouds.delete(gcp_pool.made[name])


def test_amazon_lets_a_template_go_and_its_group_launches_no_more(aws_pool: Simulation) -> None:
    aws_pool.clouds.delete(aws_pool.made["template"])
    aws_pool.end(aws_pool.nodes("pool")[0])
    aws_pool.settle()
    assert len(aws_pool.pool("pool").members) == 1


def test_a_group_goes_with_its_members_when_it_is_told_to(aws_pool: Simulation, gcp_pool: Simulation) -> None:
    group = aws_pool.clouds.update(aws_pool.made["scaling"], forceDelete=False)
    with pytest.raises(RefusedError, match="ResourceInUse: You cannot delete an AutoScalingGroup while there are"):
        aws_pool.clouds.delete(group)
    aws_pool.clouds.delete(aws_pool.clouds.update(group, forceDelete=True))
    gcp_pool.clouds.delete(gcp_pool.made["manager"])
    assert aws_pool.clouds.fabric.nodes == ["aws-1", "gcp-1"]
    assert list(aws_pool.world.all(MEMBER)) == []


def test_members_outlive_the_servers(tmp_path: Path) -> None:
    clouds = Harness(tmp_path)
    before = Simulation(clouds, {**make_aws(clouds), **make_gcp(clouds)})
    before.settle()
    specs = clouds.fabric.history[-1]
    clouds.close()
    again = Harness(tmp_path)
    try:
        after = Simulation(again, before.made, now=before.now)
        assert groups.advance(again.ledger, lambda: dict.fromkeys(specs, "running"), after.now + 1000) == ()
        assert (after.nodes(AWS), after.nodes(GCP)) == (before.nodes(AWS), before.nodes(GCP))
        assert again.fabric.history == []
        after.scale(AWS, 3)
        after.step()
        assert specs.items() <= again.fabric.history[-1].items()
    finally:
        again.close()


def test_a_group_that_its_engine_never_heard_of_is_taken_away_with_its_members(tmp_path: Path) -> None:
    clouds = Harness(tmp_path)
    made = make_aws(clouds)
    group = clouds.update(made["scaling"], forceDelete=False)
    Simulation(clouds, made).settle()
    assert len(clouds.fabric.nodes) == 3
    cloud, fabric = clouds.cloud, clouds.fabric
    clouds.close()
    records = json.loads(cloud.world.read_text())["records"]
    urn = next(record["urn"] for record in records if record["id"] == group.id and record["token"] == group.token)
    assert unclaimed.remove(cloud, fabric, {urn: set()}) == [urn]
    assert fabric.nodes == ["aws-1"]
    assert list(load(cloud.world).all(MEMBER)) == []
