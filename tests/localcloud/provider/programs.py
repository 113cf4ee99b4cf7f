"""A program with every kind of resource, for engines to run; VARIANT in the environment changes parts of it."""

import base64
import os

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp
import pulumi_hcloud as hcloud
import pulumi_tls as tls

VARIANT = os.environ.get("VARIANT", "")
REGION, ZONE = "europe-west3", "europe-west3-a"


def number(resource: pulumi.CustomResource) -> pulumi.Output[int]:
    """An hcloud id, as the properties that refer to it take it."""
    return resource.id.apply(int)


key = tls.PrivateKey("key", algorithm="ED25519")
authority = tls.PrivateKey("authority", algorithm="ECDSA", ecdsa_curve="P256")
ca = tls.SelfSignedCert(
    "ca",
    private_key_pem=authority.private_key_pem,
    allowed_uses=["cert_signing", "crl_signing"],
    validity_period_hours=87600,
    is_ca_certificate=True,
    subject=tls.SelfSignedCertSubjectArgs(common_name="authority"),
)
request = tls.CertRequest("request", private_key_pem=key.private_key_pem, ip_addresses=["10.100.0.1"])
tls.LocallySignedCert(
    "certificate",
    ca_cert_pem=ca.cert_pem,
    ca_private_key_pem=authority.private_key_pem,
    cert_request_pem=request.cert_request_pem,
    allowed_uses=["server_auth"],
    validity_period_hours=87600,
)
user_data = pulumi.Output.secret(
    key.private_key_pem.apply(lambda pem: f"#cloud-config\n# {VARIANT == 'user data'}\n# {pem}")
)

ssh_key = hcloud.SshKey("ssh", name="stack", public_key=key.public_key_openssh)
everyone = ["0.0.0.0/0", "::/0"]
wireguard = hcloud.Firewall(
    "wireguard",
    rules=[hcloud.FirewallRuleArgs(direction="in", protocol="udp", port="51820", source_ips=everyone)],
)
icmp = hcloud.Firewall("icmp", rules=[hcloud.FirewallRuleArgs(direction="in", protocol="icmp", source_ips=everyone)])
address = hcloud.PrimaryIp("address", type="ipv4", location="fsn1", auto_delete=False)
group = hcloud.PlacementGroup("group", type="spread")
network = hcloud.Network("network", ip_range="10.50.0.0/16")
subnet = hcloud.NetworkSubnet(
    "subnet", network_id=number(network), type="cloud", network_zone="eu-central", ip_range="10.50.1.0/24"
)
gateway = hcloud.Server(
    "gateway",
    name="dev-gateway",
    server_type="cx33" if VARIANT == "in place" else "cx23",
    image="ubuntu-22.04",
    location="fsn1",
    ssh_keys=[ssh_key.id],
    firewall_ids=[number(wireguard)],
    placement_group_id=number(group),
    user_data=user_data,
    labels={"node": "hetzner-gw"},
    public_nets=[hcloud.ServerPublicNetArgs(ipv4_enabled=True, ipv4=number(address), ipv6_enabled=False)],
)
hcloud.FirewallAttachment("attachment", firewall_id=number(icmp), server_ids=[number(gateway)])
hcloud.ServerNetwork("place", server_id=number(gateway), subnet_id=subnet.id)

