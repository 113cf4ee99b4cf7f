"""A machine that is read by whoever gets it to fetch a URL."""

import pulumi_aws as aws

TAGS = {"stack": "dev", "site": "aws", "role": "batch"}
REGION = "eu-central-1"
vpc = aws.ec2.Vpc("vpc", cidr_block="172.31.0.0/24", region=REGION, tags=TAGS)
subnet = aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="172.31.0.0/26", region=REGION, tags=TAGS)
image = aws.ec2.get_ami(
    most_recent=True,
    owners=["099720109477"],
    filters=[{"name": "name", "values": ["ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"]}],
    region=REGION,
)
aws.ec2.Instance(
    "batch",
    ami=image.id,
    instance_type="t3.small",
    subnet_id=subnet.id,
    metadata_options=aws.ec2.InstanceMetadataOptionsArgs(http_tokens="optional"),
    root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(encrypted=True),
    region=REGION,
    tags=TAGS,
)
