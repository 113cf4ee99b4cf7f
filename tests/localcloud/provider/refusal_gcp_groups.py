"""What Google refuses of instance templates, managed instance groups and service accounts."""

from __future__ import annotations

from typing import cast

from localcloud.provider.clouds.gcp import common as gcp
from localcloud.wire import Value
from tests.localcloud.provider.refusal_base import GOOD, Case

Object = dict[str, Value]
MACHINES, MANAGER = gcp.INSTANCE_TEMPLATE, gcp.GROUP_MANAGER


def _disk(**change: Value) -> Object:
    disk = cast("list[Object]", GOOD[MACHINES]["disks"])[0]
    return {"disks": [{name: value for name, value in {**disk, **change}.items() if value is not None}]}


def _scheduling(**change: Value) -> Object:
    return {"scheduling": {**cast("Object", GOOD[MACHINES]["scheduling"]), **change}}


def _interface(**change: Value) -> Object:
    return {"networkInterfaces": [{"subnetwork": "$gsubnet", **change}]}


def _update(**change: Value) -> Object:
    return {"updatePolicy": {"type": "OPPORTUNISTIC", "minimalAction": "REPLACE", **change}}


GCP_GROUPS: list[Case] = [
    (MACHINES, {"name": "Other"}, "name", "doesn't match regexp"),
    (MACHINES, {"namePrefix": "other-"}, "namePrefix", "conflicts with name"),
    (MACHINES, {"name": None, "namePrefix": "o" * 55}, "namePrefix", "54 characters at most"),
    (MACHINES, {"name": None, "namePrefix": "1-"}, "namePrefix", "a letter first"),
    (MACHINES, {"machineType": "e2-gigantic"}, "machineType", "The referenced resource does not exist"),
    (MACHINES, {"machineType": None}, "machineType", "Missing required argument"),
    (MACHINES, {"disks": []}, "disks", "one disk, not 0"),
    (MACHINES, _disk(sourceImage=None), "disks[0].sourceImage", "Disk has to have a source or an image"),
    (MACHINES, _disk(sourceImage="plan9"), "disks[0].sourceImage", "Could not find image or family plan9"),
    (MACHINES, _disk(diskType="pd-fast"), "disks[0].diskType", "it is none of pd-standard"),
    (MACHINES, _disk(diskSizeGb=5), "disks[0].diskSizeGb", "smaller than the image size (10 GB)"),
    (MACHINES, _disk(boot=False), "disks[0].boot", "is its boot disk"),
    (MACHINES, _disk(type="SCRATCH"), "disks[0].type", "no disks of the type SCRATCH"),
    (MACHINES, _disk(mode="READ_ONLY"), "disks[0].mode", "cannot be READ_ONLY"),
    (MACHINES, _disk(source="disk"), "disks[0].source", "boots from images alone"),
    (MACHINES, {"networkInterfaces": [{}]}, "networkInterfaces[0]", "exactly one of network or subnetwork"),
    (MACHINES, {"networkInterfaces": []}, "networkInterfaces", "one network interface, not 0"),
    (
        MACHINES,
        _interface(subnetwork="projects/my-project/regions/europe-west3/subnetworks/none"),
        "networkInterfaces[0].subnetwork",
        "The referenced resource cannot be found",
    ),
    (MACHINES, _interface(networkIp="10.70.0.9"), "networkInterfaces[0].networkIp", "cannot honour"),
    (
        MACHINES,
        _interface(accessConfigs=[{"natIp": "1.2.3.4"}]),
        "networkInterfaces[0].accessConfigs[0].natIp",
        "several instances one address",
    ),
    (MACHINES, _scheduling(automaticRestart=True), "scheduling.automaticRestart", "AutomaticRestart is true"),
    (MACHINES, _scheduling(preemptible=False), "scheduling.preemptible", "preemptible has to be true"),
    (MACHINES, _scheduling(onHostMaintenance="MIGRATE"), "scheduling.onHostMaintenance", "TERMINATE when preemptible"),
    (MACHINES, _scheduling(onHostMaintenance="PAUSE"), "scheduling.onHostMaintenance", "'PAUSE'. Must be one of"),
    (MACHINES, _scheduling(provisioningModel="CHEAP"), "scheduling.provisioningModel", "'CHEAP'. Must be one of"),
    (
        MACHINES,
        {"scheduling": {"instanceTerminationAction": "STOP"}},
        "scheduling.instanceTerminationAction",
        "of the provisioning model SPOT",
    ),
    (
        MACHINES,
        {"serviceAccount": {"email": "nobody@my-project.iam.gserviceaccount.com", "scopes": []}},
        "serviceAccount.email",
        "was not found., resourceNotFound",
    ),
    (MACHINES, {"serviceAccount": {"scopes": ["http://x"]}}, "serviceAccount.scopes[0]", "Malformed scope"),
    (MACHINES, {"tags": ["Spoke"]}, "tags[0]", "Must be a match of regex"),
    (MACHINES, {"labels": {"Pool": "x"}}, "labels.Pool", "Label keys and values"),
    (MACHINES, {"metadata": {"user data": "x"}}, "metadata.user data", "Must be a match of regex"),
    (MACHINES, {"metadata": {"user-data": "x" * 262145}}, "metadata.user-data", "fieldSizeTooLarge"),
    (MACHINES, {"metadataStartupScript": "x"}, "metadataStartupScript", "cannot honour"),
    (MANAGER, {"name": "pool"}, "name", "already exists, alreadyExists"),
    (MANAGER, {"baseInstanceName": "b" * 59}, "baseInstanceName", "must be a match of regex"),
    (MANAGER, {"baseInstanceName": "Base"}, "baseInstanceName", "must be a match of regex"),
    (MANAGER, {"region": "europe-west9"}, "region", "Unknown region"),
    (MANAGER, {"targetSize": -1}, "targetSize", "Must be greater than or equal to 0"),
    (MANAGER, {"targetSize": 2001}, "targetSize", "at most 2000"),
    (MANAGER, {"versions": None}, "versions", "Missing required argument"),
    (MANAGER, {"versions": [{"instanceTemplate": "none"}]}, "versions[0].instanceTemplate", "cannot be found"),
    (
        MANAGER,
        {"versions": [{"instanceTemplate": "$gtemplate"}, {"instanceTemplate": "$gtemplate"}]},
        "versions",
        "one version, not 2",
    ),
    (
        MANAGER,
        {"versions": [{"instanceTemplate": "$gtemplate", "targetSize": {"fixed": 1}}]},
        "versions[0].targetSize",
        "without a target size",
    ),
    (MANAGER, {"region": "us-central1"}, "versions[0].instanceTemplate", "cannot be found"),
    (
        MANAGER,
        {"distributionPolicyZones": ["europe-west4-a"]},
        "distributionPolicyZones[0]",
        "Zone is not in the region europe-west3",
    ),
    (MANAGER, {"distributionPolicyTargetShape": "ROUND"}, "distributionPolicyTargetShape", "'ROUND'"),
    (MANAGER, _update(type="PROACTIVE"), "updatePolicy.type", "OPPORTUNISTIC"),
    (MANAGER, _update(type="EAGER"), "updatePolicy.type", "got EAGER"),
    (MANAGER, _update(minimalAction="REBUILD"), "updatePolicy.minimalAction", "got REBUILD"),
    (
        MANAGER,
        _update(maxSurgeFixed=2),
        "updatePolicy.maxSurgeFixed",
        "either 0 or at least equal to the number of zones (3)",
    ),
    (
        MANAGER,
        {**_update(maxUnavailableFixed=1), "distributionPolicyZones": ["europe-west3-a", "europe-west3-b"]},
        "updatePolicy.maxUnavailableFixed",
        "number of zones (2)",
    ),
    (MANAGER, _update(maxSurgeFixed=0, maxUnavailableFixed=0), "updatePolicy.maxUnavailableFixed", "cannot both be 0"),
    (MANAGER, _update(maxSurgeFixed=3, maxSurgePercent=20), "updatePolicy.maxSurgePercent", "conflicts with"),
    (MANAGER, _update(maxSurgePercent=20), "updatePolicy.maxSurgePercent", "groups of 10 or more instances"),
    (
        MANAGER,
        _update(replacementMethod="RECREATE"),
        "updatePolicy.maxSurgeFixed",
        "equal to 0 when replacement method is set to RECREATE",
    ),
    (
        MANAGER,
        {"instanceLifecyclePolicy": {"forceUpdateOnRepair": "MAYBE"}},
        "instanceLifecyclePolicy.forceUpdateOnRepair",
        "got MAYBE",
    ),
    (
        MANAGER,
        {"instanceLifecyclePolicy": {"defaultActionOnFailure": "DO_NOTHING"}},
        "instanceLifecyclePolicy.defaultActionOnFailure",
        "not DO_NOTHING",
    ),
    (MANAGER, {"namedPorts": [{"name": "HTTP", "port": 80}]}, "namedPorts[0].name", "must be a match of regex"),
    (MANAGER, {"namedPorts": [{"name": "http", "port": 0}]}, "namedPorts[0].port", "range (1 - 65535), got 0"),
    (MANAGER, {"targetPools": ["x"]}, "targetPools", "cannot honour"),
    (gcp.ACCOUNT, {"accountId": "short"}, "accountId", "must be 6 to 30"),
    (gcp.ACCOUNT, {"accountId": "gcp-burst"}, "accountId", "already exists within project projects/my-project"),
    (gcp.ACCOUNT, {"description": "x" * 257}, "description", "at most 256 bytes"),
]
