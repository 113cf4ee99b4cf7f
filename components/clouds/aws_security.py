"""AWS security groups and their rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.machine import Sources, fixed, in_a_name, of_version
from components.settings.types import EVERYWHERE, Source


@dataclass(frozen=True)
class SecurityGroups:
    """Makes the security groups of one ``owner``, whose name begins theirs, as children of ``parent``."""

    owner: str
    vpc_id: pulumi.Output[str]
    region: str
    tags: Mapping[str, str]
    parent: pulumi.Resource

    def group(self, name: str, resource_name: str, description: str) -> aws.ec2.SecurityGroup:
        """A security group without rules; made anew only in another VPC or under another name, beside the old one."""
        return self._group(name, resource_name, description, None)

    def group_for(
        self, name: str, resource_name: str, description: str, *, port: int, clients: Sources
    ) -> aws.ec2.SecurityGroup:
        """A security group that lets TCP in to ``port`` from ``clients``, who may be known at run time only."""
        rule = aws.ec2.SecurityGroupIngressArgs(
            protocol="tcp",
            from_port=port,
            to_port=port,
            cidr_blocks=of_version(4, clients),
            ipv6_cidr_blocks=of_version(6, clients),
            description=description,
        )
        return self._group(name, resource_name, description, [rule])

    def _group(
        self,
        name: str,
        resource_name: str,
        description: str,
        ingress: list[aws.ec2.SecurityGroupIngressArgs] | None,
    ) -> aws.ec2.SecurityGroup:
        return aws.ec2.SecurityGroup(
            name,
            name=resource_name,
            description=description,
            vpc_id=self.vpc_id,
            ingress=ingress,
            region=self.region,
            tags=self.tags,
            opts=pulumi.ResourceOptions(parent=self.parent),
        )

    def let_in(
        self,
        group: aws.ec2.SecurityGroup,
        what: str,
        protocol: str,
        port: int | None,
        sources: Sequence[Source],
        *,
        last: int | None = None,
    ) -> None:
        """Lets ``protocol`` (``-1`` for all) in to ``port``, or from it to ``last``, from each of ``sources``."""
        for source in sources:
            aws.vpc.SecurityGroupIngressRule(
                f"{self.owner}-{what}-{in_a_name(source)}",
                security_group_id=group.id,
                ip_protocol=protocol,
                from_port=port,
                to_port=port if last is None else last,
                cidr_ipv4=str(source) if source.version == 4 else None,
                cidr_ipv6=str(source) if source.version == 6 else None,
                description=what,
                region=self.region,
                tags=self.tags,
                opts=fixed(self.parent),
            )

    def let_everything_out(self, group: aws.ec2.SecurityGroup) -> None:
        """Lets everything out, to wherever."""
        for source in EVERYWHERE:
            aws.vpc.SecurityGroupEgressRule(
                f"{self.owner}-out-{in_a_name(source)}",
                security_group_id=group.id,
                ip_protocol="-1",
                cidr_ipv4=str(source) if source.version == 4 else None,
                cidr_ipv6=str(source) if source.version == 6 else None,
                region=self.region,
                tags=self.tags,
                opts=fixed(self.parent),
            )
