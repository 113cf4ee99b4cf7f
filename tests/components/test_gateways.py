"""Gateways on three clouds: what is registered for each, what lets machines in, what they are told of each other."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from components.keys import public_key_of, wireguard_key
from tests.components.configs import changed, dev
from tests.components.recorder import (
    GATEWAY_IPS,
    GATEWAY_NETWORK6,
    SPOKE_IP,
    SPOKE_IP6,
    Registered,
    Run,
    is_secret,
    key_pem,
    run_program,
)

ANYWHERE = ["0.0.0.0/0", "::/0"]
MACHINES = {"hetzner": "hetzner-gw-server", "aws": "aws-gw-instance", "gcp": "gcp-gw-instance"}
POOLS = {
    "aws-burst": {"site": "aws", "range": "10.100.2.128/26", "max": 6},
    "gcp-burst": {"site": "gcp", "range": "10.100.3.128/26", "max": 4},
    "hetzner-base": {"site": "hetzner", "range": "10.100.1.128/26", "count": 1},
}


def config(changes: Mapping[str, Any] | None = None, topology: str = "sites") -> dict[str, Any]:
    """The dev stack with a gateway in each site, and ``changes`` to that."""
    gateways = {f"{cloud}-gw": {"site": cloud} for cloud in MACHINES}
    base = {**dev(), "network": {"topology": topology}, "gateways": gateways, "pools": POOLS}
    return changed(changed(base, {"sites/hetzner/networkCidr": "10.0.0.0/24"}), changes or {})


def files_of(resource: Registered) -> dict[str, str]:
    """The files that a first-boot document writes, by path; the document must be secret where it stands."""
    raw = resource.raw
    found = raw["userData"] if "userData" in raw else raw["metadata"]
    assert is_secret(found)
    document = found["value"] if "userData" in raw else found["value"]["user-data"]
    return {file["path"]: file["content"] for file in yaml.safe_load(document)["write_files"]}


def key_of(node: str) -> str:
    return public_key_of(wireguard_key(key_pem(f"{node}-key", "ED25519")[0]))


def tunnel(run: Run, machine: str) -> tuple[str, str]:
    """The endpoint and the public key of the gateway in a spoke's tunnel."""
    lines = files_of(run.named(machine))["/etc/wireguard/wg0.conf"].splitlines()
    values = dict(line.split(" = ", 1) for line in lines if " = " in line)
    return values["Endpoint"], values["PublicKey"]


def depends_on(resource: Registered) -> set[str]:
    """The names of what must be there before the resource."""
    return {urn.rpartition("::")[2] for urn in resource.request.dependencies}


@pytest.fixture(scope="module")
def program() -> Run:
    """One run; nothing changes it."""
    return run_program(config())


def test_every_gateway_has_an_address_that_outlives_its_machine(program: Run) -> None:
    address, instance = program.named("aws-gw-address"), program.named("aws-gw-instance")
    assert address.type == "aws:ec2/eip:Eip"
    assert address.inputs["domain"] == "vpc"
    assert not {"instance", "networkInterface"} & set(address.inputs)
    association = program.named("aws-gw-association").inputs
    assert (association["allocationId"], association["instanceId"]) == (address.id, instance.id)
    assert "associatePublicIpAddress" not in instance.inputs, "the elastic address would look like a change of it"
    assert program.named("gcp-gw-address").inputs["addressType"] == "EXTERNAL"
    (card,) = program.named("gcp-gw-instance").inputs["networkInterfaces"]
    assert card["accessConfigs"] == [{"natIp": GATEWAY_IPS["gcp"]}]


@pytest.mark.parametrize("cloud", MACHINES)
def test_a_gateways_machine_stays_as_it_is_until_its_revision_is_raised(program: Run, cloud: str) -> None:
    machine = program.named(MACHINES[cloud])
    spoke = program.named(MACHINES[cloud].replace("-gw", "-1"))
    assert machine.ignored == spoke.ignored
    assert machine.ignored
    assert machine.request.deleteBeforeReplace
    assert machine.request.replacement_trigger.number_value == 1
    raised = run_program(config({f"gateways/{cloud}-gw/revision": 2}))
    triggers = {name: raised.named(name).request.replacement_trigger.number_value for name in MACHINES.values()}
    assert triggers == {name: 2 if name == MACHINES[cloud] else 1 for name in MACHINES.values()}


def test_protect_guards_keys_addresses_and_machines_of_all_gateways() -> None:
    protected = {r.name for r in run_program(config({"protect": True})).resources if r.request.protect}
    gateways = {f"{cloud}-gw-{what}" for cloud in MACHINES for what in ("key", "address")}
    stack = {"stack-signing", "stack-seal", "authority-key", "authority-certificate"}
    assert protected == stack | gateways | set(MACHINES.values())


