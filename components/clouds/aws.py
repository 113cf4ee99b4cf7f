"""AWS: instances, security groups, a VPC where none is given. Every resource names its region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import names
from components.images import AMIS
from components.machine import fixed, in_a_name, machine_options
from components.plan import Machine
from components.settings.models import EVERYWHERE, AwsSite, Settings
from components.settings.types import Source
from overlay.model import WG_PORT

IGNORED = ("user_data", "ami", "key_name")


@dataclass(frozen=True)
class _Place:
    """Where instances go; ``ready`` must exist before one boots, or it would have no way out and install nothing."""

    vpc_id: pulumi.Output[str]
    subnet_id: pulumi.Output[str]
    ready: tuple[pulumi.Resource, ...]


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
        self._amis: dict[str, pulumi.Output[str]] = {}
        self._place = self._given_place() or self._made_place()
        self._key = aws.ec2.KeyPair(
            f"{name}-ssh-key",
            key_name=self._resource_name,
            public_key=ssh_public_key,
            region=site.region,
            tags=self._tags,
            opts=fixed(self),
        )
        self._base_group = self._group("spoke", "WireGuard and the overlay")
        self._rule(self._base_group, "wireguard", "udp", WG_PORT, EVERYWHERE)
        self._rule(self._base_group, "overlay", "-1", None, [settings.overlay])
        self._allow_everything_out(self._base_group)
        self._ssh_group: aws.ec2.SecurityGroup | None = None
        if settings.admin_cidrs:
            self._ssh_group = self._group("ssh", "SSH for administrators")
            self._rule(self._ssh_group, "ssh", "tcp", 22, settings.admin_cidrs)
        self.register_outputs({})

    def _given_place(self) -> _Place | None:
        vpc_id, subnet_id = self._site.vpc_id, self._site.subnet_id
        if vpc_id is None or subnet_id is None:
            return None
        return _Place(pulumi.Output.from_input(vpc_id), pulumi.Output.from_input(subnet_id), ())

    def _made_place(self) -> _Place:
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
        return _Place(vpc.id, subnet.id, (association,))

    def _group(self, what: str, description: str) -> aws.ec2.SecurityGroup:
        """A security group without rules; made anew only in another VPC or under another name, beside the old one."""
        return aws.ec2.SecurityGroup(
            f"{self._name}-{what}-group",
            name=f"{self._resource_name}-{what}",
            description=description,
            vpc_id=self._place.vpc_id,
            region=self._site.region,
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _rule(
        self, group: aws.ec2.SecurityGroup, what: str, protocol: str, port: int | None, sources: Sequence[Source]
    ) -> None:
        """Lets ``protocol`` (``-1`` for all) in to ``port`` from each of ``sources``."""
        for source in sources:
            aws.vpc.SecurityGroupIngressRule(
                f"{self._name}-{what}-{in_a_name(source)}",
                security_group_id=group.id,
                ip_protocol=protocol,
                from_port=port,
                to_port=port,
                cidr_ipv4=str(source) if source.version == 4 else None,
                cidr_ipv6=str(source) if source.version == 6 else None,
                description=what,
                region=self._site.region,
                tags=self._tags,
                opts=fixed(self),
            )

    def _allow_everything_out(self, group: aws.ec2.SecurityGroup) -> None:
        for source in EVERYWHERE:
            aws.vpc.SecurityGroupEgressRule(
                f"{self._name}-out-{in_a_name(source)}",
                security_group_id=group.id,
                ip_protocol="-1",
                cidr_ipv4=str(source) if source.version == 4 else None,
                cidr_ipv6=str(source) if source.version == 6 else None,
                region=self._site.region,
                tags=self._tags,
                opts=fixed(self),
            )

    def _ami(self, image: str) -> pulumi.Input[str]:
        """The id of the newest image that ``image`` names, looked up once a site."""
        if image.startswith("ami-"):
            return image
        if image not in self._amis:
            lookup = AMIS[image]
            found = aws.ec2.get_ami_output(
                most_recent=True,
                owners=[lookup.owner],
                filters=[aws.ec2.GetAmiFilterArgs(name="name", values=[lookup.name])],
                region=self._site.region,
                opts=pulumi.InvokeOutputOptions(parent=self),
            )
            self._amis[image] = found.id
        return self._amis[image]

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> pulumi.Output[str]:
        """Registers the spoke's instance as a child of ``parent``; its id."""
        groups = [self._base_group, *([self._ssh_group] if self._ssh_group is not None and machine.public else [])]
        tags = {"Name": machine.resource_name, **machine.labels}
        options = machine_options(machine, parent, IGNORED, secret_outputs=["user_data"])
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
