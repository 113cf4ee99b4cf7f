"""Pools: what is registered on each cloud, and what a change of a pool's settings reaches."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any, cast

import pytest
import yaml

from components.keys import join_token, seal_key
from overlay.pools import token_digest
from tests.components.configs import burst, changed, static
from tests.components.recorder import ACCOUNT, Registered, Run, is_secret, key_pem, masked, run_program

AWS_NAME = "hybrid-wireguard-dev-aws-burst"
GCP_NAME = "hybrid-wireguard-dev-gcp-burst"
OURS = {"stack": "dev", "role": "burst"}
POOLS = ("aws-burst", "gcp-burst", "hetzner-base")


@pytest.fixture(scope="module")
def program() -> Run:
    """One run with a pool on each cloud; nothing changes it."""
    return run_program(burst())


def token_of(pool: str, revision: int = 1) -> str:
    return join_token(key_pem(f"{pool}-token", "ED25519")[0], revision)


def documents(run: Run) -> dict[str, str]:
    """The first-boot document of each pool's machines, by pool; it must be secret where it stands."""
    template = run.named("aws-burst-template").raw["userData"]
    metadata = run.named("gcp-burst-template").raw["metadata"]
    servers = [run.named(f"hetzner-base-{number}-server").raw["userData"] for number in range(1, 13)]
    assert all(is_secret(found) for found in (template, metadata, *servers))
    (server,) = {found["value"] for found in servers}
    return {
        "aws-burst": base64.b64decode(template["value"]).decode(),
        "gcp-burst": metadata["value"]["user-data"],
        "hetzner-base": server,
    }


def files_of(document: str) -> dict[str, Any]:
    return {file["path"]: file for file in yaml.safe_load(document)["write_files"]}


def difference(before: Run, after: Run) -> set[str]:
    """The names of the cloud's resources that one run registers otherwise than the other."""

    def told(run: Run) -> dict[str, Any]:
        return {f"{r.type} {r.name}": (r.raw, r.ignored, r.request.deleteBeforeReplace) for r in run.resources}

    first, second = told(before), told(after)
    return {key.split()[1] for key in first.keys() | second.keys() if first.get(key) != second.get(key)}


def children(run: Run, pool: str) -> list[Registered]:
    return [resource for resource in run.resources if resource.parent == pool]


def test_a_pool_is_these_resources_and_no_others(program: Run) -> None:
    kinds = {pool: Counter(r.type.rpartition(":")[2] for r in children(program, pool)) for pool in POOLS}
    assert kinds == {
        "aws-burst": {
            "PrivateKey": 1,
            "Role": 1,
            "InstanceProfile": 1,
            "SecurityGroup": 1,
            "SecurityGroupEgressRule": 2,
            "LaunchTemplate": 1,
            "Group": 1,
        },
        "gcp-burst": {
            "PrivateKey": 1,
            "Account": 1,
            "Firewall": 1,
            "InstanceTemplate": 1,
            "RegionInstanceGroupManager": 1,
        },
        "hetzner-base": {"PrivateKey": 1, "Firewall": 1, "PlacementGroup": 2, "Server": 12},
    }
    assert difference(run_program(static()), program) == {
        *POOLS,
        *(r.name for pool in POOLS for r in children(program, pool)),
        "roster",
    }, "a pool leaves every other resource as it is"


def test_no_rule_lets_anything_in_to_a_pools_machines(program: Run) -> None:
    closed = program.named("aws-burst-closed")
    rules = program.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    assert rules, "the spokes' group has some"
    assert closed.id not in {rule.inputs["securityGroupId"] for rule in rules}
    assert not {"ingress", "egress"} & set(closed.inputs)
    (interface,) = program.named("aws-burst-template").inputs["networkInterfaces"]
    assert interface["securityGroups"] == [closed.id]
    deny = program.named("gcp-burst-closed").inputs
    assert (deny["direction"], deny["denies"], deny["sourceRanges"]) == (
        "INGRESS",
        [{"protocol": "all"}],
        ["0.0.0.0/0"],
    )
    assert "allows" not in deny
    assert deny["targetTags"] == program.named("gcp-burst-template").inputs["tags"] == [GCP_NAME]
    assert program.named("hetzner-base-firewall").inputs["rules"] == []
    firewall = float(program.named("hetzner-base-firewall").id)
    assert program.named("hetzner-base-3-server").inputs["firewallIds"] == [firewall]


