"""One resource of every kind, fitting together."""

from __future__ import annotations

import base64
import json

from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.wire import Value, plain
from tests.localcloud.provider.harness import Harness, Resource

PRIVATE_KEY = "tls:index/privateKey:PrivateKey"
SELF_SIGNED = "tls:index/selfSignedCert:SelfSignedCert"
LOCALLY_SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
CERT_REQUEST = "tls:index/certRequest:CertRequest"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIKhSIrB2yK9P45adO9DANus7gBWvXFBQULjoQUgopcd"
OTHER_ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG9YVWkuPuuKMJGfKP0V1muFR9r0Zjh/CR4rUtHZd+X1"
ZONE, REGION = "europe-west3-a", "europe-west3"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
)
Made = dict[str, Resource]


def ami(clouds: Harness) -> str:
    """Id of the newest Ubuntu 22.04 on x86-64."""
    found = clouds.invoke(
        "aws:ec2/getAmi:getAmi",
        mostRecent=True,
        owners=["099720109477"],
        filters=[{"name": "name", "values": ["ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"]}],
    )["id"]
    assert isinstance(found, str)
    return found


def make_tls(clouds: Harness) -> Made:
    """A key, an authority, a request, and the certificate that answers it."""
    key = clouds.make(PRIVATE_KEY, algorithm="ECDSA", ecdsaCurve="P256")
    pem = _bare(key, "privateKeyPem")
    ca = clouds.make(
        SELF_SIGNED,
        privateKeyPem=pem,
        allowedUses=["cert_signing", "crl_signing"],
        validityPeriodHours=87600,
        isCaCertificate=True,
        subject={"commonName": "the stack's authority"},
    )
    request = clouds.make(CERT_REQUEST, privateKeyPem=pem, subject={"commonName": "gw"}, ipAddresses=["10.100.0.1"])
    certificate = clouds.make(
        LOCALLY_SIGNED,
        caCertPem=ca.text("certPem"),
        caPrivateKeyPem=pem,
        certRequestPem=request.text("certRequestPem"),
        allowedUses=["server_auth"],
        validityPeriodHours=87600,
    )
    return {"key": key, "ca": ca, "request": request, "certificate": certificate}


def make_hcloud(clouds: Harness) -> Made:
    """A guarded server with an address of its own, and one in a private network."""
    key = clouds.make(hcloud.SSH_KEY, publicKey=ED25519, name="stack")
    guard = clouds.make(
        hcloud.FIREWALL,
        name="guard",
        rules=[{"direction": "in", "protocol": "udp", "port": "51820", "sourceIps": ["0.0.0.0/0", "::/0"]}],
    )
    ssh = clouds.make(
        hcloud.FIREWALL,
        name="ssh",
        rules=[{"direction": "in", "protocol": "tcp", "port": "22", "sourceIps": ["203.0.113.0/24"]}],
    )
    address = clouds.make(hcloud.PRIMARY_IP, name="address", type="ipv4", location="fsn1")
    group = clouds.make(hcloud.PLACEMENT_GROUP, name="group", type="spread")
    network = clouds.make(hcloud.NETWORK, name="net", ipRange="10.50.0.0/16")
    subnet = clouds.make(
        hcloud.SUBNET, networkId=network.number, type="cloud", networkZone="eu-central", ipRange="10.50.1.0/24"
    )
    server = clouds.make(
        hcloud.SERVER,
        name="gw",
        serverType="cx23",
        image="ubuntu-22.04",
        location="fsn1",
        sshKeys=[key.id],
        firewallIds=[guard.number],
        placementGroupId=group.number,
        userData="#cloud-config\n",
        labels={"node": "hetzner-gw"},
        publicNets=[{"ipv4Enabled": True, "ipv4": address.number, "ipv6Enabled": False}],
    )
    attachment = clouds.make(hcloud.FIREWALL_ATTACHMENT, firewallId=ssh.number, serverIds=[server.number])
    place = clouds.make(hcloud.SERVER_NETWORK, serverId=server.number, subnetId=subnet.id)
    hroute = clouds.make(
        hcloud.NETWORK_ROUTE, networkId=network.number, destination="10.100.0.0/16", gateway="10.50.1.1"
    )
    return {
        "hroute": hroute,
        "ssh_key": key,
        "guard": guard,
        "ssh": ssh,
        "address": address,
        "placement": group,
        "hnetwork": network,
        "hsubnet": subnet,
        "server": server,
        "attachment": attachment,
        "place": place,
    }


