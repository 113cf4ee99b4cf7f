"""What Amazon refuses of launch templates, Auto Scaling groups, lifecycle hooks, roles and instance profiles."""

from __future__ import annotations

import base64
import json
from typing import cast

from localcloud.provider.clouds.aws import common as aws
from localcloud.wire import UNKNOWN, Value
from tests.localcloud.provider.refusal_base import GOOD, Case
from tests.localcloud.provider.scenery import TRUST

TEMPLATE, GROUP, HOOK = aws.LAUNCH_TEMPLATE, aws.SCALING_GROUP, aws.LIFECYCLE_HOOK
POLICY = "mixedInstancesPolicy"
SPECIFICATION = f"{POLICY}.launchTemplate.launchTemplateSpecification"
Object = dict[str, Value]


def _twice(item: Object) -> Value:
    return [item, item]


def _card(**change: Value) -> Object:
    card = cast("list[Object]", GOOD[TEMPLATE]["networkInterfaces"])[0]
    return {"networkInterfaces": [{**card, **change}]}


def _volume(**change: Value) -> Object:
    return {"blockDeviceMappings": [{"deviceName": "/dev/sda1", "ebs": change}]}


def _policy(specification: Object | None = None, overrides: Value = None, **distribution: Value) -> Object:
    launch: Object = {
        "launchTemplateSpecification": specification or {"launchTemplateId": "$template", "version": "$Latest"},
        "overrides": [{"instanceType": "t3.small"}] if overrides is None else overrides,
    }
    return {POLICY: {"launchTemplate": launch, "instancesDistribution": distribution}}


def _alone(reference: Object) -> Object:
    return {POLICY: None, "launchTemplate": reference}


def _hook(**change: Value) -> Object:
    hook = cast("list[Object]", GOOD[GROUP]["initialLifecycleHooks"])[0]
    return {"initialLifecycleHooks": [{**hook, **change}]}


def _trust(**change: Value) -> Object:
    statement: Object = {**json.loads(TRUST)["Statement"][0], **change}
    kept = {name: value for name, value in statement.items() if value is not None}
    return {"assumeRolePolicy": json.dumps({"Version": "2012-10-17", "Statement": [kept]})}