def test_the_launch_template_is_closed_where_it_should_be(program: Run) -> None:
    template = program.named("aws-burst-template").inputs
    assert template["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    (disk,) = template["blockDeviceMappings"]
    assert (disk["deviceName"], disk["ebs"]["encrypted"], disk["ebs"]["volumeType"]) == ("/dev/sda1", "true", "gp3")
    assert template["instanceInitiatedShutdownBehavior"] == "terminate"
    assert template["iamInstanceProfile"] == {"name": AWS_NAME}
    (interface,) = template["networkInterfaces"]
    assert interface["associatePublicIpAddress"] == "true"
    assert not {"vpcSecurityGroupIds", "instanceType", "instanceMarketOptions"} & set(template), "the group's to say"
    tags = {spec["resourceType"]: spec["tags"] for spec in template["tagSpecifications"]}
    assert tags["instance"] == {**OURS, "Name": AWS_NAME, "site": "aws", "pool": "aws-burst"}
    assert tags["volume"] == tags["instance"]


def test_the_role_of_a_pool_may_do_nothing(program: Run) -> None:
    role = program.named("aws-burst-role").inputs
    (statement,) = json.loads(role["assumeRolePolicy"])["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "ec2.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    assert set(role) == {"name", "assumeRolePolicy", "tags"}
    assert not [r for r in program.resources if "olicy" in r.type]


def test_the_auto_scaling_group_is_of_spot_machines_and_gives_them_time_to_leave(program: Run) -> None:
    group = program.named("aws-burst-group").inputs
    assert (group["name"], group["minSize"], group["maxSize"]) == (AWS_NAME, 1, 6)
    assert "desiredCapacity" not in group, "whoever scales it says how many"
    policy = group["mixedInstancesPolicy"]
    assert policy["instancesDistribution"] == {
        "onDemandBaseCapacity": 0,
        "onDemandPercentageAboveBaseCapacity": 0,
        "spotAllocationStrategy": "capacity-optimized",
    }
    assert group["capacityRebalance"] is True
    assert group["initialLifecycleHooks"] == [
        {
            "name": "leave",
            "lifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
            "heartbeatTimeout": 120,
            "defaultResult": "CONTINUE",
        }
    ]
    assert group["waitForCapacityTimeout"] == "0", "spot capacity may be long in coming"
    assert group["forceDelete"] is True
    assert [tag["key"] for tag in group["tags"]] == sorted(tag["key"] for tag in group["tags"])
    assert not any(tag["propagateAtLaunch"] for tag in group["tags"]), "the template tags the machines"


def test_new_machines_take_the_newest_template_and_running_ones_are_left_alone(program: Run) -> None:
    group = program.named("aws-burst-group").inputs
    launch = group["mixedInstancesPolicy"]["launchTemplate"]["launchTemplateSpecification"]
    assert launch == {"launchTemplateId": program.named("aws-burst-template").id, "version": "$Latest"}
    assert "instanceRefresh" not in group
    update = program.named("gcp-burst-group").inputs["updatePolicy"]
    assert update == {"type": "OPPORTUNISTIC", "minimalAction": "REPLACE", "instanceRedistributionType": "NONE"}
    repair = program.named("gcp-burst-group").inputs["instanceLifecyclePolicy"]
    assert repair == {"forceUpdateOnRepair": "YES"}, "what comes back after a preemption is new too"
    for name in ("aws-burst-template", "gcp-burst-template"):
        assert not program.named(name).ignored, "new machines must get the new document"
        assert not program.named(name).request.replacement_trigger.number_value


def test_several_types_and_an_on_demand_base_are_the_groups() -> None:
    types = ["g5.xlarge", "g6.xlarge", "g4dn.xlarge"]
    changes = {"pools/aws-burst/serverTypes": types, "pools/aws-burst/onDemandBase": 2}
    policy = run_program(burst(changes)).named("aws-burst-group").inputs["mixedInstancesPolicy"]
    assert [override["instanceType"] for override in policy["launchTemplate"]["overrides"]] == types
    assert policy["instancesDistribution"]["onDemandBaseCapacity"] == 2


def test_the_instance_template_is_of_shielded_spot_machines_without_a_public_address(program: Run) -> None:
    template = program.named("gcp-burst-template").inputs
    assert template["scheduling"] == {
        "provisioningModel": "SPOT",
        "preemptible": True,
        "automaticRestart": False,
        "onHostMaintenance": "TERMINATE",
        "instanceTerminationAction": "STOP",
    }
    assert template["shieldedInstanceConfig"] == {
        "enableSecureBoot": True,
        "enableVtpm": True,
        "enableIntegrityMonitoring": True,
    }
    assert "accessConfigs" not in template["networkInterfaces"][0]
    assert template["canIpForward"] is False
    assert template["labels"] == {**OURS, "site": "gcp", "pool": "gcp-burst"}
    account = program.named("gcp-burst-account")
    assert account.inputs["accountId"] == GCP_NAME
    assert template["serviceAccount"]["email"] == f"{GCP_NAME}@hybrid-wireguard-dev.iam.gserviceaccount.com"
    assert not [r for r in program.resources if "iam" in r.type.lower() and r.type.startswith("gcp:")], "without roles"
    assert "name" not in template, "the next template must exist before this one goes"
    assert not program.named("gcp-burst-template").request.deleteBeforeReplace


def test_a_public_address_is_as_the_settings_say() -> None:
    own = {"sites/aws/vpcId": "vpc-1", "sites/aws/subnetId": "subnet-1", "pools/aws-burst/publicAddress": False}
    run = run_program(burst({**own, "pools/gcp-burst/publicAddress": True}))
    assert run.named("aws-burst-template").inputs["networkInterfaces"][0]["associatePublicIpAddress"] == "false"
    assert run.named("aws-burst-group").inputs["vpcZoneIdentifiers"] == ["subnet-1"]
    assert run.named("gcp-burst-template").inputs["networkInterfaces"][0]["accessConfigs"] == [{}]


def test_the_managed_group_starts_at_the_smallest_size_and_is_its_scalers_then(program: Run) -> None:
    group = program.named("gcp-burst-group")
    assert group.inputs["targetSize"] == 1
    assert group.ignored == {"targetSize"}
    template = group.inputs["versions"][0]["instanceTemplate"]
    assert template == f"instanceTemplates/{GCP_NAME}-1?uniqueId=7"
    assert group.inputs["baseInstanceName"] == GCP_NAME


def test_machines_boot_only_once_their_network_has_a_way_out(program: Run) -> None:
    for name, ready in (("aws-burst-group", "aws-association"), ("gcp-burst-group", "gcp-nat")):
        assert any(urn.endswith(f"::{ready}") for urn in program.named(name).request.dependencies), name


@pytest.mark.parametrize("pool", POOLS)
def test_machines_are_told_their_pool_and_its_token_and_no_key(program: Run, pool: str) -> None:
    document = documents(program)[pool]
    files = files_of(document)
    config = json.loads(files["/etc/hybridnet/config.json"]["content"])
    cloud = pool.split("-", maxsplit=1)[0]
    assert (config["role"], config["name"], config["cloud"]) == ("pool", pool, cloud)
    assert config["control"] == "198.51.100.1:8443", "the gateway's address on the internet"
    assert files["/etc/hybridnet/token"]["content"].strip() == token_of(pool)
    assert "PRIVATE KEY" not in document
    assert [other for other in POOLS if token_of(other) in document] == [pool]


def test_the_users_scripts_reach_the_machines() -> None:
    scripts = {"pools/aws-burst/userSetup": "systemctl start model\n", "pools/gcp-burst/drainHook": "sleep 5\n"}
    found = documents(run_program(burst(scripts)))
    assert "systemctl start model" in files_of(found["aws-burst"])["/etc/hybridnet/setup"]["content"]
    assert "sleep 5" in files_of(found["gcp-burst"])["/etc/hybridnet/drain"]["content"]


def test_the_gateway_gets_the_key_that_seals_leases(program: Run) -> None:
    raw = program.named("hetzner-gw-server").raw["userData"]
    assert is_secret(raw)
    seal = seal_key(key_pem("stack-seal", "ED25519")[0])
    assert files_of(raw["value"])["/etc/hybridnet/seal.key"]["content"].strip() == seal
    assert len(base64.b64decode(seal)) == 32


def test_no_token_and_no_sealing_key_stands_in_a_plain_input_or_output(program: Run) -> None:
    shown = json.dumps([masked(r.raw) for r in program.resources] + [masked(program.outputs)])
    secrets = [*map(token_of, POOLS), seal_key(key_pem("stack-seal", "ED25519")[0])]
    assert [secret for secret in secrets if secret in shown] == []
    everything = json.dumps([r.raw for r in program.resources] + [cast("Any", program.outputs)])
    assert [secret for secret in secrets if secret not in everything] == [], "they are looked for as they would stand"


def test_the_roster_has_each_pool_by_name_with_its_tokens_digest_in_plain(program: Run) -> None:
    roster = program.named("roster")
    assert {key for key, value in roster.raw.items() if is_secret(value)} == {"signingKey", "__provider"}
    assert roster.raw["pools"]["aws-burst"] == {
        "site": "aws",
        "range": "10.100.2.128/25",
        "limit": 6,
        "tokenSha256": token_digest(token_of("aws-burst")),
        "ttl": 300,
        "rest": 600,
        "port": 8000,
        "healthPath": "/health",
    }
    assert set(roster.raw["pools"]) == set(POOLS)


def test_a_preview_shows_a_new_pool_as_one_key_of_the_roster(program: Run) -> None:
    fewer = run_program(burst({"pools/gcp-burst": ...})).named("roster").inputs
    more = program.named("roster").inputs
    assert {key for key in more if more[key] != fewer[key]} == {"pools", "loadBalancer", "paths"}
    balanced = {key for key, value in more["loadBalancer"].items() if value != fewer["loadBalancer"][key]}
    assert balanced == {"pools"}
    for after, before in ((more, fewer), (more["loadBalancer"], fewer["loadBalancer"])):
        assert {name: pool for name, pool in after["pools"].items() if name != "gcp-burst"} == before["pools"]


def test_a_new_token_reaches_the_template_and_the_roster_and_no_machine(program: Run) -> None:
    rotated = run_program(burst({"pools/aws-burst/tokenRevision": 2, "pools/hetzner-base/tokenRevision": 2}))
    servers = {f"hetzner-base-{number}-server" for number in range(1, 13)}
    assert difference(program, rotated) == {"aws-burst-template", "roster", *servers}
    assert all("userData" in rotated.named(name).ignored for name in servers), "which changes none of them"
    assert token_of("aws-burst", 2) in documents(rotated)["aws-burst"]
    digest = rotated.named("roster").inputs["pools"]["aws-burst"]["tokenSha256"]
    assert digest == token_digest(token_of("aws-burst", 2))
    assert digest != program.named("roster").inputs["pools"]["aws-burst"]["tokenSha256"]


def test_a_new_token_on_gcp_makes_a_new_template(program: Run) -> None:
    rotated = run_program(burst({"pools/gcp-burst/tokenRevision": 2}))
    assert difference(program, rotated) == {"gcp-burst-template", "roster"}
    assert token_of("gcp-burst", 2) in documents(rotated)["gcp-burst"]


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({"pools/aws-burst/userSetup": "true"}, {"aws-burst-template"}),
        ({"pools/gcp-burst/drainHook": "true"}, {"gcp-burst-template"}),
        ({"pools/aws-burst/image": "debian-12"}, {"aws-burst-template"}),
        ({"pools/aws-burst/max": 9}, {"aws-burst-group", "roster"}),
        ({"pools/gcp-burst/min": 2}, {"gcp-burst-group"}),
        ({"pools/gcp-burst/leaseTtl": 120}, {"roster"}),
        ({"pools/gcp-burst/healthPath": "/ready"}, {"roster"}),
    ],
)
def test_a_change_reaches_no_more_than_it_must(program: Run, changes: dict[str, Any], reached: set[str]) -> None:
    assert difference(program, run_program(burst(changes))) == reached


