"""AWS: instances, elastic addresses, security groups, key pairs. Every resource names its region."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

import pulumi
import pulumi_aws as aws

from components import names
from components.clouds.aws_group import Ground, Image, make_group
from components.clouds.aws_security import SecurityGroups
from components.clouds.aws_vpc import GivenVpc, MadeVpc, SiteResources
from components.images import AMIS
from components.machine import GatewayAddress, PoolGroup, Sources, SpokeMachine, fixed, machine_options
from components.plan import Machine
from components.pool_plan import PoolPlan
from components.settings.models import Settings
from components.settings.places import private_range
from components.settings.sites import AwsSite
from components.settings.types import EVERYWHERE, Source
from overlay.model import CONTROL_PORT, ROTATION_PORT, WG_PORT
from overlay.serving import SERVING_PORT

IGNORED = ("user_data", "ami", "key_name")


class AwsNetwork(pulumi.ComponentResource):
    """An AWS site: its VPC, given or made, the security groups of its spokes and the key pair of its instances."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        site: AwsSite,
        ssh_public_key: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``name`` is the site's; ``ssh_public_key`` is what its instances let administrators in with."""
        super().__init__("hybrid-wireguard:index:AwsNetwork", name, {}, opts)
        self._name = name
        self._settings = settings
        self._site = site
        self._resource_name = names.site_name(settings.prefix, name)
        self._tags = {"Name": self._resource_name, **names.labels(settings, site=name)}
        self._images: dict[str, Image] = {}
        owner = SiteResources(name, settings, site, self._tags, self)
        is_given = site.vpc_id is not None and site.subnet_id is not None
        self._vpc = GivenVpc(owner) if is_given else MadeVpc(owner)
        self._key = aws.ec2.KeyPair(
            f"{name}-ssh-key",
            key_name=self._resource_name,
            public_key=ssh_public_key,
            region=site.region,
            tags=self._tags,
            opts=fixed(self),
        )
        groups = SecurityGroups(name, self._vpc.vpc_id, site.region, self._tags, self)
        base_name = names.site_name(settings.prefix, name, names.SPOKES)
        self._base_group = groups.group(f"{name}-spoke-group", base_name, "WireGuard and the overlay")
        groups.let_in(self._base_group, "wireguard", "udp", WG_PORT, EVERYWHERE)
        groups.let_in(self._base_group, "overlay", "-1", None, [settings.overlay])
        groups.let_everything_out(self._base_group)
        self._ssh_group: aws.ec2.SecurityGroup | None = None
        if settings.admin_cidrs:
            ssh_name = f"{self._resource_name}-ssh"
            self._ssh_group = groups.group(f"{name}-ssh-group", ssh_name, "SSH for administrators")
            groups.let_in(self._ssh_group, "ssh", "tcp", 22, settings.admin_cidrs)
        self.register_outputs({})

    def _image(self, image: str) -> Image:
        """The newest image that ``image`` names, looked up once a site; an id names one, which may be deprecated."""
        if image not in self._images:
            lookup = AMIS.get(image)
            key, value = ("image-id", image) if lookup is None else ("name", lookup.name)
            found = aws.ec2.get_ami_output(
                most_recent=True,
                owners=None if lookup is None else [lookup.owner],
                include_deprecated=True if lookup is None else None,
                filters=[aws.ec2.GetAmiFilterArgs(name=key, values=[value])],
                region=self._site.region,
                opts=pulumi.InvokeOutputOptions(parent=self),
            )
            self._images[image] = Image(image if lookup is None else found.id, found.root_device_name)
        return self._images[image]

    def _ami(self, image: str) -> pulumi.Input[str]:
        return image if image.startswith("ami-") else self._image(image).id

    def pool(self, pool: PoolPlan, user_data: pulumi.Output[str], parent: pulumi.Resource) -> PoolGroup:
        """Registers the pool's auto-scaling group as a child of ``parent``."""
        place = self._vpc.place(public=pool.public)
        ground = Ground(self._site, self._vpc.vpc_id, place, self._key.key_name, self._image(pool.image))
        return make_group(pool, ground, user_data, parent)

    def gateway_address(self, machine: Machine, parent: pulumi.Resource) -> GatewayAddress:
        """Registers an elastic address as a child of ``parent``."""
        address = aws.ec2.Eip(
            f"{machine.name}-address",
            domain="vpc",
            region=self._site.region,
            tags=_tags(machine),
            opts=pulumi.ResourceOptions(parent=parent, protect=self._settings.protect),
        )
        return GatewayAddress(address.public_ip, None, (address.allocation_id,))

    def gateway(
        self,
        machine: Machine,
        address: GatewayAddress,
        user_data: pulumi.Input[str],
        clients: Sources | None,
        parent: pulumi.Resource,
    ) -> pulumi.Output[str]:
        """Registers the gateway's instance and groups as children of ``parent``, and the routes to it; its id."""
        groups = self._gateway_groups(machine, clients, parent)
        # Whether an address comes with the instance is left unsaid: the elastic one would look like a change of it.
        instance = self._instance(
            machine,
            user_data,
            groups,
            parent,
            public=None,
            private=machine.private_address,
            protect=self._settings.protect,
        )
        association = fixed(parent)
        association.depends_on = list(self._vpc.place(public=True).ready)
        aws.ec2.EipAssociation(
            f"{machine.name}-association",
            allocation_id=address.ids[0],
            instance_id=instance.id,
            region=self._site.region,
            opts=association,
        )
        self._vpc.lead_to(instance)
        return instance.id

    def _gateway_groups(
        self, machine: Machine, clients: Sources | None, parent: pulumi.Resource
    ) -> list[aws.ec2.SecurityGroup]:
        settings, name = self._settings, self._name
        groups = SecurityGroups(machine.name, self._vpc.vpc_id, self._site.region, _tags(machine), parent)
        gateway = groups.group(
            f"{machine.name}-group",
            names.site_name(settings.prefix, name, names.GATEWAYS),
            "WireGuard and the control plane",
        )
        groups.let_in(gateway, "wireguard", "udp", WG_PORT, settings.wireguard_sources, last=ROTATION_PORT)
        groups.let_in(gateway, "control", "tcp", CONTROL_PORT, EVERYWHERE)
        groups.let_in(gateway, "lan", "-1", None, self._forwarded_sources())
        groups.let_everything_out(gateway)
        found = [gateway, *([self._ssh_group] if self._ssh_group is not None else [])]
        if clients is not None:
            requests = names.site_name(settings.prefix, name, names.REQUESTS)
            found.append(
                groups.group_for(
                    f"{machine.name}-requests-group", requests, "requests", port=SERVING_PORT, clients=clients
                )
            )
        return found

    def _forwarded_sources(self) -> Sequence[Source]:
        """Where packets come from that the gateway shall forward without a tunnel."""
        if self._site.overlay_routes:
            return [self._site.own_range] if self._site.own_range is not None else []
        private = None if isinstance(self._vpc, GivenVpc) else private_range(self._settings, self._name)
        return [] if private is None else [private]

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> SpokeMachine:
        """Registers the spoke's instance as a child of ``parent``."""
        groups = [self._base_group, *([self._ssh_group] if self._ssh_group is not None and machine.public else [])]
        instance = self._instance(machine, user_data, groups, parent, public=machine.public)
        return SpokeMachine(instance.id, instance.public_ip if machine.public else None)

    def _instance(
        self,
        machine: Machine,
        user_data: pulumi.Input[str],
        groups: Sequence[aws.ec2.SecurityGroup],
        parent: pulumi.Resource,
        *,
        public: bool | None,
        private: IPv4Address | None = None,
        protect: bool = False,
    ) -> aws.ec2.Instance:
        place, tags = self._vpc.place(public=machine.public), _tags(machine)
        options = machine_options(machine.revision, parent, IGNORED, secret_outputs=["user_data"], protect=protect)
        options.depends_on = list(place.ready)
        return aws.ec2.Instance(
            f"{machine.name}-instance",
            instance_type=machine.server_type,
            ami=self._ami(machine.image),
            region=self._site.region,
            subnet_id=place.subnet_id,
            vpc_security_group_ids=[group.id for group in groups],
            associate_public_ip_address=public,
            private_ip=None if private is None else str(private),
            source_dest_check=machine.role != "gateway",
            key_name=self._key.key_name,
            metadata_options=aws.ec2.InstanceMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(encrypted=True, volume_type="gp3", tags=tags),
            user_data=user_data,
            tags=tags,
            opts=options,
        )


def _tags(machine: Machine) -> dict[str, str]:
    return {"Name": machine.resource_name, **machine.labels}
