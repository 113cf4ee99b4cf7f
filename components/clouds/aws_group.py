"""AWS: a pool as an auto-scaling group of spot instances."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.clouds.aws_security import SecurityGroups
from components.clouds.aws_vpc import Place
from components.machine import PoolGroup, fixed
from components.pool_plan import PoolPlan
from components.settings.sites import AwsSite

LEAVE_SECONDS = 120
"""How long an instance that the group takes away may drain and leave, as long as a spot notice gives."""
_ASSUME = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ],
    }
)


@dataclass(frozen=True)
class Image:
    """An AMI: its id, and what it calls its root volume."""

    id: pulumi.Input[str]
    root_device: pulumi.Input[str]


@dataclass(frozen=True)
class Ground:
    """What of its site a group stands on."""

    site: AwsSite
    vpc_id: pulumi.Output[str]
    place: Place
    key_name: pulumi.Output[str]
    image: Image


def make_group(pool: PoolPlan, ground: Ground, user_data: pulumi.Output[str], parent: pulumi.Resource) -> PoolGroup:
    """Registers the group and what its instances need, as children of ``parent``.

    The group always takes the newest version of its template, and nothing refreshes instances: a change of the
    template is for the next ones alone. No capacity is declared either, so that whoever scales is left alone.
    """
    tags = {"Name": pool.resource_name, **pool.labels}
    role = _role(pool, tags, parent)
    template = _template(pool, ground, _profile(pool, role, tags, parent), user_data, tags, parent)
    options = fixed(parent)
    options.depends_on = list(ground.place.ready)
    group = aws.autoscaling.Group(
        f"{pool.name}-group",
        name=pool.resource_name,
        min_size=pool.minimum,
        max_size=pool.limit,
        vpc_zone_identifiers=[ground.place.subnet_id],
        mixed_instances_policy=_instances(pool, template),
        # The group may exceed its maximum by a tenth meanwhile: the newcomer joins once the old machine drains.
        capacity_rebalance=True,
        health_check_type="EC2",
        initial_lifecycle_hooks=[
            aws.autoscaling.GroupInitialLifecycleHookArgs(
                name="leave",
                lifecycle_transition="autoscaling:EC2_INSTANCE_TERMINATING",
                heartbeat_timeout=LEAVE_SECONDS,
                default_result="CONTINUE",
            )
        ],
        # Spot capacity may be long in coming, and a group that is deleted need not wait for its instances.
        wait_for_capacity_timeout="0",
        force_delete=True,
        region=ground.site.region,
        tags=[
            aws.autoscaling.GroupTagArgs(key=key, value=value, propagate_at_launch=False)
            for key, value in sorted(tags.items())
        ],
        opts=options,
    )
    return PoolGroup(group.name, role.name, _identity(ground.site, parent) if pool.prove else None)


def _role(pool: PoolPlan, tags: Mapping[str, str], parent: pulumi.Resource) -> aws.iam.Role:
    """A role that may do nothing, since nothing of ours asks AWS; users attach what their own code needs."""
    return aws.iam.Role(
        f"{pool.name}-role", name=pool.resource_name, assume_role_policy=_ASSUME, tags=tags, opts=fixed(parent)
    )


def _profile(
    pool: PoolPlan, role: aws.iam.Role, tags: Mapping[str, str], parent: pulumi.Resource
) -> aws.iam.InstanceProfile:
    return aws.iam.InstanceProfile(
        f"{pool.name}-profile", name=pool.resource_name, role=role.name, tags=tags, opts=fixed(parent)
    )


def _template(
    pool: PoolPlan,
    ground: Ground,
    profile: aws.iam.InstanceProfile,
    user_data: pulumi.Output[str],
    tags: Mapping[str, str],
    parent: pulumi.Resource,
) -> aws.ec2.LaunchTemplate:
    """What every new instance is; its type is the group's to choose."""
    region = ground.site.region
    groups = SecurityGroups(pool.name, ground.vpc_id, region, tags, parent)
    closed = groups.group(
        f"{pool.name}-closed", pool.resource_name, "Nothing in: machines of the pool call the gateway"
    )
    groups.let_everything_out(closed)
    ebs = aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
        encrypted="true", volume_type="gp3", delete_on_termination="true"
    )
    interface = aws.ec2.LaunchTemplateNetworkInterfaceArgs(
        device_index=0,
        associate_public_ip_address=str(pool.public).lower(),
        delete_on_termination="true",
        security_groups=[closed.id],
    )
    options = fixed(parent)
    options.additional_secret_outputs = ["user_data"]
    return aws.ec2.LaunchTemplate(
        f"{pool.name}-template",
        name=pool.resource_name,
        image_id=ground.image.id,
        key_name=ground.key_name,
        user_data=user_data.apply(lambda text: base64.b64encode(text.encode()).decode()),
        iam_instance_profile=aws.ec2.LaunchTemplateIamInstanceProfileArgs(name=profile.name),
        instance_initiated_shutdown_behavior="terminate",
        network_interfaces=[interface],
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
        ),
        block_device_mappings=[
            aws.ec2.LaunchTemplateBlockDeviceMappingArgs(device_name=ground.image.root_device, ebs=ebs)
        ],
        tag_specifications=[
            aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags) for kind in ("instance", "volume")
        ],
        region=region,
        tags=tags,
        opts=options,
    )


def _instances(pool: PoolPlan, template: aws.ec2.LaunchTemplate) -> aws.autoscaling.GroupMixedInstancesPolicyArgs:
    """Spot instances above the on-demand base, of the types with the most capacity left."""
    specification = aws.autoscaling.GroupMixedInstancesPolicyLaunchTemplateLaunchTemplateSpecificationArgs(
        launch_template_id=template.id, version="$Latest"
    )
    return aws.autoscaling.GroupMixedInstancesPolicyArgs(
        launch_template=aws.autoscaling.GroupMixedInstancesPolicyLaunchTemplateArgs(
            launch_template_specification=specification,
            overrides=[
                aws.autoscaling.GroupMixedInstancesPolicyLaunchTemplateOverrideArgs(instance_type=name)
                for name in pool.server_types
            ],
        ),
        instances_distribution=aws.autoscaling.GroupMixedInstancesPolicyInstancesDistributionArgs(
            on_demand_base_capacity=pool.on_demand_base,
            on_demand_percentage_above_base_capacity=0,
            spot_allocation_strategy="capacity-optimized",
        ),
    )


def _identity(site: AwsSite, parent: pulumi.Resource) -> dict[str, Any]:
    caller = aws.get_caller_identity_output(opts=pulumi.InvokeOutputOptions(parent=parent))
    return {
        "cloud": "aws",
        "account": caller.account_id,
        "region": site.region,
        "certificates": list(site.identity_certificates),
    }