def test_an_ami_by_its_id_is_asked_for_the_name_of_its_root_disk() -> None:
    template = run_program(burst({"pools/aws-burst/image": "ami-0123"})).named("aws-burst-template").inputs
    assert template["imageId"] == "ami-0123"
    assert template["blockDeviceMappings"][0]["deviceName"] == "/dev/xvda", "else another disk would be encrypted"


def test_labels_are_on_the_machines_beside_the_stacks_own() -> None:
    labels = {"team": "ml"}
    run = run_program(burst({f"pools/{pool}/labels": labels for pool in POOLS}))
    (tags, _) = (spec["tags"] for spec in run.named("aws-burst-template").inputs["tagSpecifications"])
    for found in (
        tags,
        run.named("gcp-burst-template").inputs["labels"],
        run.named("hetzner-base-1-server").inputs["labels"],
    ):
        assert found.items() >= {**OURS, **labels}.items()


def test_identity_is_asked_for_where_the_settings_say(rsa_certificate: str) -> None:
    asked = {"pools/aws-burst/requireIdentity": True, "pools/gcp-burst/requireIdentity": True}
    # As YAML's folded lines might leave it: the roster has it in one form only.
    loose = f"AWS, eu-central-1\n{rsa_certificate}\n"
    run = run_program(burst({**asked, "sites/aws/identityCertificates": [loose]}))
    pools = run.named("roster").inputs["pools"]
    assert pools["aws-burst"]["identity"] == {
        "cloud": "aws",
        "account": ACCOUNT,
        "region": "eu-central-1",
        "certificates": [rsa_certificate],
    }
    assert pools["gcp-burst"]["identity"] == {"cloud": "gcp", "project": "hybrid-wireguard-dev"}
    assert documents(run) == documents(run_program(burst())), "machines that run already could not be told"


def test_a_site_with_a_pool_alone_has_its_network() -> None:
    alone = changed(burst(), {"spokes/aws-1": ..., "spokes/gcp-1": ...})
    run = run_program(alone)
    assert run.named("aws-burst-group").inputs["vpcZoneIdentifiers"] == [run.named("aws-subnet").id]
    assert run.named("gcp-nat")