def test_gateways_forward_and_stand_at_addresses_that_stay(program: Run) -> None:
    aws, gcp = program.named("aws-gw-instance").inputs, program.named("gcp-gw-instance").inputs
    assert aws["sourceDestCheck"] is False
    assert gcp["canIpForward"] is True
    assert aws["privateIp"] == "172.28.15.254"
    assert gcp["networkInterfaces"][0]["networkIp"] == "172.29.15.253", "the last that GCP keeps free"
    assert program.named("hetzner-gw-server").inputs["networks"][0]["ip"] == "10.0.0.254"


def test_the_aws_gateway_is_closed_where_it_should_be(program: Run) -> None:
    instance = program.named("aws-gw-instance").inputs
    assert instance["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    assert instance["rootBlockDevice"]["encrypted"] is True
    groups = [program.named(name).id for name in ("aws-gw-group", "aws-ssh-group", "aws-gw-requests-group")]
    assert instance["vpcSecurityGroupIds"] == groups


def aws_rules(run: Run, group: str) -> set[tuple[str, float | None, float | None, str]]:
    """What a security group lets in: protocol, first and last port, source."""
    rules = run.of_type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
    found = [rule.inputs for rule in rules if rule.inputs["securityGroupId"] == run.named(group).id]
    assert len(found) == len(set(map(json.dumps, found)))
    return {
        (r["ipProtocol"], r.get("fromPort"), r.get("toPort"), r.get("cidrIpv4") or r.get("cidrIpv6")) for r in found
    }


def gcp_rules(run: Run, tag: str) -> dict[str, tuple[Any, Any]]:
    """What GCP lets in to machines with the tag: by rule, protocols and sources."""
    rules = [r for r in run.of_type("gcp:compute/firewall:Firewall") if tag in r.inputs["targetTags"]]
    assert {rule.inputs["direction"] for rule in rules} == {"INGRESS"}
    return {rule.name: (rule.inputs["allows"], rule.inputs["sourceRanges"]) for rule in rules}


def test_the_aws_gateway_lets_in_exactly_this(program: Run) -> None:
    tunnels = {("udp", 51820, 51821, network) for network in ANYWHERE}
    assert aws_rules(program, "aws-gw-group") == tunnels | {("tcp", 8443, 8443, network) for network in ANYWHERE}
    assert aws_rules(program, "aws-ssh-group") == {("tcp", 22, 22, "203.0.113.0/24")}
    assert program.named("aws-gw-requests-group").inputs["ingress"] == [
        {
            "protocol": "tcp",
            "fromPort": 443,
            "toPort": 443,
            "cidrBlocks": ["0.0.0.0/0"],
            "ipv6CidrBlocks": ["::/0"],
            "description": "requests",
        }
    ]
    others = [r.name for r in program.of_type("aws:ec2/securityGroup:SecurityGroup") if "ingress" in r.inputs]
    assert others == ["aws-gw-requests-group"]


def test_the_gcp_gateway_lets_in_exactly_this(program: Run) -> None:
    tags = program.named("gcp-gw-instance").inputs["tags"]
    assert tags == ["hybrid-wireguard-dev-gcp-gateway", "hybrid-wireguard-dev-gcp-ssh"]
    assert gcp_rules(program, tags[0]) == {
        "gcp-tunnels": ([{"protocol": "udp", "ports": ["51820-51821"]}], ["0.0.0.0/0"]),
        "gcp-control": ([{"protocol": "tcp", "ports": ["8443"]}], ["0.0.0.0/0"]),
        "gcp-requests": ([{"protocol": "tcp", "ports": ["443"]}], ["0.0.0.0/0"]),
    }
    assert gcp_rules(program, tags[1]) == {"gcp-ssh": ([{"protocol": "tcp", "ports": ["22"]}], ["203.0.113.0/24"])}


def test_what_settings_close_is_closed_on_every_cloud() -> None:
    run = run_program(
        config(
            {
                "wireguardSources": ["198.51.100.0/24", "172.16.0.0/12", "10.0.0.0/24", "2001:db8::/32"],
                "loadBalancer/sources": ["192.0.2.0/24", "2001:db8:7::/48"],
                "adminCidrs": [],
            }
        )
    )
    tunnels = ["198.51.100.0/24", "172.16.0.0/12", "10.0.0.0/24", "2001:db8::/32"]
    assert {rule[3] for rule in aws_rules(run, "aws-gw-group") if rule[1] == 51820} == set(tunnels)
    (requests,) = run.named("aws-gw-requests-group").inputs["ingress"]
    assert (requests["cidrBlocks"], requests["ipv6CidrBlocks"]) == (["192.0.2.0/24"], ["2001:db8:7::/48"])
    rules = gcp_rules(run, "hybrid-wireguard-dev-gcp-gateway")
    assert rules["gcp-tunnels"][1] == tunnels[:3], "a rule of GCP is of one IP version"
    assert rules["gcp-requests"][1] == ["192.0.2.0/24"]
    assert not [r.name for r in run.resources if "ssh-group" in r.name or r.name == "gcp-ssh"]


def test_gateways_that_answer_no_requests_let_none_in() -> None:
    run = run_program(config({"loadBalancer/enabled": False}))
    assert not [r.name for r in run.resources if "requests" in r.name]
    assert len(run.named("aws-gw-instance").inputs["vpcSecurityGroupIds"]) == 2


def test_certificates_name_every_address_that_machines_ask_at(program: Run) -> None:
    expected = {
        "hetzner-gw": [GATEWAY_IPS["hetzner"], "10.100.1.254"],  # as those that were made before
        "aws-gw": [GATEWAY_IPS["aws"], "10.100.2.254", "172.28.15.254"],
        "gcp-gw": [GATEWAY_IPS["gcp"], "10.100.3.254", "172.29.15.253"],
    }
    for name, addresses in expected.items():
        for request in (f"{name}-request", f"{name}-serving-request"):
            assert program.named(request).inputs["ipAddresses"] == addresses


def test_spokes_enter_at_the_gateway_next_door(program: Run) -> None:
    assert tunnel(program, "hetzner-1-server") == ("10.0.0.254:51820", key_of("hetzner-gw"))
    assert tunnel(program, "aws-1-instance") == ("172.28.15.254:51820", key_of("aws-gw"))
    assert tunnel(program, "gcp-1-instance") == ("172.29.15.253:51820", key_of("gcp-gw"))


def test_in_a_hub_all_spokes_enter_at_the_root_and_pools_join_at_home() -> None:
    run = run_program(config(topology="hub"))
    root = (f"{GATEWAY_IPS['hetzner']}:51820", key_of("hetzner-gw"))
    assert tunnel(run, "hetzner-1-server") == ("10.0.0.254:51820", key_of("hetzner-gw"))
    assert tunnel(run, "aws-1-instance") == tunnel(run, "gcp-1-instance") == root
    assert told_pools(run) == told_pools(run_program(config()))


def told_pools(run: Run) -> dict[str, tuple[str, str]]:
    """The control plane that each pool's machines are told, and that gateway's key."""
    template = run.named("aws-burst-template").raw["userData"]["value"]
    documents = {
        "aws-burst": base64.b64decode(template).decode(),
        "gcp-burst": run.named("gcp-burst-template").raw["metadata"]["value"]["user-data"],
        "hetzner-base": run.named("hetzner-base-1-server").raw["userData"]["value"],
    }
    found: dict[str, tuple[str, str]] = {}
    for pool, document in documents.items():
        files = {file["path"]: file["content"] for file in yaml.safe_load(document)["write_files"]}
        told = json.loads(files["/etc/hybridnet/config.json"])
        found[pool] = (told["control"], told["gateway_public_key"])
    return found


def test_pools_join_at_home_at_an_address_that_its_certificate_names(program: Run) -> None:
    assert told_pools(program) == {
        "aws-burst": ("172.28.15.254:8443", key_of("aws-gw")),
        "gcp-burst": ("172.29.15.253:8443", key_of("gcp-gw")),
        "hetzner-base": (f"{GATEWAY_IPS['hetzner']}:8443", key_of("hetzner-gw")),
    }


def test_a_pool_without_a_gateway_at_home_joins_at_the_root() -> None:
    run = run_program(config({"gateways/aws-gw": ...}))
    assert told_pools(run)["aws-burst"] == (f"{GATEWAY_IPS['hetzner']}:8443", key_of("hetzner-gw"))
    assert tunnel(run, "aws-1-instance") == (f"{GATEWAY_IPS['hetzner']}:51820", key_of("hetzner-gw"))


@pytest.mark.parametrize("topology", ["hub", "mesh"])
def test_another_topology_reaches_no_machine_and_no_pool(program: Run, topology: str) -> None:
    """Of machines nothing but their user data may differ, which is ignored on them."""
    other = run_program(config(topology=topology))

    def told(run: Run) -> dict[str, Any]:
        return {
            r.name: {key: value for key, value in r.inputs.items() if key not in _IGNORED.get(r.type, ())}
            for r in run.resources
        }

    before, after = told(program), told(other)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {"roster"}
    for kind, ignored in _IGNORED.items():
        assert all(set(ignored) <= r.ignored for r in other.of_type(kind)), kind


_IGNORED = {
    "hcloud:index/server:Server": ("userData",),
    "aws:ec2/instance:Instance": ("userData",),
    "gcp:compute/instance:Instance": ("metadata",),
}


def test_a_gateway_with_ipv6_keeps_that_address_too() -> None:
    run = run_program(config({"gateways/hetzner-gw/ipv6": True, "spokes/hetzner-2/publicAddress": "ipv6"}))
    address = run.named("hetzner-gw-address6")
    assert address.inputs["type"] == "ipv6"
    assert address.inputs["autoDelete"] is False
    assert address.inputs["name"] != run.named("hetzner-gw-address").inputs["name"], "names are unique at Hetzner"
    (public,) = run.named("hetzner-gw-server").inputs["publicNets"]
    assert (public["ipv6"], public["ipv6Enabled"]) == (float(address.id), True)
    first = GATEWAY_NETWORK6.replace("/64", "1")
    assert first in run.named("hetzner-gw-request").inputs["ipAddresses"]
    protected = run_program(config({"gateways/hetzner-gw/ipv6": True, "protect": True}))
    assert protected.named("hetzner-gw-address6").request.protect


def test_a_spoke_with_ipv6_alone_calls_the_gateway_there() -> None:
    ipv6 = {"gateways/hetzner-gw/ipv6": True, "spokes/hetzner-2/publicAddress": "ipv6"}
    run = run_program(config({**ipv6, "sites/hetzner/networkCidr": ...}))
    (public,) = run.named("hetzner-2-server").inputs["publicNets"]
    assert (public["ipv4Enabled"], public["ipv6Enabled"]) == (False, True)
    first = GATEWAY_NETWORK6.replace("/64", "1")
    assert tunnel(run, "hetzner-2-server") == (f"[{first}]:51820", key_of("hetzner-gw"))
    assert tunnel(run, "hetzner-1-server")[0] == f"{GATEWAY_IPS['hetzner']}:51820"


def test_machines_of_an_external_site_have_a_key_or_none_of_ours_and_no_machine() -> None:
    theirs = key_of("somebody")
    run = run_program(
        config(
            {
                "sites/elsewhere": {"cloud": "external", "subnet": "10.100.9.0/24"},
                "spokes/laptop": {"site": "elsewhere", "address": "10.100.9.1"},
                "spokes/phone": {"site": "elsewhere", "address": "10.100.9.2", "publicKey": theirs},
            }
        )
    )
    assert [r.name for r in run.resources if r.parent == "laptop"] == ["laptop-key"]
    assert not [r.name for r in run.resources if r.parent == "phone"]
    assert not [r.name for r in run.resources if r.name == "elsewhere" or r.parent == "elsewhere"]
    nodes = run.named("roster").inputs["nodes"]
    assert (nodes["laptop"]["publicKey"], nodes["phone"]["publicKey"]) == (key_of("laptop"), theirs)


@pytest.mark.parametrize(("topology", "expected"), [("mesh", f"{SPOKE_IP}:51820"), ("sites", None), ("hub", None)])
def test_where_spokes_are_called_is_told_in_a_mesh_alone(topology: str, expected: str | None) -> None:
    roster = run_program(config(topology=topology)).named("roster")
    nodes = {name: node.get("endpoint") for name, node in roster.inputs["nodes"].items() if node["role"] == "spoke"}
    assert nodes == {"hetzner-1": expected, "hetzner-2": expected, "aws-1": expected, "gcp-1": None}, "gcp-1 is private"
    machines = {"hetzner-1-server", "aws-1-instance"}
    assert depends_on(roster) & machines == (machines if expected else set())


def test_a_spoke_with_ipv6_alone_is_called_there_in_a_mesh() -> None:
    ipv6 = {"gateways/hetzner-gw/ipv6": True, "spokes/hetzner-2/publicAddress": "ipv6"}
    roster = run_program(config(ipv6, topology="mesh")).named("roster")
    assert roster.inputs["nodes"]["hetzner-2"]["endpoint"] == f"[{SPOKE_IP6}]:51820"


def test_each_gateway_gets_all_that_is_pushed_at_its_address(program: Run) -> None:
    planes = {
        f"{cloud}-gw": {"url": f"https://{GATEWAY_IPS[cloud]}:8443", "serverId": program.named(machine).id}
        for cloud, machine in MACHINES.items()
    }
    assert program.named("roster").inputs["gateways"] == planes
    assert program.named("release").inputs["gateways"] == planes
    for name, plane in planes.items():
        assert program.named(f"{name}-credentials").inputs["gateways"] == {name: plane}
