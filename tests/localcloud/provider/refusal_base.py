"""Inputs that every cloud takes, from which the cases of refusals start."""

from __future__ import annotations

from collections.abc import Mapping

from localcloud.provider.clouds.aws import common as aws
from localcloud.provider.clouds.gcp import common as gcp
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.wire import UNKNOWN, Value
from tests.localcloud.provider.scenery import (
    CERT_REQUEST,
    OTHER_ED25519,
    PRIVATE_KEY,
    REGION,
    SELF_SIGNED,
    TERMINATING,
    TRUST,
    ZONE,
    described,
    launched,
    scaled,
)

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
    hcloud.NETWORK_ROUTE: {"networkId": "#hnetwork", "destination": "10.101.0.0/16", "gateway": "10.50.1.1"},
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
    aws.ROLE: {"name": "other", "assumeRolePolicy": TRUST},
    aws.INSTANCE_PROFILE: {"name": "other", "role": "pool"},
    aws.LAUNCH_TEMPLATE: {"name": "other", **launched("$ami", "$other")},
    aws.SCALING_GROUP: {"name": "other", **scaled("$template", "$subnet")},
    aws.LIFECYCLE_HOOK: {"name": "other", "autoscalingGroupName": "pool", "lifecycleTransition": TERMINATING},
    gcp.ACCOUNT: {"accountId": "another", "description": "of a pool"},
    gcp.INSTANCE_TEMPLATE: {"name": "other", **described("$gsubnet", "gcp-burst@my-project.iam.gserviceaccount.com")},
    gcp.GROUP_MANAGER: {
        "name": "other",
        "baseInstanceName": "other",
        "region": REGION,
        "versions": [{"instanceTemplate": "$gtemplate"}],
        "targetSize": 1,
    },
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
    gcp.ROUTE: {"name": "other", "network": "net", "destRange": "10.101.0.0/16", "nextHopInstance": "$ginstance"},
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
"""Token; what is changed in the good inputs (None takes away); the path refused; a part of the reason."""
