"""What the declared resources amount to as machines: their cards, addresses and the traffic that may pass."""

from __future__ import annotations

import pytest

from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.provider.clouds.gcp.projection import project_number
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.provider.clouds.hcloud.firewalls import selects
from localcloud.spec import INTERNET, Interface, MachineSpec, Route, Rule
from localcloud.wire import Value
from tests.localcloud.provider.harness import Harness, Resource
from tests.localcloud.provider.scenery import ED25519, REGION, ZONE, ami, make_aws, make_gcp, make_hcloud

ANYWHERE = ("0.0.0.0/0", "::/0")


def test_a_hetzner_server_holds_its_public_address_itself(clouds: Harness) -> None:
    made = make_hcloud(clouds)
    machine = clouds.fabric.machine("hetzner-gw")
    address = made["address"].text("ipAddress")
    assert machine == MachineSpec(
        id=f"hcloud-{made['server'].id}",
        node="hetzner-gw",
        cloud="hetzner",
        hostname="gw",
        user_data="#cloud-config\n",
        ssh_keys=(ED25519,),
        interfaces=(
            Interface("eth0", INTERNET, address, 32, 1500, public=address),
            Interface(
                "enp7s0",
                f"hcloud-{made['hnetwork'].id}",
                "10.50.1.1",
                16,
                1450,
                routes=(Route("10.100.0.0/16", "10.50.1.1"),),
            ),
        ),
        ingress=(Rule("udp", (51820, 51820), ANYWHERE), Rule("tcp", (22, 22), ("203.0.113.0/24",))),
        egress=None,
        forwarding=True,
        metadata={
            "instance_id": made["server"].id,
            "instance_type": "cx23",
            "image": "ubuntu-22.04",
            "region": "fsn1",
            "zone": "fsn1",
            "labels": {"node": "hetzner-gw"},
        },
    )


def test_a_hetzner_server_of_a_pool_is_called_as_the_gateway_calls_it(clouds: Harness) -> None:
    server = clouds.make(
        hcloud.SERVER, name="base-1", serverType="cx23", image="debian-12", labels={"pool": "hetzner-base"}
    )
    assert clouds.fabric.machine(f"hetzner-base-{server.id}").hostname == "base-1"


def test_a_hetzner_server_without_a_firewall_is_open_and_has_ipv6(clouds: Harness) -> None:
    server = clouds.make(hcloud.SERVER, "web", name="web", serverType="cx23", image="debian-12")
    machine = clouds.fabric.machine("web")
    assert (machine.ingress, machine.egress) == (None, None)
    assert machine.interfaces[0].address6 == server.outputs["ipv6Address"]


def test_a_hetzner_firewall_drops_what_it_does_not_name(clouds: Harness) -> None:
    firewall = clouds.make(hcloud.FIREWALL, "closed", name="closed")
    clouds.make(hcloud.SERVER, name="web", serverType="cx23", image="debian-12", firewallIds=[firewall.number])
    assert clouds.fabric.machine("web").ingress == ()
    assert clouds.fabric.machine("web").egress is None, "without outbound rules everything may leave"
    rules: Value = [{"direction": "out", "protocol": "tcp", "port": "any", "destinationIps": ["1.1.1.1"]}]
    clouds.update(firewall, rules=rules)
    assert clouds.fabric.machine("web").egress == (Rule("tcp", (1, 65535), ("1.1.1.1/32",)),)


def test_a_hetzner_firewall_comes_by_attachment_by_itself_or_by_label(clouds: Harness) -> None:
    server = clouds.make(hcloud.SERVER, name="web", serverType="cx23", image="debian-12", labels={"tier": "web"})

    def rule(port: str) -> Value:
        return [{"direction": "in", "protocol": "tcp", "port": port, "sourceIps": ["0.0.0.0/0"]}]

    clouds.make(hcloud.FIREWALL, "own", name="own", rules=rule("1"), applyTos=[{"server": server.number}])
    clouds.make(hcloud.FIREWALL, "label", name="label", rules=rule("2"), applyTos=[{"labelSelector": "tier=web"}])
    third = clouds.make(hcloud.FIREWALL, "third", name="third", rules=rule("3"))
    attachment = clouds.make(hcloud.FIREWALL_ATTACHMENT, firewallId=third.number, labelSelectors=["tier"])
    assert _open_ports(clouds, "web") == [1, 2, 3]
    clouds.delete(attachment)
    assert _open_ports(clouds, "web") == [1, 2]
    clouds.update(server, labels={"tier": "db"})
    assert _open_ports(clouds, "web") == [1]


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        ("a", True),
        ("!a", False),
        ("c", False),
        ("!c", True),
        ("a=1", True),
        ("a==1", True),
        ("a!=1", False),
        ("a=2", False),
        ("a in (1, 2)", True),
        ("a notin (1,2)", False),
        ("c notin (1,2)", True),
        ("a=1,b=2", True),
        ("a=1,b in (3,4)", False),
    ],
)
def test_label_selectors(selector: str, picked: bool) -> None:
    assert selects(selector, {"a": "1", "b": "2"}) is picked