AWS_GROUPS: list[Case] = [
    (TEMPLATE, {"name": "pool"}, "name", "InvalidLaunchTemplateName.AlreadyExistsException"),
    (TEMPLATE, {"name": "ab"}, "name", "InvalidLaunchTemplateName.MalformedException"),
    (TEMPLATE, {"name": "a b c"}, "name", "InvalidLaunchTemplateName.MalformedException"),
    (TEMPLATE, {"imageId": "ami-0123456789abcdef0"}, "imageId", "InvalidAMIID.NotFound"),
    (TEMPLATE, {"imageId": "ubuntu"}, "imageId", "InvalidAMIID.Malformed"),
    (TEMPLATE, {"instanceType": "t3.gigantic"}, "instanceType", "InvalidInstanceType"),
    (TEMPLATE, {"instanceType": "t4g.micro"}, "imageId", "does not match the architecture 'x86_64'"),
    (TEMPLATE, {"keyName": "nobody"}, "keyName", "InvalidKeyPair.NotFound"),
    (TEMPLATE, {"userData": "#cloud-config\n"}, "userData", "Invalid BASE64 encoding of user data"),
    (
        TEMPLATE,
        {"userData": base64.b64encode(b"x" * 16385).decode()},
        "userData",
        "User data is limited to 16384 bytes, has 16385",
    ),
    (TEMPLATE, {"vpcSecurityGroupIds": ["$group"]}, "vpcSecurityGroupIds", "InvalidParameterCombination"),
    (
        TEMPLATE,
        {"networkInterfaces": None, "vpcSecurityGroupIds": ["sg-1"]},
        "vpcSecurityGroupIds[0]",
        "InvalidGroup.NotFound",
    ),
    (TEMPLATE, {"networkInterfaces": [{}, {}]}, "networkInterfaces", "one network interface"),
    (TEMPLATE, _card(deviceIndex=1), "networkInterfaces[0].deviceIndex", "device index 0"),
    (
        TEMPLATE,
        _card(associatePublicIpAddress="yes"),
        "networkInterfaces[0].associatePublicIpAddress",
        'one of ["", "true", "false"], got yes',
    ),
    (TEMPLATE, _card(securityGroups=["sg-1"]), "networkInterfaces[0].securityGroups[0]", "InvalidGroup.NotFound"),
    (
        TEMPLATE,
        _card(securityGroups=["$group" for _ in range(6)]),
        "networkInterfaces[0].securityGroups",
        "the limit is 5",
    ),
    (TEMPLATE, _card(subnetId="$subnet"), "networkInterfaces[0].subnetId", "cannot honour subnetId"),
    (TEMPLATE, _volume(encrypted="on"), "blockDeviceMappings[0].ebs.encrypted", "got on"),
    (TEMPLATE, _volume(volumeType="ssd"), "blockDeviceMappings[0].ebs.volumeType", "got ssd"),
    (TEMPLATE, _volume(volumeSize=4), "blockDeviceMappings[0].ebs.volumeSize", "smaller than snapshot"),
    (TEMPLATE, _volume(throughput=100), "blockDeviceMappings[0].ebs.throughput", "range (125 - 1000), got 100"),
    (
        TEMPLATE,
        _volume(throughput=200, volumeType="gp2"),
        "blockDeviceMappings[0].ebs.throughput",
        "not supported for gp2",
    ),
    (TEMPLATE, {"blockDeviceMappings": [{}]}, "blockDeviceMappings[0].deviceName", "MissingParameter"),
    (TEMPLATE, {"instanceInitiatedShutdownBehavior": "sleep"}, "instanceInitiatedShutdownBehavior", "got sleep"),
    (
        TEMPLATE,
        {"instanceMarketOptions": {"marketType": "futures"}},
        "instanceMarketOptions.marketType",
        "knows the market type spot, not futures",
    ),
    (
        TEMPLATE,
        {"instanceMarketOptions": {"marketType": "spot", "spotOptions": {"spotInstanceType": "persistent"}}},
        "instanceMarketOptions.spotOptions.spotInstanceType",
        "one-time",
    ),
    (
        TEMPLATE,
        {"instanceMarketOptions": {"spotOptions": {"instanceInterruptionBehavior": "stop"}}},
        "instanceMarketOptions.spotOptions.instanceInterruptionBehavior",
        "are terminated",
    ),
    (TEMPLATE, {"metadataOptions": {"httpTokens": "yes"}}, "metadataOptions.httpTokens", "got yes"),
    (
        TEMPLATE,
        {"metadataOptions": {"httpPutResponseHopLimit": 0}},
        "metadataOptions.httpPutResponseHopLimit",
        "range (1 - 64), got 0",
    ),
    (
        TEMPLATE,
        {
            "metadataOptions": {"instanceMetadataTags": "enabled"},
            "tagSpecifications": [{"resourceType": "instance", "tags": {"a b": "c"}}],
        },
        "metadataOptions.instanceMetadataTags",
        "not a valid tag key",
    ),
    (TEMPLATE, {"iamInstanceProfile": {"name": "nobody"}}, "iamInstanceProfile.name", "Invalid IAM Instance Profile"),
    (
        TEMPLATE,
        {"iamInstanceProfile": {"arn": "arn:aws:iam::123456789012:instance-profile/nobody"}},
        "iamInstanceProfile.arn",
        "Invalid IAM Instance Profile arn",
    ),
    (
        TEMPLATE,
        {"iamInstanceProfile": {"name": "pool", "arn": "arn:aws:iam::123456789012:instance-profile/pool"}},
        "iamInstanceProfile.arn",
        "conflicts with",
    ),
    (
        TEMPLATE,
        {"tagSpecifications": [{"resourceType": "machine"}]},
        "tagSpecifications[0].resourceType",
        "not a valid taggable resource type",
    ),
    (
        TEMPLATE,
        {"tagSpecifications": _twice({"resourceType": "instance"})},
        "tagSpecifications[1].resourceType",
        "more than once",
    ),
    (
        TEMPLATE,
        {"tagSpecifications": [{"resourceType": "instance", "tags": {"aws:x": "1"}}]},
        "tagSpecifications[0].tags.aws:x",
        "aws: is reserved",
    ),
    (TEMPLATE, {"defaultVersion": 1, "updateDefaultVersion": True}, "defaultVersion", "conflicts with"),
    (TEMPLATE, {"instanceRequirements": UNKNOWN}, "instanceRequirements", "cannot honour"),
    (TEMPLATE, {"userdata": "x"}, "userdata", 'did you mean "userData"?'),
    (TEMPLATE, {"region": "us-east-1"}, "imageId", "InvalidAMIID.NotFound"),
    (GROUP, {"name": "pool"}, "name", "AlreadyExists: AutoScalingGroup by this name already exists"),
    (GROUP, {"name": "a:b"}, "name", "no colon"),
    (GROUP, {"minSize": None}, "minSize", "Missing required argument"),
    (GROUP, {"minSize": -1}, "minSize", "greater than or equal to 0"),
    (GROUP, {"minSize": 7}, "maxSize", "Max bound, 6, must be greater than or equal to min bound, 7"),
    (GROUP, {"desiredCapacity": 7}, "desiredCapacity", "Desired capacity:7 must be between the specified min size:2"),
    (GROUP, {"desiredCapacity": 1}, "desiredCapacity", "and max size:6"),
    (GROUP, {"vpcZoneIdentifiers": None}, "vpcZoneIdentifiers", "At least one Availability Zone or VPC Subnet"),
    (GROUP, {"vpcZoneIdentifiers": ["subnet-1"]}, "vpcZoneIdentifiers[0]", "The subnet ID 'subnet-1' does not exist"),
    (GROUP, {POLICY: None}, "launchTemplate", "must be specified"),
    (GROUP, {"launchTemplate": {"id": "$template"}}, "launchTemplate", "must be specified"),
    (GROUP, _alone({"id": "lt-1"}), "launchTemplate", "InvalidLaunchTemplateId.NotFound"),
    (GROUP, _alone({"name": "nobody"}), "launchTemplate", "InvalidLaunchTemplateName.NotFound"),
    (GROUP, _alone({"id": "$template", "name": "pool"}), "launchTemplate", "either id or name, and not both"),
    (GROUP, _alone({"id": "$template", "version": "2"}), "launchTemplate.version", "specified version 2"),
    (GROUP, _alone({"id": "$template"}), "launchTemplate", "must contain the parameter InstanceType"),
    (GROUP, _policy({"launchTemplateId": "lt-1"}), SPECIFICATION, "InvalidLaunchTemplateId.NotFound"),
    (GROUP, _policy({"version": "1"}), SPECIFICATION, "either launchTemplateId or launchTemplateName"),
    (GROUP, _policy({"launchTemplateId": "$template", "version": "last"}), f"{SPECIFICATION}.version", "version last"),
    (GROUP, _policy(overrides=[]), SPECIFICATION, "must contain the parameter InstanceType"),
    (
        GROUP,
        _policy(overrides=[{"instanceType": "t3.gigantic"}]),
        f"{POLICY}.launchTemplate.overrides[0].instanceType",
        "'t3.gigantic' does not exist",
    ),
    (GROUP, _policy(overrides=[{"instanceType": "t4g.micro"}]), SPECIFICATION, "does not match the architecture"),
    (
        GROUP,
        _policy(overrides=_twice({"instanceType": "t3.small"})),
        f"{POLICY}.launchTemplate.overrides",
        "more than once",
    ),
    (
        GROUP,
        _policy(overrides=[{"instanceType": "t3.small", "weightedCapacity": "2"}]),
        f"{POLICY}.launchTemplate.overrides[0].weightedCapacity",
        "cannot honour",
    ),
    (
        GROUP,
        _policy(spotAllocationStrategy="cheapest"),
        f"{POLICY}.instancesDistribution.spotAllocationStrategy",
        "'cheapest' is not a valid spot allocation strategy",
    ),
    (
        GROUP,
        _policy(onDemandAllocationStrategy="cheapest"),
        f"{POLICY}.instancesDistribution.onDemandAllocationStrategy",
        "'cheapest' is not a valid on-demand allocation strategy",
    ),
    (
        GROUP,
        _policy(onDemandBaseCapacity=-1),
        f"{POLICY}.instancesDistribution.onDemandBaseCapacity",
        "at least (0), got -1",
    ),
    (
        GROUP,
        _policy(onDemandPercentageAboveBaseCapacity=101),
        f"{POLICY}.instancesDistribution.onDemandPercentageAboveBaseCapacity",
        "range (0 - 100), got 101",
    ),
    (
        GROUP,
        _policy(spotAllocationStrategy="capacity-optimized", spotInstancePools=2),
        f"{POLICY}.instancesDistribution.spotInstancePools",
        "only available with the lowest-price strategy",
    ),
    (GROUP, _policy(spotMaxPrice="cheap"), f"{POLICY}.instancesDistribution.spotMaxPrice", "Invalid spot price cheap"),
    (GROUP, _hook(name="a b"), "initialLifecycleHooks[0].name", "no spaces"),
    (GROUP, _hook(heartbeatTimeout=29), "initialLifecycleHooks[0].heartbeatTimeout", "range (30 - 7200), got 29"),
    (GROUP, _hook(defaultResult="STOP"), "initialLifecycleHooks[0].defaultResult", "got STOP"),
    (
        GROUP,
        _hook(lifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING"),
        "initialLifecycleHooks[0].lifecycleTransition",
        "cannot honour hooks on",
    ),
    (
        GROUP,
        {"initialLifecycleHooks": cast("list[Value]", GOOD[GROUP]["initialLifecycleHooks"]) * 2},
        "initialLifecycleHooks",
        "must be unique",
    ),
    (GROUP, {"waitForCapacityTimeout": "soon"}, "waitForCapacityTimeout", 'invalid duration "soon"'),
    (GROUP, {"healthCheckType": "ELB"}, "healthCheckType", "no load balancers"),
    (GROUP, {"healthCheckGracePeriod": -1}, "healthCheckGracePeriod", "greater than or equal to 0"),
    (GROUP, {"tags": [{"key": "aws:x", "value": "", "propagateAtLaunch": True}]}, "tags[0]", "aws: is reserved"),
    (GROUP, {"tags": _twice({"key": "a", "value": "", "propagateAtLaunch": True})}, "tags[1]", "Duplicate keys"),
    (GROUP, {"tags": [{"key": "a", "value": ""}]}, "tags[0].propagateAtLaunch", "Missing required argument"),
    (GROUP, {"warmPool": {}}, "warmPool", "cannot honour"),
    (GROUP, {"desiredCapactiy": 2}, "desiredCapactiy", 'did you mean "desiredCapacity"?'),
    (HOOK, {"autoscalingGroupName": "nobody"}, "autoscalingGroupName", "AutoScalingGroup name not found - nobody"),
    (HOOK, {"name": "second"}, "name", "has a lifecycle hook second already"),
    (HOOK, {"heartbeatTimeout": 7201}, "heartbeatTimeout", "range (30 - 7200), got 7201"),
    (HOOK, {"lifecycleTransition": "terminating"}, "lifecycleTransition", "got terminating"),
    (HOOK, {"notificationTargetArn": "arn:aws:sns:::x"}, "notificationTargetArn", "cannot honour"),
    (aws.ROLE, {"name": "pool"}, "name", "EntityAlreadyExists: Role with name pool already exists."),
    (aws.ROLE, {"name": "a b"}, "name", "alphanumeric characters"),
    (aws.ROLE, {"name": "r" * 65}, "name", "at most 64"),
    (aws.ROLE, {"path": "pools"}, "path", "must begin and end with /"),
    (aws.ROLE, {"assumeRolePolicy": "{"}, "assumeRolePolicy", "contains invalid Json"),
    (aws.ROLE, {"assumeRolePolicy": "[]"}, "assumeRolePolicy", "Syntax errors in policy"),
    (aws.ROLE, {"assumeRolePolicy": '{"Version": "2025"}'}, "assumeRolePolicy", "Syntax errors in policy"),
    (aws.ROLE, _trust(Action=None), "assumeRolePolicy", "Missing required field Action"),
    (aws.ROLE, _trust(Principal=None), "assumeRolePolicy", "Missing required field Principal"),
    (aws.ROLE, _trust(Resource="*"), "assumeRolePolicy", "prohibited field Resource"),
    (aws.ROLE, {"assumeRolePolicy": None}, "assumeRolePolicy", "Missing required argument"),
    (aws.ROLE, {"description": "x" * 1001}, "description", "range (0 - 1000)"),
    (aws.ROLE, {"maxSessionDuration": 60}, "maxSessionDuration", "range (3600 - 43200), got 60"),
    (aws.ROLE, {"managedPolicyArns": ["arn:aws:iam::aws:policy/x"]}, "managedPolicyArns", "it has no policies"),
    (aws.INSTANCE_PROFILE, {"name": "pool"}, "name", "EntityAlreadyExists: Instance Profile with name pool"),
    (aws.INSTANCE_PROFILE, {"role": "nobody"}, "role", "NoSuchEntity: The role with name nobody cannot be found."),
]
