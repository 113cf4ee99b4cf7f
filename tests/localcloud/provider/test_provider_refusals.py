"""What the clouds refuse is refused when it is checked, and so in a preview: in their words, at the right property."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.provider.values import UNKNOWN, Value
from tests.localcloud.provider.harness import Harness, RefusedError
from tests.localcloud.provider.scenery import (
    CERT_REQUEST,
    ED25519,
    OTHER_ED25519,
    PRIVATE_KEY,
    REGION,
    SELF_SIGNED,
    ZONE,
    Made,
    ami,
    make_everything,
)

ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBBiFTiPMDs0OZG2hBpXLLFdqVjSyRtq0xPeCHcxw"
    "RH8YDPVXvuBFhJPyvc4kQHBZ7wKHDmBTRjY5gmKqWK0n3C0="
)


@dataclass(frozen=True)
class Scene:
    """Everything made once, which every case looks at and none changes."""

    clouds: Harness
    made: Made
    ami: str

    def fill(self, value: Value) -> Value:
        """The value with `$name` as the id of what was made under that name, `#name` as its number."""
        match value:
            case str() if value == "$ami":
                return self.ami
            case str() if value.startswith("$"):
                return self.made[value[1:]].id
            case str() if value.startswith("#") and value[1:] in self.made:
                return self.made[value[1:]].number
            case list():
                return [self.fill(item) for item in value]
            case dict():
                return {name: self.fill(item) for name, item in value.items()}
            case _:
                return value


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    directory: Path = tmp_path_factory.mktemp("refusals")
    clouds = Harness(directory)
    yield Scene(clouds, make_everything(clouds), ami(clouds))
    clouds.close()


RULE: dict[str, Value] = {"direction": "in", "protocol": "tcp", "port": "80", "sourceIps": ["0.0.0.0/0"]}
INLINE: dict[str, Value] = {"protocol": "tcp", "fromPort": 80, "toPort": 80, "cidrBlocks": ["0.0.0.0/0"]}
CARD: dict[str, Value] = {"subnetwork": "$gsubnet"}
GOOD: dict[str, dict[str, Value]] = {
    hcloud.SSH_KEY: {"publicKey": OTHER_ED25519, "name": "another"},
    hcloud.FIREWALL: {"name": "web", "rules": [RULE], "labels": {"role": "gateway"}},
    hcloud.FIREWALL_ATTACHMENT: {"firewallId": "#guard", "serverIds": ["#server"]},
    hcloud.PRIMARY_IP: {"name": "other", "type": "ipv4", "location": "fsn1"},
    hcloud.NETWORK: {"name": "other", "ipRange": "10.90.0.0/16"},
    hcloud.SUBNET: {"networkId": "#hnetwork", "type": "cloud", "networkZone": "eu-central", "ipRange": "10.50.2.0/24"},
    hcloud.SERVER_NETWORK: {"serverId": "#server", "networkId": UNKNOWN},
    hcloud.PLACEMENT_GROUP: {"name": "other", "type": "spread"},
    hcloud.SERVER: {"name": "web-1", "serverType": "cx23", "image": "ubuntu-22.04", "location": "fsn1"},
    aws.VPC: {"cidrBlock": "10.91.0.0/24"},
    aws.SUBNET: {"vpcId": "$vpc", "cidrBlock": "10.60.0.64/26"},
    aws.GATEWAY: {"vpcId": UNKNOWN},
    aws.ROUTE_TABLE: {"vpcId": "$vpc", "routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": "$gateway"}]},
    aws.ROUTE: {"routeTableId": UNKNOWN, "destinationCidrBlock": "0.0.0.0/0", "gatewayId": "$gateway"},
    aws.ASSOCIATION: {"subnetId": UNKNOWN, "routeTableId": "$table"},
    aws.KEY_PAIR: {"keyName": "other", "publicKey": OTHER_ED25519},
    aws.GROUP: {"name": "web", "vpcId": "$vpc", "ingress": [INLINE]},
    aws.INGRESS_RULE: {
        "securityGroupId": "$group",
        "ipProtocol": "tcp",
        "fromPort": 443,
        "toPort": 443,
        "cidrIpv4": "0.0.0.0/0",
    },
    aws.INSTANCE: {"ami": "$ami", "instanceType": "t3.micro", "subnetId": "$subnet"},
    aws.EIP: {"domain": "vpc"},
    aws.EIP_ASSOCIATION: {"allocationId": UNKNOWN, "instanceId": "$instance"},
    gcp.NETWORK: {"name": "other", "autoCreateSubnetworks": False},
    gcp.SUBNETWORK: {"name": "other", "network": "$gnetwork", "ipCidrRange": "10.71.0.0/24", "region": REGION},
    gcp.ROUTER: {"name": "other", "network": "net", "region": REGION},
    gcp.ROUTER_NAT: {
        "name": "other",
        "router": UNKNOWN,
        "region": REGION,
        "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
    },
    gcp.FIREWALL: {"name": "web", "network": "net", "allows": [{"protocol": "tcp"}], "sourceRanges": ["0.0.0.0/0"]},
    gcp.ADDRESS: {"name": "other", "region": REGION},
    gcp.INSTANCE: {
        "name": "web-1",
        "machineType": "e2-small",
        "zone": ZONE,
        "bootDisk": {"initializeParams": {"image": "debian-cloud/debian-12"}},
        "networkInterfaces": [CARD],
    },
    PRIVATE_KEY: {"algorithm": "ED25519"},
    SELF_SIGNED: {"privateKeyPem": "unread", "allowedUses": ["cert_signing"], "validityPeriodHours": 1},
    CERT_REQUEST: {"privateKeyPem": "unread", "dnsNames": ["gw.example"], "ipAddresses": ["10.0.0.1", "fd00::1"]},
}
"""Inputs that pass; a case changes one thing in them."""

Case = tuple[str, Mapping[str, Value], str, str]
LONG = "x" * 33_000

HCLOUD: list[Case] = [
    (hcloud.SSH_KEY, {"publicKey": "not a key"}, "publicKey", "not an OpenSSH public key"),
    (hcloud.SSH_KEY, {"publicKey": ED25519}, "publicKey", "SSH key not unique (uniqueness_error)"),
    (hcloud.SSH_KEY, {"name": "stack"}, "name", "SSH key name is already used (uniqueness_error)"),
    (hcloud.SSH_KEY, {"name": "n" * 129}, "name", "length must be 1 to 128"),
    (hcloud.SSH_KEY, {"publicKey": None}, "publicKey", "Missing required argument"),
    (hcloud.FIREWALL, {"name": "guard"}, "name", "firewall name is already used"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "port": None}]}, "rules[0].port", "port required for protocol tcp"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "port": "80-"}]}, "rules[0].port", "invalid port 80-"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "port": "90-80"}]}, "rules[0].port", "invalid port"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "port": "65536"}]}, "rules[0].port", "invalid port"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "protocol": "icmp"}]}, "rules[0].port", "port not allowed for protocol icmp"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "protocol": "sctp"}]}, "rules[0].protocol", "sctp is not a valid protocol"),
    (
        hcloud.FIREWALL,
        {"rules": [{**RULE, "direction": "both"}]},
        "rules[0].direction",
        "both is not a valid direction",
    ),
    (hcloud.FIREWALL, {"rules": [{**RULE, "sourceIps": None}]}, "rules[0].sourceIps", "sourceIps required"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "direction": "out"}]}, "rules[0].sourceIps", "not allowed for direction out"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "sourceIps": ["10.0.0.1/8"]}]}, "rules[0].sourceIps[0]", '"10.0.0.0/8"'),
    (hcloud.FIREWALL, {"rules": [{**RULE, "sourceIps": ["ten/8"]}]}, "rules[0].sourceIps[0]", "invalid CIDR address"),
    (hcloud.FIREWALL, {"rules": [{**RULE, "proto": "tcp"}]}, "rules[0].proto", 'did you mean "protocol"?'),
    (hcloud.FIREWALL, {"rules": [{**RULE, "direction": None}]}, "rules[0].direction", "Missing required argument"),
    (hcloud.FIREWALL, {"rules": [RULE] * 501}, "rules", "501 effective rules, the limit is 500"),
    (hcloud.FIREWALL, {"labels": {"a b": "c"}}, "labels.a b", "label key 'a b' is not correctly formatted"),
    (hcloud.FIREWALL, {"labels": {"a": "b c"}}, "labels.a", "label value 'b c' (key: a) is not correctly formatted"),
    (hcloud.FIREWALL, {"labels": {"a": "x" * 64}}, "labels.a", "is not correctly formatted"),
    (hcloud.FIREWALL, {"applyTos": [{"server": 1}]}, "applyTos[0]", "server with ID '1' not found"),
    (hcloud.FIREWALL_ATTACHMENT, {"firewallId": 1}, "firewallId", "firewall with ID '1' not found (not_found)"),
    (hcloud.FIREWALL_ATTACHMENT, {"serverIds": [1]}, "serverIds[0]", "server with ID '1' not found"),
    (hcloud.FIREWALL_ATTACHMENT, {"serverIds": None}, "", "no resources referenced"),
    (hcloud.FIREWALL_ATTACHMENT, {"firewallId": "#ssh"}, "firewallId", "firewall_already_applied"),
    (hcloud.PRIMARY_IP, {"type": "ipv5"}, "type", "ipv5 is neither ipv4 nor ipv6"),
    (hcloud.PRIMARY_IP, {"location": "ber1"}, "location", "location ber1 not found"),
    (hcloud.PRIMARY_IP, {"location": None}, "", "Exactly one of these attributes must be configured"),
    (hcloud.PRIMARY_IP, {"datacenter": "fsn1-dc14"}, "datacenter", "Removed Attribute"),
    (hcloud.NETWORK, {"ipRange": "10.90.0.1/16"}, "ipRange", 'did you mean "10.90.0.0/16"?'),
    (hcloud.NETWORK, {"ipRange": "8.8.0.0/16"}, "ipRange", "no private IPv4 range"),
    (hcloud.NETWORK, {"ipRange": "10.90.0.0/25"}, "ipRange", "smaller than /24"),
    (hcloud.NETWORK, {"ipRange": "10.60.0.0/16"}, "ipRange", "overlaps 10.60.0.0/24 of the AWS VPC"),
    (hcloud.SUBNET, {"ipRange": "10.51.0.0/24"}, "ipRange", "not inside the network's 10.50.0.0/16"),
    (hcloud.SUBNET, {"ipRange": "10.50.1.128/25"}, "ipRange", "overlaps another subnet"),
    (hcloud.SUBNET, {"type": "lan"}, "type", "expected type to be one of [cloud server vswitch], got lan"),
    (hcloud.SUBNET, {"networkZone": "eu"}, "networkZone", "invalid input in field 'network_zone'"),
    (hcloud.SUBNET, {"networkId": 1}, "networkId", "network with ID '1' not found"),
    (hcloud.SERVER_NETWORK, {"networkId": "#hnetwork"}, "serverId", "server_already_attached"),
    (hcloud.SERVER_NETWORK, {"subnetId": "$hsubnet"}, "", "Exactly one of these attributes must be configured"),
    (hcloud.PLACEMENT_GROUP, {"type": "pack"}, "type", "pack is not a valid placement group type"),
    (hcloud.SERVER, {"serverType": "cx22"}, "serverType", 'Server Type "cx22" is unavailable in all locations'),
    (hcloud.SERVER, {"serverType": "cx22"}, "serverType", "its successor is cx23"),
    (hcloud.SERVER, {"serverType": "cx99"}, "serverType", "server type cx99 not found"),
    (hcloud.SERVER, {"serverType": "cx23", "location": "ash"}, "serverType", "unsupported location for server type"),
    (hcloud.SERVER, {"serverType": None}, "serverType", "Missing required argument"),
    (hcloud.SERVER, {"image": "ubuntu-20.04"}, "image", "image ubuntu-20.04 for architecture x86 not found"),
    (hcloud.SERVER, {"image": "rocky-9"}, "image", "the local cloud has no image that stands for rocky-9"),
    (hcloud.SERVER, {"image": None}, "image", "missing required field 'image'"),
    (hcloud.SERVER, {"location": "fra1"}, "location", "location fra1 not found"),
    (hcloud.SERVER, {"datacenter": "fsn1-dc14"}, "datacenter", 'use "location"'),
    (hcloud.SERVER, {"name": "gw"}, "name", "server name is already used"),
    (hcloud.SERVER, {"name": "my_server"}, "name", "not a valid hostname as per RFC 1123"),
    (hcloud.SERVER, {"name": "-a"}, "name", "not a valid hostname"),
    (hcloud.SERVER, {"name": "a" * 64}, "name", "not a valid hostname"),
    (hcloud.SERVER, {"userData": LONG}, "userData", "must be at most 32768 bytes, has 33000"),
    (hcloud.SERVER, {"userdata": "x"}, "userdata", 'did you mean "userData"?'),
    (hcloud.SERVER, {"user_data": "x"}, "user_data", 'did you mean "userData"?'),
    (hcloud.SERVER, {"sshKeys": ["nobody"]}, "sshKeys[0]", "SSH key not found: nobody"),
    (hcloud.SERVER, {"sshKeys": "stack"}, "sshKeys", "expected list type, got string 'stack'"),
    (hcloud.SERVER, {"firewallIds": [1]}, "firewallIds[0]", "firewall with ID '1' not found"),
    (hcloud.SERVER, {"firewallIds": ["#guard"] * 6}, "firewallIds", "the limit is 5 a server"),
    (hcloud.SERVER, {"placementGroupId": 1}, "placementGroupId", "placement group with ID '1' not found"),
    (hcloud.SERVER, {"deleteProtection": True}, "rebuildProtection", "have to be the same"),
    (hcloud.SERVER, {"backups": "often"}, "backups", "expected boolean type, got string 'often'"),
    (hcloud.SERVER, {"publicNets": [{"ipv4": "#address"}]}, "publicNets[0].ipv4", "primary_ip_assigned"),
    (hcloud.SERVER, {"publicNets": [{"ipv6": "#address"}]}, "publicNets[0].ipv6", "primary_ip_version_mismatch"),
    (hcloud.SERVER, {"publicNets": [{"ipv4": 1}]}, "publicNets[0].ipv4", "primary IP with ID '1' not found"),
    (
        hcloud.SERVER,
        {"publicNets": [{"ipv4Enabled": False, "ipv6Enabled": False}]},
        "publicNets",
        "neither a public nor a private network",
    ),
    (hcloud.SERVER, {"networks": [{}]}, "networks[0]", "networkId or subnetId has to be set"),
    (hcloud.SERVER, {"networks": [{"networkId": 1}]}, "networks[0].networkId", "network with ID '1' not found"),
    (
        hcloud.SERVER,
        {"networks": [{"networkId": "#hnetwork", "ip": "10.50.9.9"}]},
        "networks[0].ip",
        "IP 10.50.9.9 is in no subnet",
    ),
    (hcloud.SERVER, {"iso": "x.iso"}, "iso", "the local cloud cannot boot from iso"),
]
AWS: list[Case] = [
    (aws.VPC, {"cidrBlock": None}, "cidrBlock", "Missing required argument"),
    (aws.VPC, {"cidrBlock": "10.91.0.0/8"}, "cidrBlock", "is not the start of the CIDR block"),
    (aws.VPC, {"cidrBlock": "10.0.0.0/8"}, "cidrBlock", "InvalidVpc.Range"),
    (aws.VPC, {"cidrBlock": "10.91.0.0/29"}, "cidrBlock", "InvalidVpc.Range"),
    (aws.VPC, {"cidrBlock": "10.70.0.0/16"}, "cidrBlock", "overlaps 10.70.0.0/24 of the GCP subnetwork"),
    (aws.VPC, {"cidrBlock": "198.18.2.0/24"}, "cidrBlock", "its own internet"),
    (aws.VPC, {"region": "eu-central-9"}, "region", "Invalid AWS Region: eu-central-9"),
    (aws.VPC, {"tags": {"aws:x": "1"}}, "tags.aws:x", "aws: is reserved"),
    (aws.VPC, {"tags": {"k" * 129: "1"}}, f"tags.{'k' * 129}", "maximum length of 128"),
    (aws.VPC, {"tags": {"k": "v" * 257}}, "tags.k", "maximum length of 256"),
    (aws.VPC, {"tags": {str(n): "" for n in range(51)}}, "tags", "TagLimitExceeded"),
    (aws.SUBNET, {"cidrBlock": "10.61.0.0/26"}, "cidrBlock", "InvalidSubnet.Range"),
    (aws.SUBNET, {"cidrBlock": "10.60.0.32/28"}, "cidrBlock", "InvalidSubnet.Conflict"),
    (aws.SUBNET, {"cidrBlock": None}, "cidrBlock", "MissingParameter"),
    (aws.SUBNET, {"availabilityZone": "eu-central-1z"}, "availabilityZone", "eu-central-1a, eu-central-1b"),
    (aws.SUBNET, {"vpcId": "vpc-1"}, "vpcId", "InvalidVpcID.NotFound: The vpc 'vpc-1' does not exist"),
    (aws.SUBNET, {"region": "us-east-1"}, "vpcId", "InvalidVpcID.NotFound"),
    (aws.SUBNET, {"cidr": "10.60.0.64/26"}, "cidr", 'did you mean "cidrBlock"?'),
    (aws.GATEWAY, {"vpcId": "$vpc"}, "vpcId", "Resource.AlreadyAssociated"),
    (
        aws.ROUTE_TABLE,
        {"routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": "igw-1"}]},
        "routes[0].gatewayId",
        "InvalidGatewayID.NotFound",
    ),
    (
        aws.ROUTE_TABLE,
        {"routes": [{"cidrBlock": "0.0.0.0/0", "natGatewayId": "nat-1"}]},
        "routes[0].natGatewayId",
        "internet gateways alone",
    ),
    (aws.ROUTE_TABLE, {"routes": [{"gatewayId": "$gateway"}]}, "routes[0]", "exactly one of cidrBlock"),
    (aws.ROUTE, {"routeTableId": "$spare"}, "destinationCidrBlock", "RouteAlreadyExists"),
    (aws.ROUTE, {"destinationCidrBlock": "8.8.8.0/24"}, "destinationCidrBlock", "0.0.0.0/0 alone"),
    (aws.ROUTE, {"routeTableId": None}, "routeTableId", "Missing required argument"),
    (aws.ASSOCIATION, {"subnetId": "$subnet"}, "subnetId", "Resource.AlreadyAssociated"),
    (aws.ASSOCIATION, {"routeTableId": "rtb-1"}, "routeTableId", "InvalidRouteTableID.NotFound: The route table"),
    (aws.KEY_PAIR, {"keyName": "stack"}, "keyName", "InvalidKeyPair.Duplicate"),
    (aws.KEY_PAIR, {"publicKey": "zzz"}, "publicKey", "InvalidKey.Format"),
    (aws.KEY_PAIR, {"publicKey": ECDSA}, "publicKey", "ecdsa-sha2-nistp256 keys cannot be imported"),
    (aws.GROUP, {"name": "spoke"}, "name", "InvalidGroup.Duplicate"),
    (aws.GROUP, {"name": "default"}, "name", "InvalidGroup.Duplicate"),
    (aws.GROUP, {"name": "sg-web"}, "name", "cannot begin with sg-"),
    (aws.GROUP, {"name": "wéb"}, "name", "Invalid security group name"),
    (aws.GROUP, {"description": "what's this?"}, "description", "Invalid security group description"),
    (aws.GROUP, {"vpcId": None}, "vpcId", "VPCIdNotSpecified"),
    (aws.GROUP, {"ingress": [{**INLINE, "protocol": "esp"}]}, "ingress[0].protocol", "Invalid value 'esp'"),
    (aws.GROUP, {"ingress": [{**INLINE, "toPort": 70}]}, "ingress[0].fromPort", "Invalid TCP/UDP port range (80:70)"),
    (aws.GROUP, {"ingress": [{**INLINE, "protocol": "-1"}]}, "ingress[0].fromPort", "must both be 0"),
    (aws.GROUP, {"ingress": [{**INLINE, "cidrBlocks": ["::/0"]}]}, "ingress[0].cidrBlocks[0]", "is malformed"),
    (
        aws.GROUP,
        {"ingress": [{**INLINE, "cidrBlocks": ["1.2.3.4/24"]}]},
        "ingress[0].cidrBlocks[0]",
        "start of the CIDR",
    ),
    (
        aws.GROUP,
        {"ingress": [{**INLINE, "securityGroups": ["sg-1"]}]},
        "ingress[0].securityGroups[0]",
        "InvalidGroup.NotFound",
    ),
    (aws.GROUP, {"ingress": [{**INLINE, "cidrBlocks": None}]}, "ingress[0]", "one of cidrBlocks"),
    (
        aws.GROUP,
        {"egress": [{**INLINE, "cidrBlocks": [f"10.0.{n}.0/24" for n in range(61)]}]},
        "egress",
        "RulesPerSecurityGroupLimitExceeded",
    ),
    (aws.INGRESS_RULE, {"cidrIpv6": "::/0"}, "", "Exactly one of these attributes must be configured"),
    (aws.INGRESS_RULE, {"cidrIpv4": None}, "", "Exactly one of these attributes must be configured"),
    (aws.INGRESS_RULE, {"cidrIpv4": "10.0.0.1/24"}, "cidrIpv4", "start of the CIDR block"),
    (aws.INGRESS_RULE, {"toPort": None}, "fromPort", "Must specify both from and to ports"),
    (aws.INGRESS_RULE, {"securityGroupId": "sg-1"}, "securityGroupId", "InvalidGroup.NotFound"),
    (
        aws.INGRESS_RULE,
        {"securityGroupId": "$other", "fromPort": 22, "toPort": 22, "cidrIpv4": "203.0.113.0/24"},
        "",
        "InvalidPermission.Duplicate",
    ),
    (aws.INSTANCE, {"ami": None}, "ami", "Missing required argument"),
    (aws.INSTANCE, {"ami": "ami-0123456789abcdef0"}, "ami", "InvalidAMIID.NotFound"),
    (aws.INSTANCE, {"ami": "ubuntu"}, "ami", "InvalidAMIID.Malformed"),
    (aws.INSTANCE, {"instanceType": "t3.gigantic"}, "instanceType", "InvalidInstanceType"),
    (aws.INSTANCE, {"instanceType": "t4g.micro"}, "ami", "does not match the architecture 'x86_64'"),
    (aws.INSTANCE, {"subnetId": None}, "subnetId", "VPCIdNotSpecified"),
    (aws.INSTANCE, {"subnetId": "subnet-1"}, "subnetId", "InvalidSubnetID.NotFound"),
    (aws.INSTANCE, {"keyName": "nobody"}, "keyName", "InvalidKeyPair.NotFound: The key pair 'nobody'"),
    (aws.INSTANCE, {"vpcSecurityGroupIds": ["sg-1"]}, "vpcSecurityGroupIds[0]", "InvalidGroup.NotFound"),
    (aws.INSTANCE, {"vpcSecurityGroupIds": ["$group"] * 6}, "vpcSecurityGroupIds", "the limit is 5"),
    (aws.INSTANCE, {"userData": "x" * 16385}, "userData", "User data is limited to 16384 bytes, has 16385"),
    (aws.INSTANCE, {"userData": "x", "userDataBase64": "eA=="}, "userData", "conflicts with"),
    (aws.INSTANCE, {"userDataBase64": "%"}, "userDataBase64", "must be base64"),
    (aws.INSTANCE, {"privateIp": "10.60.0.3"}, "privateIp", "does not fall within"),
    (aws.INSTANCE, {"privateIp": "10.60.0.200"}, "privateIp", "does not fall within"),
    (aws.INSTANCE, {"availabilityZone": "eu-central-1b"}, "availabilityZone", "is in eu-central-1a"),
    (aws.INSTANCE, {"metadataOptions": {"httpTokens": "yes"}}, "metadataOptions.httpTokens", "got yes"),
    (
        aws.INSTANCE,
        {"metadataOptions": {"httpPutResponseHopLimit": 65}},
        "metadataOptions.httpPutResponseHopLimit",
        "range (1 - 64), got 65",
    ),
    (
        aws.INSTANCE,
        {"metadataOptions": {"instanceMetadataTags": "enabled"}, "tags": {"a b": "c"}},
        "metadataOptions.instanceMetadataTags",
        "not a valid tag key",
    ),
    (aws.INSTANCE, {"rootBlockDevice": {"volumeType": "ssd"}}, "rootBlockDevice.volumeType", "got ssd"),
    (aws.INSTANCE, {"rootBlockDevice": {"volumeSize": 4}}, "rootBlockDevice.volumeSize", "smaller than snapshot"),
    (aws.INSTANCE, {"rootBlockDevice": {"encryption": True}}, "rootBlockDevice.encryption", '"encrypted"'),
    (aws.INSTANCE, {"ipv6AddressCount": 1}, "ipv6AddressCount", "cannot honour"),
    (aws.EIP, {"domain": "standard"}, "domain", "got standard"),
    (aws.EIP, {"instance": "i-1"}, "instance", "InvalidInstanceID.NotFound"),
    (aws.EIP_ASSOCIATION, {"allocationId": "$eip"}, "allocationId", "Resource.AlreadyAssociated"),
]
GCP: list[Case] = [
    (gcp.NETWORK, {"name": "Other"}, "name", "doesn't match regexp"),
    (gcp.NETWORK, {"name": "n" * 64}, "name", "doesn't match regexp"),
    (gcp.NETWORK, {"name": "1st"}, "name", "doesn't match regexp"),
    (gcp.NETWORK, {"name": "net"}, "name", "Error 409: The resource 'projects/my-project/global/networks/net' already"),
    (gcp.NETWORK, {"mtu": 1200}, "mtu", "Must be 1300 to 8896"),
    (gcp.NETWORK, {"routingMode": "LOCAL"}, "routingMode", "got LOCAL"),
    (gcp.SUBNETWORK, {"ipCidrRange": "10.70.0.128/25"}, "ipCidrRange", "conflicts with existing subnetwork 'sub'"),
    (gcp.SUBNETWORK, {"ipCidrRange": "10.71.0.0/30"}, "ipCidrRange", "/29 or larger"),
    (gcp.SUBNETWORK, {"ipCidrRange": "10.71.0.1/24"}, "ipCidrRange", "start of the CIDR"),
    (gcp.SUBNETWORK, {"ipCidrRange": None}, "ipCidrRange", "Missing required argument"),
    (gcp.SUBNETWORK, {"network": "nowhere"}, "network", "'nowhere'. The referenced resource cannot be found"),
    (gcp.SUBNETWORK, {"region": "europe-west99"}, "region", "Unknown region"),
    (gcp.SUBNETWORK, {"region": None}, "region", "Cannot determine region"),
    (gcp.SUBNETWORK, {"stackType": "IPV4_IPV6"}, "stackType", "no IPv6 inside networks"),
    (gcp.ROUTER, {"network": "nowhere"}, "network", "cannot be found"),
    (gcp.ROUTER, {"bgp": {"asn": 64512}}, "bgp", "cannot honour bgp"),
    (gcp.ROUTER_NAT, {"router": "nowhere"}, "router", "cannot be found"),
    (gcp.ROUTER_NAT, {"router": "router"}, "sourceSubnetworkIpRangesToNat", "covers these subnetworks already"),
    (gcp.ROUTER_NAT, {"natIpAllocateOption": "MANUAL_ONLY"}, "natIps", "have to be set with MANUAL_ONLY"),
    (gcp.ROUTER_NAT, {"natIpAllocateOption": "AUTO"}, "natIpAllocateOption", "got AUTO"),
    (gcp.ROUTER_NAT, {"sourceSubnetworkIpRangesToNat": "LIST_OF_SUBNETWORKS"}, "subnetworks", "have to be set"),
    (gcp.FIREWALL, {"sourceRanges": None}, "sourceRanges", "must be defined"),
    (gcp.FIREWALL, {"sourceRanges": ["10.0.0.1/8"]}, "sourceRanges[0]", "start of the CIDR"),
    (gcp.FIREWALL, {"allows": None}, "allows", "one of `allow,deny` must be specified"),
    (gcp.FIREWALL, {"denies": [{"protocol": "tcp"}]}, "allows", "one of `allow,deny`"),
    (gcp.FIREWALL, {"allows": [{"protocol": "esp"}]}, "allows[0].protocol", "filters tcp, udp, icmp and all"),
    (gcp.FIREWALL, {"allows": [{"protocol": "icmp", "ports": ["1"]}]}, "allows[0].ports[0]", "Ports may only"),
    (gcp.FIREWALL, {"allows": [{"protocol": "tcp", "ports": ["80-70"]}]}, "allows[0].ports[0]", "Must be a port"),
    (gcp.FIREWALL, {"allows": [{"ports": ["80"]}]}, "allows[0].protocol", "Missing required argument"),
    (gcp.FIREWALL, {"priority": 70000}, "priority", "range (0 - 65535), got 70000"),
    (gcp.FIREWALL, {"direction": "IN"}, "direction", "got IN"),
    (gcp.FIREWALL, {"direction": "EGRESS"}, "sourceRanges", "EGRESS rules have no sources"),
    (gcp.FIREWALL, {"targetTags": ["Web"]}, "targetTags[0]", "Must be a match of regex"),
    (gcp.FIREWALL, {"network": "nowhere"}, "network", "cannot be found"),
    (gcp.FIREWALL, {"targetServiceAccounts": ["a@b"]}, "targetServiceAccounts", "cannot honour"),
    (gcp.ADDRESS, {"addressType": "PUBLIC"}, "addressType", "got PUBLIC"),
    (gcp.ADDRESS, {"labels": {"A": "b"}}, "labels.A", "'A=b'"),
    (gcp.INSTANCE, {"name": "gcp-1"}, "name", "already exists"),
    (gcp.INSTANCE, {"zone": "europe-west3-z"}, "zone", "Unknown zone"),
    (gcp.INSTANCE, {"zone": None}, "zone", "Cannot determine zone"),
    (gcp.INSTANCE, {"project": 5, "labels": {"k": "V"}}, "labels.k", "'k=V'"),
    (gcp.INSTANCE, {"machineType": "e2-huge"}, "machineType", "machineTypes/e2-huge'. The referenced resource"),
    (
        gcp.INSTANCE,
        {"bootDisk": {"initializeParams": {"image": "debian-cloud/debian-7"}}},
        "bootDisk.initializeParams.image",
        "Could not find image or family debian-cloud/debian-7",
    ),
    (
        gcp.INSTANCE,
        {"bootDisk": {"initializeParams": {"image": "debian-12", "size": 5}}},
        "bootDisk.initializeParams.size",
        "cannot be smaller than the image size (10 GB)",
    ),
    (
        gcp.INSTANCE,
        {"bootDisk": {"initializeParams": {"image": "debian-12", "type": "floppy"}}},
        "bootDisk.initializeParams.type",
        "floppy",
    ),
    (gcp.INSTANCE, {"bootDisk": {}}, "bootDisk.initializeParams.image", "has to have a source or an image"),
    (gcp.INSTANCE, {"bootDisk": None}, "bootDisk", "Missing required argument"),
    (gcp.INSTANCE, {"networkInterfaces": [{}]}, "networkInterfaces[0]", "exactly one of network or subnetwork"),
    (gcp.INSTANCE, {"networkInterfaces": []}, "networkInterfaces", "one network interface, not 0"),
    (gcp.INSTANCE, {"networkInterfaces": [{"network": "default"}]}, "networkInterfaces[0].network", "cannot be found"),
    (
        gcp.INSTANCE,
        {"networkInterfaces": [{**CARD, "networkIp": "10.70.0.1"}]},
        "networkInterfaces[0].networkIp",
        "already being used",
    ),
    (
        gcp.INSTANCE,
        {"networkInterfaces": [{**CARD, "networkIp": "10.71.0.5"}]},
        "networkInterfaces[0].networkIp",
        "outside the subnetwork",
    ),
    (
        gcp.INSTANCE,
        {"networkInterfaces": [{**CARD, "accessConfigs": [{"natIp": "198.18.3.77"}]}]},
        "networkInterfaces[0].accessConfigs[0].natIp",
        "was not found in region",
    ),
    (gcp.INSTANCE, {"metadata": {"user-data": "x" * 262_145}}, "metadata.user-data", "maximum size 262144"),
    (gcp.INSTANCE, {"metadata": {"user data": "x"}}, "metadata.user data", "Must be a match of regex"),
    (gcp.INSTANCE, {"metadata": {str(n): "x" * 260_000 for n in range(3)}}, "metadata", "the limit is 524288"),
    (gcp.INSTANCE, {"tags": ["Web"]}, "tags[0]", "Must be a match of regex"),
    (gcp.INSTANCE, {"scheduling": {"preemptible": True}}, "scheduling.automaticRestart", "preemptible be false"),
    (gcp.INSTANCE, {"metaData": {}}, "metaData", 'did you mean "metadata"?'),
]
TLS: list[Case] = [
    (PRIVATE_KEY, {"algorithm": "DSA"}, "algorithm", "must be one of: [RSA, ECDSA, ED25519], got: DSA"),
    (PRIVATE_KEY, {"ecdsaCurve": "P255"}, "ecdsaCurve", "got: P255"),
    (PRIVATE_KEY, {"rsaBits": 512}, "rsaBits", "512-bit keys"),
    (PRIVATE_KEY, {"algorithm": None}, "algorithm", "Missing required argument"),
    (SELF_SIGNED, {"allowedUses": ["signing"]}, "allowedUses[0]", "got: signing"),
    (SELF_SIGNED, {"validityPeriodHours": -1}, "validityPeriodHours", "at least 0, got: -1"),
    (SELF_SIGNED, {"subject": {"cn": "x"}}, "subject.cn", "Invalid or unknown key"),
    (CERT_REQUEST, {"ipAddresses": ["10.0.0.256"]}, "ipAddresses[0]", "is not an IP address"),
]


@pytest.mark.parametrize("token", GOOD)
def test_what_the_cases_start_from_passes(scene: Scene, token: str) -> None:
    scene.clouds.check(token, {name: scene.fill(value) for name, value in GOOD[token].items()}, "unlike")


@pytest.mark.parametrize(
    ("token", "change", "path", "reason"),
    [*HCLOUD, *AWS, *GCP, *TLS],
    ids=lambda value: value.rpartition(":")[2][:50] if isinstance(value, str) else None,
)
def test_it_is_refused(scene: Scene, token: str, change: Mapping[str, Value], path: str, reason: str) -> None:
    inputs = {name: scene.fill(value) for name, value in {**GOOD[token], **change}.items() if value is not None}
    with pytest.raises(RefusedError) as refused:
        scene.clouds.check(token, inputs, "unlike")
    told = dict(refused.value.failures)
    assert path in told, refused.value.failures
    assert any(at == path and reason in why for at, why in refused.value.failures), told


def test_an_unknown_value_is_refused_by_nobody(scene: Scene) -> None:
    for token, inputs in GOOD.items():
        required = scene.fill(dict.fromkeys(inputs, UNKNOWN))
        assert isinstance(required, dict)
        scene.clouds.check(token, required, "unlike")


def test_missing_configuration_is_told(tmp_path: Path) -> None:
    clouds = Harness(tmp_path, {})
    try:
        with pytest.raises(RefusedError, match="Missing Region"):
            clouds.check(aws.VPC, {"cidrBlock": "10.0.0.0/24"})
        with pytest.raises(RefusedError, match="project: required field is not set"):
            clouds.check(gcp.NETWORK, {"name": "net"})
        with pytest.raises(RefusedError, match="Missing Region"):
            clouds.invoke("aws:index/getAvailabilityZones:getAvailabilityZones")
    finally:
        clouds.close()


def test_a_name_that_the_same_update_makes_may_be_used(tmp_path: Path) -> None:
    clouds = Harness(tmp_path)
    router: dict[str, Value] = {"name": "router", "network": "net", "region": REGION}
    try:
        with pytest.raises(RefusedError, match="cannot be found"):
            clouds.check(gcp.ROUTER, router)
        clouds.check(gcp.NETWORK, {"name": "net", "autoCreateSubnetworks": False})
        clouds.check(gcp.ROUTER, router)
        with pytest.raises(RefusedError, match="cannot be found"):
            clouds.make(gcp.ROUTER, name="router", network="net", region=REGION)
    finally:
        clouds.close()


def test_kinds_and_functions_that_are_not_there_are_told(clouds: Harness) -> None:
    with pytest.raises(grpc.RpcError, match="does not know the resource type hcloud:index/volume:Volume"):
        clouds.check("hcloud:index/volume:Volume", {})
    with pytest.raises(RefusedError, match="does not know the function aws:ec2/getEips:getEips"):
        clouds.invoke("aws:ec2/getEips:getEips")
    with pytest.raises(RefusedError, match="did you mean"):
        clouds.invoke("aws:ec2/getAmi:getAmi", owner=["x"])