def test_an_aws_instance_is_translated_one_to_one_behind_its_groups(clouds: Harness) -> None:
    made = make_aws(clouds)
    machine = clouds.fabric.machine("aws-1")
    assert machine == MachineSpec(
        id=made["instance"].id,
        node="aws-1",
        cloud="aws",
        hostname="ip-10-60-0-4",
        user_data="#cloud-config\n",
        ssh_keys=(ED25519,),
        interfaces=(
            Interface("eth0", made["vpc"].id, "10.60.0.4", 26, 9001, public=made["instance"].text("publicIp")),
        ),
        ingress=(Rule("udp", (51820, 51820), ("0.0.0.0/0",)), Rule("tcp", (22, 22), ("203.0.113.0/24",))),
        egress=(Rule("any", None, ("0.0.0.0/0",)), Rule("any", None, ("0.0.0.0/0",))),
        forwarding=True,
        metadata={
            "account": "123456789012",
            "instance_type": "t3.micro",
            "image": made["instance"].text("ami"),
            "region": "eu-central-1",
            "zone": "eu-central-1a",
            "labels": {"node": "aws-1"},
            "imds": {"enabled": True, "tokens_required": True, "hop_limit": 1, "instance_tags": False},
        },
    )


def test_an_aws_subnet_without_a_way_to_a_gateway_has_no_internet(clouds: Harness) -> None:
    made = make_aws(clouds)
    clouds.update(made["table"], routes=None)
    assert clouds.fabric.machine("aws-1").interfaces[0].public is None
    route = clouds.make(
        aws.ROUTE, routeTableId=made["table"].id, destinationCidrBlock="0.0.0.0/0", gatewayId=made["gateway"].id
    )
    assert clouds.fabric.machine("aws-1").interfaces[0].public == made["instance"].outputs["publicIp"]
    clouds.delete(route)
    clouds.update(made["gateway"], vpcId=None)
    assert clouds.fabric.machine("aws-1").interfaces[0].public is None, "the gateway is attached to nothing"
    clouds.update(made["gateway"], vpcId=made["vpc"].id)
    clouds.delete(made["association"])
    assert clouds.fabric.machine("aws-1").interfaces[0].public is None, "the VPC's main table leads nowhere"


def test_an_elastic_address_takes_the_place_of_the_one_that_aws_gave(clouds: Harness) -> None:
    made = make_aws(clouds)
    association = clouds.make(aws.EIP_ASSOCIATION, allocationId=made["eip"].id, instanceId=made["instance"].id)
    assert clouds.fabric.machine("aws-1").interfaces[0].public == made["eip"].outputs["publicIp"]
    assert clouds.read(made["instance"])[1]["publicIp"] == made["eip"].outputs["publicIp"]
    clouds.delete(association)
    assert clouds.fabric.machine("aws-1").interfaces[0].public == made["instance"].outputs["publicIp"]


def test_an_elastic_address_that_points_elsewhere_is_taken_from_there(clouds: Harness) -> None:
    made = make_aws(clouds)
    other = clouds.make(
        aws.INSTANCE, ami=ami(clouds), instanceType="t3.micro", subnetId=made["subnet"].id, tags={"node": "aws-2"}
    )
    first = clouds.make(aws.EIP_ASSOCIATION, allocationId=made["eip"].id, instanceId=made["instance"].id)
    clouds.make(aws.EIP_ASSOCIATION, allocationId=made["eip"].id, instanceId=other.id)
    clouds.delete(first)
    assert clouds.fabric.machine("aws-2").interfaces[0].public == made["eip"].outputs["publicIp"]
    assert clouds.fabric.machine("aws-1").interfaces[0].public == made["instance"].outputs["publicIp"]


def test_an_aws_group_that_is_named_stands_for_its_members(clouds: Harness) -> None:
    made = make_aws(clouds)
    clouds.make(
        aws.INGRESS_RULE,
        securityGroupId=made["other"].id,
        ipProtocol="icmp",
        fromPort=-1,
        toPort=-1,
        referencedSecurityGroupId=made["group"].id,
    )
    assert Rule("icmp", None, ("10.60.0.4/32",)) in (clouds.fabric.machine("aws-1").ingress or ())


