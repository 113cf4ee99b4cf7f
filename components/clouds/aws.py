"""AWS: instances, security groups, a VPC where none is given. Every resource names its region."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from components import names
from components.clouds.aws_group import Ground, Image, Place, make_group
from components.clouds.aws_security import SecurityGroups
from components.images import AMIS
from components.machine import PoolGroup, fixed, machine_options
from components.plan import Machine
from components.pool_plan import PoolPlan
from components.settings.models import AwsSite, Settings
from components.settings.types import EVERYWHERE
from overlay.model import WG_PORT

IGNORED = ("user_data", "ami", "key_name")


class AwsNetwork(pulumi.ComponentResource):
    """An AWS site: its VPC and subnet, given or made, the security groups and the key pair of its spokes."""

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
        self._place = self._given_place() or self._made_place()
        self._key = aws.ec2.KeyPair(
            f"{name}-ssh-key",
            key_name=self._resource_name,
            public_key=ssh_public_key,
            region=site.region,
            tags=self._tags,
            opts=fixed(self),
        )
        groups = SecurityGroups(name, self._place.vpc_id, site.region, self._tags, self)
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

    def _given_place(self) -> Place | None:
        vpc_id, subnet_id = self._site.vpc_id, self._site.subnet_id
        if vpc_id is None or subnet_id is None:
            return None
        return Place(pulumi.Output.from_input(vpc_id), pulumi.Output.from_input(subnet_id), ())

    def _made_place(self) -> Place:
        """A VPC with one public subnet."""
        name, region, tags = self._name, self._site.region, self._tags
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=str(self._site.made_range),
            enable_dns_support=True,
            enable_dns_hostnames=True,
            region=region,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        subnet = aws.ec2.Subnet(
            f"{name}-subnet",
            vpc_id=vpc.id,
            cidr_block=str(self._site.made_range),
            availability_zone=self._site.availability_zone,
            region=region,
            tags=tags,
            opts=fixed(self),
        )
        internet = aws.ec2.InternetGateway(
            f"{name}-internet", vpc_id=vpc.id, region=region, tags=tags, opts=fixed(self)
        )
        routes = aws.ec2.RouteTable(
            f"{name}-routes",
            vpc_id=vpc.id,
            routes=[aws.ec2.RouteTableRouteArgs(cidr_block="0.0.0.0/0", gateway_id=internet.id)],
            region=region,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        association = aws.ec2.RouteTableAssociation(
            f"{name}-association", subnet_id=subnet.id, route_table_id=routes.id, region=region, opts=fixed(self)
        )
        return Place(vpc.id, subnet.id, (association,))

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
        ground = Ground(self._site, self._place, self._key.key_name, self._image(pool.image))
        return make_group(pool, ground, user_data, parent)

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> pulumi.Output[str]:
        """Registers the spoke's instance as a child of ``parent``; its id."""
        groups = [self._base_group, *([self._ssh_group] if self._ssh_group is not None and machine.public else [])]
        tags = {"Name": machine.resource_name, **machine.labels}
        options = machine_options(machine.revision, parent, IGNORED, secret_outputs=["user_data"])
        options.depends_on = list(self._place.ready)
        instance = aws.ec2.Instance(
            f"{machine.name}-instance",
            instance_type=machine.server_type,
            ami=self._ami(machine.image),
            region=self._site.region,
            subnet_id=self._place.subnet_id,
            vpc_security_group_ids=[group.id for group in groups],
            associate_public_ip_address=machine.public,
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
        return instance.id
