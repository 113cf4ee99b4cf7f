"""What the program registers for the dev stack without its pools: which resources, with which inputs and options."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import yaml

from components.keys import public_key_of, wireguard_key
from tests.components.configs import KEY, changed, static
from tests.components.recorder import GATEWAY_IP, Run, is_secret, key_pem, masked, run_program

ANYWHERE = ["0.0.0.0/0", "::/0"]
ADMINS = ["203.0.113.0/24"]
MACHINES = ("hetzner-gw-server", "hetzner-1-server", "hetzner-2-server", "aws-1-instance", "gcp-1-instance")


@pytest.fixture(scope="module")
def program() -> Run:
    """One run; nothing changes it."""
    return run_program(static())


def user_data_of(run: Run, name: str) -> str:
    """The machine's user data, which must be secret; GCP's metadata is so as a whole, once one of its values is."""
    raw = run.named(name).raw
    found = raw["userData"] if "userData" in raw else raw["metadata"]
    assert is_secret(found)
    return found["value"] if "userData" in raw else found["value"]["user-data"]


def test_exactly_these_resources_are_registered(program: Run) -> None:
    assert Counter(resource.type.rpartition(":")[2] for resource in program.resources) == {
        "StackKeys": 1,
        "CertificateAuthority": 1,
        "HetznerNetwork": 1,
        "AwsNetwork": 1,
        "GcpNetwork": 1,
        "WgGateway": 1,
        "WgSpoke": 4,
        "PrivateKey": 11,  # signing, sealing, SSH, authority, two of the gateway's TLS, and one a node
        "SelfSignedCert": 1,
        "CertRequest": 2,  # for the control plane and for requests
        "LocallySignedCert": 2,
        "SshKey": 1,
        "PrimaryIp": 1,
        "Server": 3,
        "Vpc": 1,
        "Subnet": 1,
        "InternetGateway": 1,
        "RouteTable": 1,
        "RouteTableAssociation": 1,
        "KeyPair": 1,
        "SecurityGroup": 2,
        "SecurityGroupIngressRule": 4,
        "SecurityGroupEgressRule": 2,
        "Instance": 2,  # one on AWS, one on GCP
        "Network": 1,
        "Subnetwork": 1,
        "Router": 1,
        "RouterNat": 1,
        "Firewall": 5,  # two of Hetzner, three rules of GCP
        "Release": 1,
        "Roster": 1,
        "Credentials": 1,
        "ControlCertificate": 1,
    }


def test_every_resource_of_a_component_is_its_child(program: Run) -> None:
    components = {r.name for r in program.resources if not r.request.custom}
    escaped = {r.name for r in program.resources if r.request.custom and r.parent not in components}
    assert escaped == {"ssh-key", "release", "roster", "hetzner-gw-control", "hetzner-gw-credentials"}


def test_the_gateways_server_has_its_name_type_place_and_labels(program: Run) -> None:
    server = program.named("hetzner-gw-server").inputs
    assert server["name"] == "hybrid-wireguard-dev-wg-gateway"
    assert server["serverType"] == "cx23"
    assert server["image"] == "ubuntu-22.04"
    assert server["location"] == "fsn1"
    assert server["labels"] == {
        "node": "hetzner-gw",
        "site": "hetzner",
        "role": "wireguard-gateway",
        "stack": "dev",
    }
    address = program.named("hetzner-gw-address")
    assert server["publicNets"] == [{"ipv4Enabled": True, "ipv4": int(address.id), "ipv6Enabled": True}]


def test_the_gateways_address_outlives_its_server(program: Run) -> None:
    address = program.named("hetzner-gw-address").inputs
    assert address["autoDelete"] is False
    assert address["type"] == "ipv4"
    assert "assigneeId" not in address


def test_the_gateways_firewall_lets_in_exactly_this(program: Run) -> None:
    rules = program.named("hetzner-gw-firewall").inputs["rules"]
    assert [(r["direction"], r["protocol"], r["port"], r["sourceIps"]) for r in rules] == [
        ("in", "udp", "51820-51821", ANYWHERE),
        ("in", "tcp", "8443", ANYWHERE),
        ("in", "tcp", "22", ADMINS),
        ("in", "tcp", "443", ANYWHERE),
    ]


def test_narrowed_wireguard_sources_reach_firewall_and_roster() -> None:
    run = run_program(changed(static(), {"wireguardSources": ["198.51.100.9/32"]}))
    assert run.named("hetzner-gw-firewall").inputs["rules"][0]["sourceIps"] == ["198.51.100.9/32"]
    assert run.named("roster").inputs["wireguardSources"] == ["198.51.100.9/32"]


def test_without_admin_networks_nobody_may_use_ssh() -> None:
    run = run_program(changed(static(), {"adminCidrs": []}))
    ports = [rule.get("port") for r in run.of_type("hcloud:index/firewall:Firewall") for rule in r.inputs["rules"]]
    assert "22" not in ports
    assert not [r for r in run.resources if r.name in ("aws-ssh-group", "gcp-ssh")]


def test_hetzner_spokes_let_in_exactly_this(program: Run) -> None:
    rules = program.named("hetzner-firewall").inputs["rules"]
    assert [(r["protocol"], r.get("port"), r["sourceIps"]) for r in rules] == [
        ("udp", "51820", ANYWHERE),
        ("tcp", "any", ["10.100.0.0/16"]),
        ("udp", "any", ["10.100.0.0/16"]),
        ("icmp", None, ["10.100.0.0/16"]),
        ("tcp", "22", ADMINS),
    ]
    assert {rule["direction"] for rule in rules} == {"in"}


def test_aws_spokes_let_in_exactly_this_and_everything_out(program: Run) -> None:
    rules = {r.name: r.inputs for r in program.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")}
    assert {
        name: (r["ipProtocol"], r.get("fromPort"), r.get("toPort"), r.get("cidrIpv4"), r.get("cidrIpv6"))
        for name, r in rules.items()
    } == {
        "aws-wireguard-ipv4": ("udp", 51820, 51820, "0.0.0.0/0", None),
        "aws-wireguard-ipv6": ("udp", 51820, 51820, None, "::/0"),
        "aws-overlay-10.100.0.0-16": ("-1", None, None, "10.100.0.0/16", None),
        "aws-ssh-203.0.113.0-24": ("tcp", 22, 22, "203.0.113.0/24", None),
    }
    out = [r.inputs for r in program.of_type("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")]
    assert [(r["ipProtocol"], r.get("cidrIpv4") or r.get("cidrIpv6")) for r in out] == [("-1", n) for n in ANYWHERE]
    assert not [r for r in program.of_type("aws:ec2/securityGroup:SecurityGroup") if "ingress" in r.inputs]


def test_gcp_spokes_let_in_exactly_this(program: Run) -> None:
    rules = {r.name: r.inputs for r in program.of_type("gcp:compute/firewall:Firewall")}
    assert {name: (r["allows"], r["sourceRanges"], r["targetTags"]) for name, r in rules.items()} == {
        "gcp-wireguard": (
            [{"protocol": "udp", "ports": ["51820"]}],
            ["0.0.0.0/0"],
            ["hybrid-wireguard-dev-gcp-spoke"],
        ),
        "gcp-overlay": ([{"protocol": "all"}], ["10.100.0.0/16"], ["hybrid-wireguard-dev-gcp-spoke"]),
        "gcp-ssh": ([{"protocol": "tcp", "ports": ["22"]}], ADMINS, ["hybrid-wireguard-dev-gcp-ssh"]),
    }
    assert program.named("gcp-1-instance").inputs["tags"] == ["hybrid-wireguard-dev-gcp-spoke"], "no SSH from outside"


def test_ssh_reaches_spokes_with_a_public_address_only() -> None:
    own = {"sites/aws/vpcId": "vpc-1", "sites/aws/subnetId": "subnet-1"}
    run = run_program(
        changed(static(), {**own, "spokes/aws-1/publicAddress": False, "spokes/gcp-1/publicAddress": True})
    )
    assert len(run.named("aws-1-instance").inputs["vpcSecurityGroupIds"]) == 1
    assert "hybrid-wireguard-dev-gcp-ssh" in run.named("gcp-1-instance").inputs["tags"]
    assert run.named("gcp-1-instance").inputs["networkInterfaces"][0]["accessConfigs"] == [{}]


def test_the_aws_instance_is_closed_where_it_should_be(program: Run) -> None:
    instance = program.named("aws-1-instance").inputs
    assert instance["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    assert instance["sourceDestCheck"] is True, "a spoke forwards nothing"
    assert instance["rootBlockDevice"]["encrypted"] is True
    assert instance["associatePublicIpAddress"] is True
    assert instance["ami"] == "ami-of-099720109477-in-eu-central-1"
    assert len(instance["vpcSecurityGroupIds"]) == 2


def test_every_aws_resource_names_its_region(program: Run) -> None:
    aws = [r for r in program.resources if r.type.startswith("aws:")]
    assert aws
    assert {r.inputs["region"] for r in aws} == {"eu-central-1"}


def test_the_gcp_instance_has_user_data_and_no_public_address(program: Run) -> None:
    instance = program.named("gcp-1-instance").inputs
    assert set(instance["metadata"]) == {"user-data", "ssh-keys", "block-project-ssh-keys"}
    assert instance["metadata"]["ssh-keys"].startswith("ubuntu:ssh-ed25519 ")
    assert instance["canIpForward"] is False
    assert instance["allowStoppingForUpdate"] is True, "without it Google refuses another machine type"
    assert "accessConfigs" not in instance["networkInterfaces"][0]
    assert program.named("gcp-nat").inputs["sourceSubnetworkIpRangesToNat"] == "ALL_SUBNETWORKS_ALL_IP_RANGES"
    assert program.named("gcp-network").inputs["autoCreateSubnetworks"] is False


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_carries_its_labels(program: Run, name: str) -> None:
    inputs = program.named(name).inputs
    found = inputs.get("labels") or inputs["tags"]
    assert {found[key] for key in ("node", "site", "stack")} == {name.rsplit("-", 1)[0], found["site"], "dev"}
    assert found["role"] == ("wireguard-gateway" if name == "hetzner-gw-server" else "wireguard-spoke")


def test_everything_that_takes_labels_has_them(program: Run) -> None:
    labelled = ("Server", "PrimaryIp", "SshKey")
    for resource in program.resources:
        kind = resource.type.rpartition(":")[2]
        if resource.type.startswith("hcloud:") and kind in (*labelled, "Firewall"):
            assert resource.inputs["labels"]["stack"] == "dev", resource.name
        if resource.type.startswith("aws:") and kind != "RouteTableAssociation":
            assert resource.inputs["tags"]["stack"] == "dev", resource.name


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("hetzner-gw-server", {"userData", "image", "sshKeys"}),
        ("hetzner-1-server", {"userData", "image", "sshKeys"}),
        ("aws-1-instance", {"userData", "ami", "keyName"}),
        ("gcp-1-instance", {"metadata", "bootDisk.initializeParams.image"}),
    ],
)
def test_no_edit_of_what_a_first_boot_was_told_replaces_a_machine(program: Run, name: str, ignored: set[str]) -> None:
    resource = program.named(name)
    assert resource.ignored == ignored
    assert resource.request.replacement_trigger.number_value == 1, "the revision is always set"
    assert resource.request.deleteBeforeReplace


def test_a_raised_revision_is_the_trigger_of_its_machine_alone() -> None:
    run = run_program(changed(static(), {"spokes/aws-1/revision": 2}))
    triggers = {name: run.named(name).request.replacement_trigger.number_value for name in MACHINES}
    assert triggers == {name: 2 if name == "aws-1-instance" else 1 for name in MACHINES}


@pytest.mark.parametrize("name", MACHINES)
def test_user_data_is_secret_and_holds_its_own_machines_key_alone(program: Run, name: str) -> None:
    text = user_data_of(program, name)
    assert text.startswith("#cloud-config\n")
    node = name.rsplit("-", 1)[0]
    keys = {other: wireguard_key(key_pem(f"{other}-key", "ED25519")[0]) for other in nodes()}
    assert [other for other, key in keys.items() if key in text] == [node]
    assert yaml.safe_load(text)


def nodes() -> list[str]:
    return ["hetzner-gw", "hetzner-1", "hetzner-2", "aws-1", "gcp-1"]


def test_spokes_are_told_the_gateways_address_and_key(program: Run) -> None:
    gateway_key = public_key_of(wireguard_key(key_pem("hetzner-gw-key", "ED25519")[0]))
    for name in MACHINES[1:]:
        text = user_data_of(program, name)
        assert f"{GATEWAY_IP}:51820" in text
        assert gateway_key in text


def test_no_secret_stands_in_a_plain_input_or_output(program: Run) -> None:
    shown = json.dumps([masked(r.raw) for r in program.resources] + [masked(program.outputs)])
    assert "PRIVATE KEY" not in shown
    for node in nodes():
        assert wireguard_key(key_pem(f"{node}-key", "ED25519")[0]) not in shown
    assert is_secret(program.outputs["join"])
    assert is_secret(program.outputs["ssh_private_key"])


def test_only_the_leaves_of_the_roster_that_must_be_are_secret_or_computed(program: Run) -> None:
    roster = program.named("roster")
    assert {key for key, value in roster.raw.items() if is_secret(value)} == {"signingKey", "__provider"}
    assert roster.inputs["nodes"] == {
        node: {
            "site": site,
            "role": "gateway" if node == "hetzner-gw" else "spoke",
            "address": address,
            "publicKey": public_key_of(wireguard_key(key_pem(f"{node}-key", "ED25519")[0])),
            **({"endpoint": f"{GATEWAY_IP}:51820"} if node == "hetzner-gw" else {}),
        }
        for node, site, address in [
            ("hetzner-gw", "hetzner", "10.100.0.1"),
            ("hetzner-1", "hetzner", "10.100.1.1"),
            ("hetzner-2", "hetzner", "10.100.1.2"),
            ("aws-1", "aws", "10.100.2.1"),
            ("gcp-1", "gcp", "10.100.3.1"),
        ]
    }
    server = program.named("hetzner-gw-server")
    assert roster.inputs["gateways"] == {"hetzner-gw": {"url": f"https://{GATEWAY_IP}:8443", "serverId": server.id}}


def test_the_roster_is_pushed_after_the_release(program: Run) -> None:
    assert any(urn.endswith("::release") for urn in program.named("roster").request.dependencies)


def test_a_given_private_key_takes_the_place_of_a_made_one() -> None:
    run = run_program(changed(static(), {"privateKeys": {"aws-1": KEY}}))
    assert not [r for r in run.resources if r.name == "aws-1-key"]
    assert run.named("roster").inputs["nodes"]["aws-1"]["publicKey"] == public_key_of(KEY)
    assert KEY not in json.dumps([masked(r.raw) for r in run.resources])


def test_a_given_ssh_key_is_used_everywhere() -> None:
    public = key_pem("mine", "ED25519")[2]
    run = run_program(changed(static(), {"sshPublicKey": public}))
    assert run.named("ssh-key").inputs["publicKey"] == public
    assert run.named("aws-ssh-key").inputs["publicKey"] == public
    assert run.named("gcp-1-instance").inputs["metadata"]["ssh-keys"] == f"ubuntu:{public}"
    assert not [r for r in run.resources if r.name == "stack-ssh"]
    assert "ssh_private_key" not in run.outputs