def test_an_aws_group_without_rules_lets_nothing_pass_either_way(clouds: Harness) -> None:
    made = make_aws(clouds)
    bare = clouds.make(aws.GROUP, name="bare", vpcId=made["vpc"].id)
    clouds.update(made["instance"], vpcSecurityGroupIds=[bare.id])
    machine = clouds.fabric.machine("aws-1")
    assert (machine.ingress, machine.egress) == ((), ())


def test_an_aws_instance_without_groups_is_in_the_vpcs_own(clouds: Harness) -> None:
    made = make_aws(clouds)
    clouds.update(made["instance"], vpcSecurityGroupIds=None)
    machine = clouds.fabric.machine("aws-1")
    assert machine.ingress == (Rule("any", None, ("10.60.0.4/32",)),)
    assert machine.egress == (Rule("any", None, ANYWHERE),)


def test_user_data_in_base64_arrives_as_what_it_says(clouds: Harness) -> None:
    made = make_aws(clouds)
    clouds.update(made["instance"], userData=None, userDataBase64="I2Nsb3VkLWNvbmZpZwo=")
    assert clouds.fabric.machine("aws-1").user_data == "#cloud-config\n"


def test_a_gcp_instance_without_an_external_address_leaves_by_cloud_nat(clouds: Harness) -> None:
    made = make_gcp(clouds)
    machine = clouds.fabric.machine("gcp-1")
    assert machine == MachineSpec(
        id=f"gcp-{made['ginstance'].outputs['instanceId']}",
        node="gcp-1",
        cloud="gcp",
        hostname="gcp-1",
        user_data="#cloud-config\n",
        ssh_keys=(ED25519,),
        interfaces=(Interface("eth0", f"gcp-{made['gnetwork'].id}", "10.70.0.2", 24, 1460, nat="198.18.9.1"),),
        ingress=(Rule("udp", (51820, 51820), ("0.0.0.0/0",)),),
        egress=None,
        forwarding=False,
        metadata={
            "instance_id": made["ginstance"].text("instanceId"),
            "name": "gcp-1",
            "project_number": project_number("my-project"),
            "created": "2026-11-01T07:00:00Z",
            "preemptible": False,
            "preempted": False,
            "instance_type": "e2-small",
            "image": "ubuntu-os-cloud/ubuntu-2204-lts",
            "region": REGION,
            "zone": ZONE,
            "project": "my-project",
            "labels": {"node": "gcp-1"},
        },
    )
    clouds.delete(made["nat"])
    assert clouds.fabric.machine("gcp-1").interfaces[0].nat is None, "without NAT there is no way out"


def test_a_gcp_instance_with_an_external_address_needs_no_nat(clouds: Harness) -> None:
    made = make_gcp(clouds)
    card: dict[str, Value] = {"subnetwork": made["gsubnet"].id, "accessConfigs": [{}]}
    changed = clouds.update(made["ginstance"], networkInterfaces=[card])
    interface = clouds.fabric.machine("gcp-1").interfaces[0]
    assert (interface.public, interface.nat) == (_nat_ip(changed), None)
    reserved = made["reserved"].outputs["address"]
    card["accessConfigs"] = [{"natIp": reserved}]
    clouds.update(changed, networkInterfaces=[card])
    assert clouds.fabric.machine("gcp-1").interfaces[0].public == reserved
    card["accessConfigs"] = None
    clouds.update(changed, networkInterfaces=[card])
    assert clouds.fabric.machine("gcp-1").interfaces[0].public is None


def test_a_gcp_nat_may_serve_some_subnetworks_with_an_address_of_ones_own(clouds: Harness) -> None:
    made = make_gcp(clouds)
    clouds.delete(made["nat"])
    other = clouds.make(gcp.SUBNETWORK, "other", name="other", network="net", ipCidrRange="10.72.0.0/24", region=REGION)
    settings: dict[str, Value] = {
        "router": "router",
        "region": REGION,
        "sourceSubnetworkIpRangesToNat": "LIST_OF_SUBNETWORKS",
        "natIpAllocateOption": "MANUAL_ONLY",
        "natIps": [made["reserved"].outputs["selfLink"]],
    }
    listed: list[Value] = [{"name": other.id, "sourceIpRangesToNats": ["ALL_IP_RANGES"]}]
    nat = clouds.make(gcp.ROUTER_NAT, subnetworks=listed, **settings)
    assert clouds.fabric.machine("gcp-1").interfaces[0].nat is None
    listed.append({"name": "sub", "sourceIpRangesToNats": ["ALL_IP_RANGES"]})
    clouds.update(nat, subnetworks=listed)
    assert clouds.fabric.machine("gcp-1").interfaces[0].nat == made["reserved"].outputs["address"]