def make_aws(clouds: Harness) -> Made:
    """An instance with a public address in a VPC of its own."""
    vpc = clouds.make(aws.VPC, cidrBlock="10.60.0.0/24")
    subnet = clouds.make(aws.SUBNET, vpcId=vpc.id, cidrBlock="10.60.0.0/26", availabilityZone="eu-central-1a")
    gateway = clouds.make(aws.GATEWAY, vpcId=vpc.id)
    table = clouds.make(aws.ROUTE_TABLE, vpcId=vpc.id, routes=[{"cidrBlock": "0.0.0.0/0", "gatewayId": gateway.id}])
    spare = clouds.make(aws.ROUTE_TABLE, vpcId=vpc.id)
    route = clouds.make(aws.ROUTE, routeTableId=spare.id, destinationCidrBlock="0.0.0.0/0", gatewayId=gateway.id)
    association = clouds.make(aws.ASSOCIATION, subnetId=subnet.id, routeTableId=table.id)
    key = clouds.make(aws.KEY_PAIR, keyName="stack", publicKey=ED25519)
    everything: dict[str, Value] = {"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}
    wireguard: dict[str, Value] = {"protocol": "udp", "fromPort": 51820, "toPort": 51820, "cidrBlocks": ["0.0.0.0/0"]}
    group = clouds.make(aws.GROUP, name="spoke", vpcId=vpc.id, ingress=[wireguard], egress=[everything])
    other = clouds.make(aws.GROUP, name="other", vpcId=vpc.id)
    ingress = clouds.make(
        aws.INGRESS_RULE, securityGroupId=other.id, ipProtocol="tcp", fromPort=22, toPort=22, cidrIpv4="203.0.113.0/24"
    )
    egress = clouds.make(aws.EGRESS_RULE, securityGroupId=other.id, ipProtocol="-1", cidrIpv4="0.0.0.0/0")
    instance = clouds.make(
        aws.INSTANCE,
        ami=ami(clouds),
        instanceType="t3.micro",
        subnetId=subnet.id,
        vpcSecurityGroupIds=[group.id, other.id],
        keyName=key.id,
        associatePublicIpAddress=True,
        sourceDestCheck=False,
        userData="#cloud-config\n",
        metadataOptions={"httpTokens": "required", "httpPutResponseHopLimit": 1},
        rootBlockDevice={"encrypted": True},
        tags={"node": "aws-1"},
    )
    by_interface = clouds.make(
        aws.ROUTE,
        routeTableId=spare.id,
        destinationCidrBlock="10.100.0.0/16",
        networkInterfaceId=instance.outputs["primaryNetworkInterfaceId"],
    )
    elastic = clouds.make(aws.EIP, domain="vpc")
    role = clouds.make(aws.ROLE, name="pool", assumeRolePolicy=TRUST)
    profile = clouds.make(aws.INSTANCE_PROFILE, name="pool", role=role.outputs["name"])
    template = clouds.make(aws.LAUNCH_TEMPLATE, name="pool", **launched(ami(clouds), other.id))
    scaling = clouds.make(aws.SCALING_GROUP, name="pool", **scaled(template.id, subnet.id))
    hook = clouds.make(
        aws.LIFECYCLE_HOOK, name="second", autoscalingGroupName=scaling.id, lifecycleTransition=TERMINATING
    )
    return {
        "vpc": vpc,
        "subnet": subnet,
        "gateway": gateway,
        "table": table,
        "spare": spare,
        "route": route,
        "by_interface": by_interface,
        "association": association,
        "key_pair": key,
        "group": group,
        "other": other,
        "ingress": ingress,
        "egress": egress,
        "instance": instance,
        "eip": elastic,
        "role": role,
        "profile": profile,
        "template": template,
        "scaling": scaling,
        "hook": hook,
    }


def launched(image: str, group: str, user_data: str = "#cloud-config\n") -> dict[str, Value]:
    """What a launch template says of a pool's instances."""
    return {
        "imageId": image,
        "keyName": "stack",
        "userData": base64.b64encode(user_data.encode()).decode(),
        "iamInstanceProfile": {"name": "pool"},
        "instanceInitiatedShutdownBehavior": "terminate",
        "networkInterfaces": [
            {
                "deviceIndex": 0,
                "associatePublicIpAddress": "true",
                "deleteOnTermination": "true",
                "securityGroups": [group],
            }
        ],
        "metadataOptions": {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1},
        "blockDeviceMappings": [
            {
                "deviceName": "/dev/sda1",
                "ebs": {"encrypted": "true", "volumeType": "gp3", "deleteOnTermination": "true"},
            }
        ],
        "tagSpecifications": [
            {"resourceType": "instance", "tags": {"Name": "dev-aws-burst", "pool": "aws-burst"}},
            {"resourceType": "volume", "tags": {"pool": "aws-burst"}},
        ],
    }


def scaled(template: str, subnet: str) -> dict[str, Value]:
    """An Auto Scaling group of 2 to 6 spot instances; those that are to go get 120 s."""
    return {
        "minSize": 2,
        "maxSize": 6,
        "vpcZoneIdentifiers": [subnet],
        "mixedInstancesPolicy": {
            "launchTemplate": {
                "launchTemplateSpecification": {"launchTemplateId": template, "version": "$Latest"},
                "overrides": [{"instanceType": "t3.small"}, {"instanceType": "m5.large"}],
            },
            "instancesDistribution": {
                "onDemandBaseCapacity": 0,
                "onDemandPercentageAboveBaseCapacity": 0,
                "spotAllocationStrategy": "capacity-optimized",
            },
        },
        "capacityRebalance": True,
        "healthCheckType": "EC2",
        "forceDelete": True,
        "waitForCapacityTimeout": "0",
        "initialLifecycleHooks": [
            {
                "name": "leave",
                "lifecycleTransition": TERMINATING,
                "heartbeatTimeout": 120,
                "defaultResult": "CONTINUE",
            }
        ],
        "tags": [{"key": "stack", "value": "dev", "propagateAtLaunch": True}],
    }


def make_gcp(clouds: Harness) -> Made:
    """An instance behind Cloud NAT, in a network of its own."""
    network = clouds.make(gcp.NETWORK, name="net", autoCreateSubnetworks=False)
    subnet = clouds.make(gcp.SUBNETWORK, name="sub", network=network.id, ipCidrRange="10.70.0.0/24", region=REGION)
    router = clouds.make(gcp.ROUTER, name="router", network=network.id, region=REGION)
    nat = clouds.make(
        gcp.ROUTER_NAT,
        name="nat",
        router="router",
        region=REGION,
        natIpAllocateOption="AUTO_ONLY",
        sourceSubnetworkIpRangesToNat="ALL_SUBNETWORKS_ALL_IP_RANGES",
    )
    wireguard = clouds.make(
        gcp.FIREWALL,
        name="wireguard",
        network="net",
        allows=[{"protocol": "udp", "ports": ["51820"]}],
        sourceRanges=["0.0.0.0/0"],
        targetTags=["spoke"],
    )
    reserved = clouds.make(gcp.ADDRESS, name="reserved", region=REGION)
    instance = clouds.make(
        gcp.INSTANCE,
        name="gcp-1",
        machineType="e2-small",
        zone=ZONE,
        bootDisk={"initializeParams": {"image": "ubuntu-os-cloud/ubuntu-2204-lts"}},
        networkInterfaces=[{"subnetwork": subnet.id}],
        metadata={"user-data": "#cloud-config\n", "ssh-keys": f"ubuntu:{ED25519}"},
        tags=["spoke"],
        labels={"node": "gcp-1"},
    )
    groute = clouds.make(
        gcp.ROUTE, name="overlay", network="net", destRange="10.100.0.0/16", nextHopInstance=instance.id, tags=["vm"]
    )
    account = clouds.make(gcp.ACCOUNT, accountId="gcp-burst")
    template = clouds.make(gcp.INSTANCE_TEMPLATE, namePrefix="pool-", **described(subnet.id, account.text("email")))
    manager = clouds.make(
        gcp.GROUP_MANAGER,
        name="pool",
        baseInstanceName="pool",
        region=REGION,
        versions=[{"instanceTemplate": template.outputs["selfLinkUnique"]}],
        targetSize=2,
        updatePolicy={"type": "OPPORTUNISTIC", "minimalAction": "REPLACE"},
        instanceLifecyclePolicy={"forceUpdateOnRepair": "YES"},
    )
    return {
        "gnetwork": network,
        "gsubnet": subnet,
        "router": router,
        "nat": nat,
        "wireguard": wireguard,
        "reserved": reserved,
        "ginstance": instance,
        "groute": groute,
        "account": account,
        "gtemplate": template,
        "manager": manager,
    }


def described(subnet: str, account: str, user_data: str = "#cloud-config\n") -> dict[str, Value]:
    """What an instance template says of a pool's spot instances."""
    return {
        "machineType": "e2-small",
        "disks": [{"boot": True, "autoDelete": True, "sourceImage": "ubuntu-os-cloud/ubuntu-2204-lts"}],
        "networkInterfaces": [{"subnetwork": subnet}],
        "scheduling": {
            "provisioningModel": "SPOT",
            "preemptible": True,
            "automaticRestart": False,
            "onHostMaintenance": "TERMINATE",
            "instanceTerminationAction": "STOP",
        },
        "shieldedInstanceConfig": {"enableSecureBoot": True, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "serviceAccount": {"email": account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]},
        "metadata": {"user-data": user_data, "ssh-keys": f"ubuntu:{ED25519}"},
        "tags": ["spoke"],
        "labels": {"pool": "gcp-burst"},
        "canIpForward": False,
    }


def make_everything(clouds: Harness) -> Made:
    """All of the above, and an elastic address pointing to the instance."""
    made = {**make_tls(clouds), **make_hcloud(clouds), **make_aws(clouds), **make_gcp(clouds)}
    made["eip_association"] = clouds.make(
        aws.EIP_ASSOCIATION, allocationId=made["eip"].id, instanceId=made["instance"].id
    )
    return made


def _bare(resource: Resource, name: str) -> str:
    value = plain(resource.outputs[name])
    assert isinstance(value, str)
    return value
