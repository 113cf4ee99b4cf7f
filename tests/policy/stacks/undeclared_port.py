"""A dashboard beside the network, in a security group of its own."""

import pulumi_aws as aws

TAGS = {"stack": "dev"}
vpc = aws.ec2.Vpc("vpc", cidr_block="172.31.0.0/24", region="eu-central-1", tags=TAGS)
aws.ec2.SecurityGroup(
    "dashboard",
    vpc_id=vpc.id,
    region="eu-central-1",
    ingress=[
        aws.ec2.SecurityGroupIngressArgs(protocol="tcp", from_port=443, to_port=443, cidr_blocks=["0.0.0.0/0"]),
        aws.ec2.SecurityGroupIngressArgs(protocol="tcp", from_port=3000, to_port=3000, ipv6_cidr_blocks=["::/0"]),
    ],
    tags=TAGS,
)