def test_gcp_rules_go_by_tag_priority_and_state(clouds: Harness) -> None:
    made = make_gcp(clouds)
    rule = clouds.update(made["wireguard"], targetTags=["other"])
    assert clouds.fabric.machine("gcp-1").ingress == (), "denied when no rule concerns it"
    rule = clouds.update(rule, targetTags=None)
    assert clouds.fabric.machine("gcp-1").ingress == (Rule("udp", (51820, 51820), ("0.0.0.0/0",)),)
    clouds.update(rule, disabled=True)
    assert clouds.fabric.machine("gcp-1").ingress == ()


def test_a_gcp_deny_cuts_out_of_what_later_rules_allow(clouds: Harness) -> None:
    make_gcp(clouds)
    _rule(clouds, "allow-all", 1000, allows=[{"protocol": "all"}], sourceRanges=["10.0.0.0/8"])
    assert _rules(clouds) == {Rule("any", None, ("10.0.0.0/8",))}
    _rule(clouds, "deny-late", 2000, denies=[{"protocol": "all"}], sourceRanges=["0.0.0.0/0"])
    assert _rules(clouds) == {Rule("any", None, ("10.0.0.0/8",))}, "what was allowed before stays"
    _rule(clouds, "deny-ssh", 1000, denies=[{"protocol": "tcp", "ports": ["22"]}], sourceRanges=["10.128.0.0/9"])
    assert _rules(clouds) == {
        Rule("tcp", (0, 21), ("10.0.0.0/8",)),
        Rule("tcp", (22, 22), ("10.0.0.0/9",)),
        Rule("tcp", (23, 65535), ("10.0.0.0/8",)),
        Rule("udp", None, ("10.0.0.0/8",)),
        Rule("icmp", None, ("10.0.0.0/8",)),
    }, "of two rules of one priority the one that denies counts"
    _rule(clouds, "allow-first", 500, allows=[{"protocol": "tcp", "ports": ["22"]}], sourceRanges=["10.200.0.0/16"])
    assert Rule("tcp", (22, 22), ("10.200.0.0/16", "10.0.0.0/9")) in _rules(clouds)


def test_a_gcp_rule_may_name_who_it_lets_in_by_tag(clouds: Harness) -> None:
    make_gcp(clouds)
    _rule(clouds, "from-spokes", 1000, allows=[{"protocol": "icmp"}], sourceTags=["spoke"])
    assert Rule("icmp", None, ("10.70.0.2/32",)) in _rules(clouds)


def test_gcp_lets_everything_out_but_what_a_rule_denies(clouds: Harness) -> None:
    make_gcp(clouds)
    _rule(
        clouds,
        "no-mail",
        1000,
        direction="EGRESS",
        denies=[{"protocol": "tcp", "ports": ["25"]}],
        destinationRanges=["0.0.0.0/0"],
    )
    egress = clouds.fabric.machine("gcp-1").egress
    assert egress is not None
    assert Rule("tcp", (0, 24), ("0.0.0.0/0",)) in egress
    assert Rule("any", None, ("::/0",)) in egress
    assert not any(rule.protocol == "tcp" and rule.ports and rule.ports[0] <= 25 <= rule.ports[1] for rule in egress)


def test_networks_that_overlap_are_refused_with_the_reason(clouds: Harness) -> None:
    make_aws(clouds)
    with pytest.raises(Exception, match="all of them share one address space"):
        clouds.make(hcloud.NETWORK, ipRange="10.60.0.0/16")


def test_a_machine_without_a_label_goes_by_its_name(clouds: Harness) -> None:
    made = make_gcp(clouds)
    clouds.update(made["ginstance"], labels=None)
    assert clouds.fabric.nodes == ["gcp-1"]
    clouds.make(hcloud.SERVER, name="web", serverType="cx23", image="debian-12")
    assert clouds.fabric.nodes == ["gcp-1", "web"]


def _open_ports(clouds: Harness, node: str) -> list[int]:
    return sorted(rule.ports[0] for rule in clouds.fabric.machine(node).ingress or () if rule.ports)


def _nat_ip(instance: Resource) -> Value:
    interfaces = instance.outputs["networkInterfaces"]
    assert isinstance(interfaces, list)
    assert isinstance(interfaces[0], dict)
    configs = interfaces[0]["accessConfigs"]
    assert isinstance(configs, list)
    assert isinstance(configs[0], dict)
    return configs[0]["natIp"]


def _rule(clouds: Harness, name: str, priority: int, **inputs: Value) -> None:
    clouds.make(gcp.FIREWALL, name, name=name, network="net", priority=priority, **inputs)


def _rules(clouds: Harness) -> set[Rule]:
    """What may come in beside WireGuard."""
    return {rule for rule in clouds.fabric.machine("gcp-1").ingress or () if rule.ports != (51820, 51820)}
