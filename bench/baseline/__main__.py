"""The same kinds and numbers of resources as the program registers, by hand: no checks, no plan, no settings."""

import json

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp
import pulumi_hcloud as hcloud
import pulumi_tls as tls
from pulumi import ResourceOptions

from bench.baseline.push import Pushed

SPOKES: list[str] = json.loads(pulumi.Config().require("spokes"))
REGION, PROJECT, ZONE = "eu-central-1", "by-hand-dev", "europe-west3-a"
ADMIN = "203.0.113.0/24"
USER_DATA = "#cloud-config\nwrite_files:\n- path: /etc/wireguard/wg0.conf\n  content: |\n    PrivateKey = "


def part(token: str, name: str) -> ResourceOptions:
    """A component that exports nothing; what comes under it takes these options."""
    component = pulumi.ComponentResource(f"by-hand:index:{token}", name)
    component.register_outputs({})
    return ResourceOptions(parent=component)


def user_data(key: tls.PrivateKey) -> pulumi.Output[str]:
    return pulumi.Output.secret(key.private_key_pem.apply(lambda pem: USER_DATA + pem))


def hetzner_rule(protocol: str, port: str | None, *sources: str) -> hcloud.FirewallRuleArgs:
    return hcloud.FirewallRuleArgs(direction="in", protocol=protocol, port=port, source_ips=list(sources))


stack_keys = part("Keys", "stack")
tls.PrivateKey("signing", algorithm="ED25519", opts=stack_keys)
tls.PrivateKey("seal", algorithm="ED25519", opts=stack_keys)
ssh = tls.PrivateKey("ssh", algorithm="ED25519", opts=stack_keys)
account_key = hcloud.SshKey("ssh-key", name="by-hand", public_key=ssh.public_key_openssh)

authority = part("Authority", "authority")
ca_key = tls.PrivateKey("ca-key", algorithm="ECDSA", ecdsa_curve="P256", opts=authority)
ca = tls.SelfSignedCert(
    "ca",
    private_key_pem=ca_key.private_key_pem,
    subject={"common_name": "by-hand"},
    is_ca_certificate=True,
    allowed_uses=["cert_signing"],
    validity_period_hours=87600,
    opts=authority,
)

hetzner = part("Site", "hetzner")
hetzner_firewall = hcloud.Firewall(
    "hetzner-firewall",
    name="by-hand-hetzner",
    rules=[hetzner_rule("udp", "51820", "0.0.0.0/0", "::/0"), hetzner_rule("tcp", "22", ADMIN)],
    opts=hetzner,
)

amazon = part("Site", "aws")
vpc = aws.ec2.Vpc("vpc", cidr_block="172.28.0.0/20", region=REGION, opts=amazon)
subnet = aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="172.28.0.0/20", region=REGION, opts=amazon)
internet = aws.ec2.InternetGateway("internet", vpc_id=vpc.id, region=REGION, opts=amazon)
routes = aws.ec2.RouteTable(
    "routes",
    vpc_id=vpc.id,
    routes=[aws.ec2.RouteTableRouteArgs(cidr_block="0.0.0.0/0", gateway_id=internet.id)],
    region=REGION,
    opts=amazon,
)
aws.ec2.RouteTableAssociation("way", subnet_id=subnet.id, route_table_id=routes.id, region=REGION, opts=amazon)
key_pair = aws.ec2.KeyPair(
    "key-pair", key_name="by-hand", public_key=ssh.public_key_openssh, region=REGION, opts=amazon
)
group = aws.ec2.SecurityGroup("group", name="by-hand", vpc_id=vpc.id, region=REGION, opts=amazon)
ssh_group = aws.ec2.SecurityGroup("ssh-group", name="by-hand-ssh", vpc_id=vpc.id, region=REGION, opts=amazon)
for name, protocol, port, in4, in6, of in (
    ("wireguard4", "udp", 51820, "0.0.0.0/0", None, group),
    ("wireguard6", "udp", 51820, None, "::/0", group),
    ("overlay", "-1", None, "10.100.0.0/16", None, group),
    ("ssh-in", "tcp", 22, ADMIN, None, ssh_group),
):
    aws.vpc.SecurityGroupIngressRule(
        name,
        security_group_id=of.id,
        ip_protocol=protocol,
        from_port=port,
        to_port=port,
        cidr_ipv4=in4,
        cidr_ipv6=in6,
        region=REGION,
        opts=amazon,
    )
for name, out4, out6 in (("out4", "0.0.0.0/0", None), ("out6", None, "::/0")):
    aws.vpc.SecurityGroupEgressRule(
        name,
        security_group_id=group.id,
        ip_protocol="-1",
        cidr_ipv4=out4,
        cidr_ipv6=out6,
        region=REGION,
        opts=amazon,
    )
ami = aws.ec2.get_ami_output(
    most_recent=True,
    owners=["099720109477"],
    filters=[
        aws.ec2.GetAmiFilterArgs(name="name", values=["ubuntu/images/hvm-ssd*/ubuntu-jammy-22.04-amd64-server-*"])
    ],
    region=REGION,
)

