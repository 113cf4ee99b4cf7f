"""GCP: a pool as a regional managed instance group of spot machines."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components import names
from components.images import GCP_FAMILIES
from components.machine import PoolGroup, fixed
from components.pool_plan import PoolPlan
from components.settings.sites import GcpSite

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""Leaves it to the service account's roles what a machine may do (Compute Engine, Service accounts)."""


@dataclass(frozen=True)
class Place:
    """Where instances go; ``ready`` must exist before one boots, or it would have no way out and install nothing."""

    network: pulumi.Output[str]
    subnetwork: pulumi.Output[str]
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class Ground:
    """What of its site a group stands on. ``ssh_keys`` is the metadata that lets administrators in."""

    prefix: str
    site: GcpSite
    place: Place
    ssh_keys: pulumi.Output[str]


def make_group(pool: PoolPlan, ground: Ground, user_data: pulumi.Output[str], parent: pulumi.Resource) -> PoolGroup:
    """Registers the group and what its instances need, as children of ``parent``.

    A template cannot change: another one takes its place, which the group gives to new instances alone
    (OPPORTUNISTIC). The group's size is its scaler's after the first time.
    """
    project = ground.site.project
    account = gcp.serviceaccount.Account(
        f"{pool.name}-account",
        account_id=names.account_id(ground.prefix, pool.name),
        display_name=pool.resource_name,
        project=project,
        opts=fixed(parent),
    )
    gcp.compute.Firewall(
        f"{pool.name}-closed",
        name=pool.resource_name,
        network=ground.place.network,
        direction="INGRESS",
        denies=[gcp.compute.FirewallDenyArgs(protocol="all")],
        source_ranges=["0.0.0.0/0"],
        target_tags=[pool.resource_name],
        project=project,
        opts=fixed(parent),
    )
    template = _template(pool, ground, account, user_data, parent)
    options = fixed(parent)
    options.depends_on = list(ground.place.ready)
    options.ignore_changes = ["targetSize"]
    group = gcp.compute.RegionInstanceGroupManager(
        f"{pool.name}-group",
        name=pool.resource_name,
        base_instance_name=pool.resource_name,
        region=ground.site.region,
        project=project,
        versions=[gcp.compute.RegionInstanceGroupManagerVersionArgs(instance_template=template.self_link_unique)],
        target_size=pool.minimum,
        # Zones run out of spot capacity one by one, and a machine that works is not moved to even them out.
        distribution_policy_target_shape="BALANCED",
        update_policy=gcp.compute.RegionInstanceGroupManagerUpdatePolicyArgs(
            type="OPPORTUNISTIC", minimal_action="REPLACE", instance_redistribution_type="NONE"
        ),
        # A machine that was preempted comes back, and would have a join token that was changed meanwhile.
        instance_lifecycle_policy=gcp.compute.RegionInstanceGroupManagerInstanceLifecyclePolicyArgs(
            force_update_on_repair="YES"
        ),
        opts=options,
    )
    return PoolGroup(group.name, account.email, {"cloud": "gcp", "project": project} if pool.prove else None)


def _template(
    pool: PoolPlan,
    ground: Ground,
    account: gcp.serviceaccount.Account,
    user_data: pulumi.Output[str],
    parent: pulumi.Resource,
) -> gcp.compute.InstanceTemplate:
    """What every new instance is. It has no name of its own, since the next one must exist before this one goes."""
    (machine_type,) = pool.server_types
    access = [gcp.compute.InstanceTemplateNetworkInterfaceAccessConfigArgs()] if pool.public else None
    return gcp.compute.InstanceTemplate(
        f"{pool.name}-template",
        name_prefix=f"{pool.resource_name}-",
        machine_type=machine_type,
        disks=[
            gcp.compute.InstanceTemplateDiskArgs(
                boot=True,
                auto_delete=True,
                source_image=GCP_FAMILIES.get(pool.image, pool.image),
                labels=pool.labels,
            )
        ],
        network_interfaces=[
            gcp.compute.InstanceTemplateNetworkInterfaceArgs(subnetwork=ground.place.subnetwork, access_configs=access)
        ],
        scheduling=gcp.compute.InstanceTemplateSchedulingArgs(
            provisioning_model="SPOT",
            preemptible=True,
            automatic_restart=False,
            on_host_maintenance="TERMINATE",
            instance_termination_action="STOP",
        ),
        shielded_instance_config=gcp.compute.InstanceTemplateShieldedInstanceConfigArgs(
            enable_secure_boot=True, enable_vtpm=True, enable_integrity_monitoring=True
        ),
        service_account=gcp.compute.InstanceTemplateServiceAccountArgs(email=account.email, scopes=[_SCOPE]),
        can_ip_forward=False,
        metadata={
            "user-data": user_data,
            "ssh-keys": ground.ssh_keys,
            "block-project-ssh-keys": "true",
        },
        tags=[pool.resource_name],
        labels=pool.labels,
        project=ground.site.project,
        opts=pulumi.ResourceOptions(parent=parent, additional_secret_outputs=["metadata"]),
    )