vpc = aws.ec2.Vpc("vpc", cidr_block="10.60.0.0/24")
aws_subnet = aws.ec2.Subnet("aws-subnet", vpc_id=vpc.id, cidr_block="10.60.0.0/26", availability_zone="eu-central-1a")
internet = aws.ec2.InternetGateway("internet", vpc_id=vpc.id)
routes = aws.ec2.RouteTable(
    "routes", vpc_id=vpc.id, routes=[aws.ec2.RouteTableRouteArgs(cidr_block="0.0.0.0/0", gateway_id=internet.id)]
)
aws.ec2.RouteTableAssociation("association", subnet_id=aws_subnet.id, route_table_id=routes.id)
spare = aws.ec2.RouteTable("spare", vpc_id=vpc.id)
aws.ec2.Route("route", route_table_id=spare.id, destination_cidr_block="0.0.0.0/0", gateway_id=internet.id)
key_pair = aws.ec2.KeyPair("pair", public_key=key.public_key_openssh)
spoke = aws.ec2.SecurityGroup("spoke", vpc_id=vpc.id)
aws.vpc.SecurityGroupIngressRule(
    "ssh-in",
    security_group_id=spoke.id,
    ip_protocol="tcp",
    from_port=22,
    to_port=22,
    cidr_ipv4="198.51.100.0/24" if VARIANT == "in place" else "203.0.113.0/24",
)
aws.vpc.SecurityGroupEgressRule("all-out", security_group_id=spoke.id, ip_protocol="-1", cidr_ipv4="0.0.0.0/0")
ami = aws.ec2.get_ami(
    most_recent=True,
    owners=["099720109477"],
    filters=[{"name": "name", "values": ["ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"]}],
)
instance = aws.ec2.Instance(
    "aws-1",
    ami=ami.id,
    instance_type="t3.micro",
    subnet_id=aws_subnet.id,
    vpc_security_group_ids=[spoke.id],
    key_name=key_pair.key_name,
    user_data=user_data,
    source_dest_check=False,
    metadata_options=aws.ec2.InstanceMetadataOptionsArgs(http_tokens="required", http_put_response_hop_limit=1),
    root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(encrypted=True),
    tags={"node": "aws-1"},
)
role = aws.iam.Role(
    "role",
    assume_role_policy=pulumi.Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
            ],
        }
    ),
)
profile = aws.iam.InstanceProfile("profile", role=role.name)
template = aws.ec2.LaunchTemplate(
    "template",
    image_id=ami.id,
    user_data=user_data.apply(lambda text: base64.b64encode(text.encode()).decode()),
    iam_instance_profile=aws.ec2.LaunchTemplateIamInstanceProfileArgs(name=profile.name),
    vpc_security_group_ids=[spoke.id],
)
burst = aws.autoscaling.Group(
    "burst",
    min_size=0,
    max_size=3,
    vpc_zone_identifiers=[aws_subnet.id],
    mixed_instances_policy=aws.autoscaling.GroupMixedInstancesPolicyArgs(
        launch_template=aws.autoscaling.GroupMixedInstancesPolicyLaunchTemplateArgs(
            launch_template_specification=aws.autoscaling.GroupMixedInstancesPolicyLaunchTemplateLaunchTemplateSpecificationArgs(
                launch_template_id=template.id, version=template.latest_version.apply(str)
            ),
            overrides=[
                aws.autoscaling.GroupMixedInstancesPolicyLaunchTemplateOverrideArgs(instance_type="t3.micro"),
            ],
        )
    ),
)
aws.autoscaling.LifecycleHook(
    "leave",
    autoscaling_group_name=burst.name,
    lifecycle_transition="autoscaling:EC2_INSTANCE_TERMINATING",
    heartbeat_timeout=120,
)
elastic = aws.ec2.Eip("elastic", domain="vpc")
aws.ec2.EipAssociation("points", allocation_id=elastic.id, instance_id=instance.id)

gcp_network = gcp.compute.Network("gcp-network", auto_create_subnetworks=False)
gcp_subnet = gcp.compute.Subnetwork("gcp-subnet", network=gcp_network.id, ip_cidr_range="10.70.0.0/24", region=REGION)
router = gcp.compute.Router("router", network=gcp_network.id, region=REGION)
gcp.compute.RouterNat(
    "nat",
    router=router.name,
    region=REGION,
    nat_ip_allocate_option="AUTO_ONLY",
    source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
)
gcp.compute.Firewall(
    "gcp-wireguard",
    network=gcp_network.name,
    allows=[gcp.compute.FirewallAllowArgs(protocol="udp", ports=["51820"])],
    source_ranges=["0.0.0.0/0"],
    target_tags=["spoke"],
)
gcp.compute.Address("reserved", region=REGION)
gcp.compute.Instance(
    "gcp-1",
    machine_type="e2-small",
    zone=ZONE,
    boot_disk=gcp.compute.InstanceBootDiskArgs(
        initialize_params=gcp.compute.InstanceBootDiskInitializeParamsArgs(image="ubuntu-os-cloud/ubuntu-2204-lts")
    ),
    network_interfaces=[gcp.compute.InstanceNetworkInterfaceArgs(subnetwork=gcp_subnet.id)],
    metadata={"user-data": user_data},
    tags=["spoke"],
    labels={"node": "gcp-1"},
)
account = gcp.serviceaccount.Account("account", account_id="gcp-burst")
gcp_template = gcp.compute.InstanceTemplate(
    "gcp-template",
    name_prefix="burst-",
    machine_type="e2-small",
    disks=[gcp.compute.InstanceTemplateDiskArgs(source_image="ubuntu-os-cloud/ubuntu-2204-lts", boot=True)],
    network_interfaces=[gcp.compute.InstanceTemplateNetworkInterfaceArgs(subnetwork=gcp_subnet.id)],
    service_account=gcp.compute.InstanceTemplateServiceAccountArgs(email=account.email, scopes=["cloud-platform"]),
    metadata={"user-data": user_data},
)
gcp.compute.RegionInstanceGroupManager(
    "gcp-burst",
    base_instance_name="burst",
    region=REGION,
    versions=[gcp.compute.RegionInstanceGroupManagerVersionArgs(instance_template=gcp_template.self_link_unique)],
    target_size=0,
)
if VARIANT == "refused":
    hcloud.Server("retired", server_type="cx22", image="ubuntu-22.04")
pulumi.export("gateway", gateway.ipv4_address)
pulumi.export("elastic", elastic.public_ip)