google = part("Site", "gcp")
network = gcp.compute.Network("network", name="by-hand", auto_create_subnetworks=False, project=PROJECT, opts=google)
subnetwork = gcp.compute.Subnetwork(
    "subnetwork",
    name="by-hand",
    network=network.id,
    ip_cidr_range="172.29.0.0/20",
    region="europe-west3",
    project=PROJECT,
    opts=google,
)
router = gcp.compute.Router(
    "router", name="by-hand", network=network.id, region="europe-west3", project=PROJECT, opts=google
)
gcp.compute.RouterNat(
    "nat",
    name="by-hand",
    router=router.name,
    region="europe-west3",
    project=PROJECT,
    nat_ip_allocate_option="AUTO_ONLY",
    source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
    opts=google,
)
for name, protocol, ports, source in (
    ("wireguard", "udp", ["51820"], "0.0.0.0/0"),
    ("all", "all", None, "10.100.0.0/16"),
    ("ssh", "tcp", ["22"], ADMIN),
):
    gcp.compute.Firewall(
        f"gcp-{name}",
        name=f"by-hand-{name}",
        network=network.id,
        allows=[gcp.compute.FirewallAllowArgs(protocol=protocol, ports=ports)],
        source_ranges=[source],
        project=PROJECT,
        opts=google,
    )

gateway = part("Gateway", "gateway")
gateway_key = tls.PrivateKey("gateway-key", algorithm="ED25519", opts=gateway)
address = hcloud.PrimaryIp(
    "gateway-address",
    name="by-hand",
    type="ipv4",
    assignee_type="server",
    auto_delete=False,
    location="fsn1",
    opts=gateway,
)
tls_key = tls.PrivateKey("gateway-tls-key", algorithm="ECDSA", ecdsa_curve="P256", opts=gateway)
request = tls.CertRequest(
    "gateway-request",
    private_key_pem=tls_key.private_key_pem,
    subject={"common_name": "gateway"},
    ip_addresses=[address.ip_address, "10.100.0.1"],
    opts=gateway,
)
tls.LocallySignedCert(
    "gateway-certificate",
    cert_request_pem=request.cert_request_pem,
    ca_private_key_pem=ca_key.private_key_pem,
    ca_cert_pem=ca.cert_pem,
    allowed_uses=["server_auth"],
    validity_period_hours=87600,
    opts=gateway,
)
gateway_firewall = hcloud.Firewall(
    "gateway-firewall",
    name="by-hand-gateway",
    rules=[hetzner_rule("udp", "51820-51821", "0.0.0.0/0", "::/0"), hetzner_rule("tcp", "22", ADMIN)],
    opts=gateway,
)
server = hcloud.Server(
    "gateway-server",
    name="by-hand-gateway",
    server_type="cx23",
    image="ubuntu-22.04",
    location="fsn1",
    ssh_keys=[account_key.id],
    public_nets=[hcloud.ServerPublicNetArgs(ipv4_enabled=True, ipv4=address.id.apply(int), ipv6_enabled=True)],
    firewall_ids=[gateway_firewall.id.apply(int)],
    user_data=user_data(gateway_key),
    opts=gateway,
)


def hetzner_spoke(name: str, key: tls.PrivateKey, opts: ResourceOptions) -> None:
    hcloud.Server(
        f"{name}-server",
        name=f"by-hand-{name}",
        server_type="cx23",
        image="ubuntu-22.04",
        location="fsn1",
        ssh_keys=[account_key.id],
        public_nets=[hcloud.ServerPublicNetArgs(ipv4_enabled=True, ipv6_enabled=True)],
        firewall_ids=[hetzner_firewall.id.apply(int)],
        user_data=user_data(key),
        labels={"node": name},
        opts=opts,
    )


def aws_spoke(name: str, key: tls.PrivateKey, opts: ResourceOptions) -> None:
    aws.ec2.Instance(
        f"{name}-instance",
        instance_type="t3.small",
        ami=ami.id,
        region=REGION,
        subnet_id=subnet.id,
        vpc_security_group_ids=[group.id, ssh_group.id],
        associate_public_ip_address=True,
        key_name=key_pair.key_name,
        metadata_options=aws.ec2.InstanceMetadataOptionsArgs(http_tokens="required", http_put_response_hop_limit=1),
        root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(encrypted=True, volume_type="gp3"),
        user_data=user_data(key),
        tags={"Name": name},
        opts=opts,
    )


def gcp_spoke(name: str, key: tls.PrivateKey, opts: ResourceOptions) -> None:
    gcp.compute.Instance(
        f"{name}-instance",
        name=f"by-hand-{name}",
        machine_type="e2-small",
        zone=ZONE,
        project=PROJECT,
        boot_disk=gcp.compute.InstanceBootDiskArgs(
            initialize_params=gcp.compute.InstanceBootDiskInitializeParamsArgs(image="ubuntu-os-cloud/ubuntu-2204-lts")
        ),
        network_interfaces=[gcp.compute.InstanceNetworkInterfaceArgs(network=network.id, subnetwork=subnetwork.id)],
        metadata={"user-data": user_data(key), "ssh-keys": ssh.public_key_openssh.apply(lambda text: f"ubuntu:{text}")},
        labels={"node": name},
        opts=opts,
    )


MAKE = {"hetzner": hetzner_spoke, "aws": aws_spoke, "gcp": gcp_spoke}
for spoke in SPOKES:
    options = part("Spoke", spoke)
    MAKE[spoke.partition("-")[0]](spoke, tls.PrivateKey(f"{spoke}-key", algorithm="ED25519", opts=options), options)

Pushed("certificate", {"server": server.id, "sha256": "0" * 64})
Pushed("release", {"server": server.id, "sha256": "0" * 64})
Pushed("roster", {"server": server.id, "nodes": {spoke: {"site": spoke.partition("-")[0]} for spoke in SPOKES}})
pulumi.export("gateway", address.ip_address)
