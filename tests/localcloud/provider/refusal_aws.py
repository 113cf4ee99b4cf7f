"""What Amazon refuses."""

from __future__ import annotations

from collections.abc import Mapping

from localcloud.provider.clouds.aws import common as aws
from localcloud.wire import Value
from tests.localcloud.provider.refusal_base import INLINE, Case

ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBBiFTiPMDs0OZG2hBpXLLFdqVjSyRtq0xPeCHcxw"
    "RH8YDPVXvuBFhJPyvc4kQHBZ7wKHDmBTRjY5gmKqWK0n3C0="
)

BY_INTERFACE: Mapping[str, Value] = {"gatewayId": None, "networkInterfaceId": "$interface"}
INSIDE = ("destinationCidrBlock", "cannot honour a route inside the VPC's own 10.60.0.0/24")

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
        "internet gateways and instances' interfaces alone",
    ),
    (aws.ROUTE_TABLE, {"routes": [{"gatewayId": "$gateway"}]}, "routes[0]", "exactly one of cidrBlock"),
    (aws.ROUTE, {"routeTableId": "$spare"}, "destinationCidrBlock", "RouteAlreadyExists"),
    (aws.ROUTE, {"destinationCidrBlock": "8.8.8.0/24"}, "destinationCidrBlock", "0.0.0.0/0 alone"),
    (aws.ROUTE, {"routeTableId": None}, "routeTableId", "Missing required argument"),
    (aws.ROUTE, {"gatewayId": None}, "gatewayId", "exactly one of gatewayId, networkInterfaceId"),
    (aws.ROUTE, {"networkInterfaceId": "$interface"}, "gatewayId", "exactly one of gatewayId, networkInterfaceId"),
    (aws.ROUTE, {**BY_INTERFACE, "networkInterfaceId": "eni-1"}, "networkInterfaceId", "InvalidNetworkInterfaceID.Not"),
    (aws.ROUTE, {**BY_INTERFACE, "routeTableId": "$spare", "destinationCidrBlock": "10.60.0.128/25"}, *INSIDE),
    (
        aws.ROUTE,
        {**BY_INTERFACE, "destinationCidrBlock": None, "destinationIpv6CidrBlock": "fd00::/8"},
        "destinationIpv6CidrBlock",
        "no IPv6 inside VPCs",
    ),
    (
        aws.ROUTE_TABLE,
        {"routes": [{"cidrBlock": "10.100.0.0/16", "networkInterfaceId": "eni-1"}]},
        "routes[0].networkInterfaceId",
        "The networkInterface ID 'eni-1' does not exist",
    ),
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
]
