"""A template whose disk nobody thought of."""

import pulumi_aws as aws

image = aws.ec2.get_ami(
    most_recent=True,
    owners=["099720109477"],
    filters=[{"name": "name", "values": ["ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"]}],
    region="eu-central-1",
)
aws.ec2.LaunchTemplate(
    "batch",
    image_id=image.id,
    metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(http_endpoint="enabled", http_tokens="required"),
    region="eu-central-1",
    tags={"stack": "dev", "site": "aws", "role": "batch"},
)
