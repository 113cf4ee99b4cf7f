"""The server on Hetzner."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_hcloud as hcloud

IMAGE = "debian-12"


class MonitoringHost(pulumi.ComponentResource):
    """A small server and its firewall, which lets in nothing but SSH from ``admin_cidrs``; without any, nothing at all.

    What it was told at first boot holds for its life, so that its data survive a change of the network: new nodes it
    hears of from the gateways. ``revision`` makes it anew.
    """

    public_ip: pulumi.Output[str]
    """IPv4 address on the internet."""

    def __init__(
        self,
        name: str,
        *,
        user_data: pulumi.Output[str],
        location: str,
        server_type: str,
        ssh_keys: Sequence[str],
        admin_cidrs: Sequence[str],
        revision: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``name`` is what its network calls it; ``user_data`` is a secret."""
        super().__init__("hybrid-wireguard-monitor:index:MonitoringHost", name, {}, opts)
        full_name = f"{pulumi.get_project()}-{pulumi.get_stack()}"
        labels = {"project": pulumi.get_project(), "stack": pulumi.get_stack(), "node": name}
        ssh = hcloud.FirewallRuleArgs(
            direction="in", protocol="tcp", port="22", source_ips=list(admin_cidrs), description="SSH"
        )
        firewall = hcloud.Firewall(
            f"{name}-firewall",
            name=full_name,
            rules=[ssh] if admin_cidrs else [],
            labels=labels,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        server = hcloud.Server(
            f"{name}-server",
            name=full_name,
            server_type=server_type,
            image=IMAGE,
            location=location,
            ssh_keys=list(ssh_keys),
            firewall_ids=[firewall.id.apply(int)],
            user_data=user_data,
            labels=labels,
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=["user_data", "image", "ssh_keys"],
                additional_secret_outputs=["user_data"],
                replacement_trigger=revision,
                delete_before_replace=True,  # an overlay address is one machine's
            ),
        )
        self.public_ip = server.ipv4_address
        self.register_outputs({"public_ip": self.public_ip})
