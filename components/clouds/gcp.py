"""GCP: instances, firewall rules, a network with NAT where none is given. Every resource names its project."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_gcp as gcp

from components import names
from components.clouds.gcp_group import Ground, Place, make_group
from components.images import GCP_FAMILIES, login_user
from components.machine import (
    GatewayAddress,
    PoolGroup,
    Sources,
    SpokeMachine,
    cidrs,
    fixed,
    machine_options,
    of_version,
)
from components.plan import Machine
from components.pool_plan import PoolPlan
from components.settings.models import Settings
from components.settings.sites import GcpSite
from components.settings.types import EVERYWHERE
from overlay.model import CONTROL_PORT, ROTATION_PORT, WG_PORT
from overlay.serving import SERVING_PORT

IGNORED = ("metadata", "bootDisk.initializeParams.image")
"""SSH keys and user data are both metadata here."""


class GcpNetwork(pulumi.ComponentResource):
    """A GCP site: its network and subnetwork, given or made (never the default one), and its spokes' firewall rules.

    A network that the stack makes has Cloud NAT, by which machines without a public address reach the internet.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        site: GcpSite,
        ssh_public_key: pulumi.Output[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``name`` is the site's; ``ssh_public_key`` is what its instances let administrators in with."""
        super().__init__("hybrid-wireguard:index:GcpNetwork", name, {}, opts)
        self._name = name
        self._settings = settings
        self._site = site
        self._ssh_public_key = ssh_public_key
        self._logins: dict[str, pulumi.Output[str]] = {}
        self._place = self._given_place() or self._made_place()
        self._spoke_tag = names.site_name(settings.prefix, name, names.SPOKES)
        self._ssh_tag = names.site_name(settings.prefix, name, "ssh")
        self._gateway_tag = names.site_name(settings.prefix, name, names.GATEWAYS)
        self._allow("wireguard", "udp", str(WG_PORT), cidrs(EVERYWHERE, ipv4_only=True), self._spoke_tag)
        self._allow("overlay", "all", None, [str(settings.overlay)], self._spoke_tag)
        admins = cidrs(settings.admin_cidrs, ipv4_only=True)
        if admins:
            self._allow("ssh", "tcp", "22", admins, self._ssh_tag)
        self.register_outputs({})

    def _given_place(self) -> Place | None:
        network, subnetwork = self._site.network, self._site.subnetwork
        if network is None or subnetwork is None:
            return None
        return Place(pulumi.Output.from_input(network), pulumi.Output.from_input(subnetwork), ())

    def _made_place(self) -> Place:
        name, site = self._name, self._site
        resource_name = names.site_name(self._settings.prefix, name)
        network = gcp.compute.Network(
            f"{name}-network",
            name=resource_name,
            auto_create_subnetworks=False,
            project=site.project,
            opts=fixed(self),
        )
        subnetwork = gcp.compute.Subnetwork(
            f"{name}-subnetwork",
            name=resource_name,
            network=network.id,
            ip_cidr_range=str(site.made_range),
            region=site.region,
            project=site.project,
            opts=fixed(self),
        )
        router = gcp.compute.Router(
            f"{name}-router",
            name=resource_name,
            network=network.id,
            region=site.region,
            project=site.project,
            opts=fixed(self),
        )
        nat = gcp.compute.RouterNat(
            f"{name}-nat",
            name=resource_name,
            router=router.name,
            region=site.region,
            project=site.project,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
            opts=fixed(self),
        )
        return Place(network.id, subnetwork.id, (nat,))

    def _allow(
        self,
        what: str,
        protocol: str,
        ports: str | None,
        sources: Sources,
        tag: str,
        parent: pulumi.Resource | None = None,
    ) -> None:
        """Lets ``protocol`` (``all`` for all) in to ``ports`` of what has the ``tag``, from ``sources`` of IPv4."""
        gcp.compute.Firewall(
            f"{self._name}-{what}",
            name=names.site_name(self._settings.prefix, self._name, what),
            network=self._place.network,
            direction="INGRESS",
            allows=[gcp.compute.FirewallAllowArgs(protocol=protocol, ports=None if ports is None else [ports])],
            source_ranges=sources,
            target_tags=[tag],
            project=self._site.project,
            opts=fixed(parent or self),
        )

    def _ssh_keys(self, login: str) -> pulumi.Output[str]:
        """The metadata that lets administrators in as ``login``."""
        if login not in self._logins:
            self._logins[login] = self._ssh_public_key.apply(lambda key: f"{login}:{key}")
        return self._logins[login]

    def pool(self, pool: PoolPlan, user_data: pulumi.Output[str], parent: pulumi.Resource) -> PoolGroup:
        """Registers the pool's managed instance group as a child of ``parent``."""
        ground = Ground(self._settings.prefix, self._site, self._place, self._ssh_keys(login_user(pool.image)))
        return make_group(pool, ground, user_data, parent)

    def gateway_address(self, machine: Machine, parent: pulumi.Resource) -> GatewayAddress:
        """Registers a regional address as a child of ``parent``."""
        address = gcp.compute.Address(
            f"{machine.name}-address",
            name=machine.resource_name,
            address_type="EXTERNAL",
            region=self._site.region,
            project=self._site.project,
            labels=machine.labels,
            opts=pulumi.ResourceOptions(parent=parent, delete_before_replace=True, protect=self._settings.protect),
        )
        return GatewayAddress(address.address, None, (address.id,))

    def gateway(
        self,
        machine: Machine,
        address: GatewayAddress,
        user_data: pulumi.Input[str],
        clients: Sources | None,
        parent: pulumi.Resource,
    ) -> pulumi.Output[str]:
        """Registers the gateway's instance and rules as children of ``parent``, and the route to it; its id."""
        self._let_in_to_gateway(clients, parent)
        instance = self._instance(
            machine,
            user_data,
            [self._gateway_tag, self._ssh_tag],
            gcp.compute.InstanceNetworkInterfaceAccessConfigArgs(nat_ip=address.ipv4),
            parent,
            protect=self._settings.protect,
        )
        if self._site.overlay_routes:
            gcp.compute.Route(
                f"{self._name}-overlay-route",
                name=names.site_name(self._settings.prefix, self._name, names.GATEWAYS),
                network=self._place.network,
                dest_range=str(self._settings.overlay),
                next_hop_instance=instance.self_link,
                project=self._site.project,
                opts=fixed(self),
            )
        return instance.id

    def _let_in_to_gateway(self, clients: Sources | None, parent: pulumi.Resource) -> None:
        tag, lan = self._gateway_tag, self._site.own_range
        tunnels = cidrs(self._settings.wireguard_sources, ipv4_only=True)
        if tunnels:
            self._allow(names.TUNNELS, "udp", f"{WG_PORT}-{ROTATION_PORT}", tunnels, tag, parent)
        self._allow(names.CONTROL, "tcp", str(CONTROL_PORT), cidrs(EVERYWHERE, ipv4_only=True), tag, parent)
        if self._site.overlay_routes and lan is not None:
            self._allow(names.LAN, "all", None, [str(lan)], tag, parent)
        if clients is not None:
            self._allow(names.REQUESTS, "tcp", str(SERVING_PORT), of_version(4, clients), tag, parent)

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> SpokeMachine:
        """Registers the spoke's instance as a child of ``parent``."""
        tags = [self._spoke_tag, *([self._ssh_tag] if machine.public else [])]
        access = gcp.compute.InstanceNetworkInterfaceAccessConfigArgs() if machine.public else None
        instance = self._instance(machine, user_data, tags, access, parent)
        return SpokeMachine(instance.id, _public_address(instance) if machine.public else None)

    def _instance(
        self,
        machine: Machine,
        user_data: pulumi.Input[str],
        tags: Sequence[str],
        access: gcp.compute.InstanceNetworkInterfaceAccessConfigArgs | None,
        parent: pulumi.Resource,
        *,
        protect: bool = False,
    ) -> gcp.compute.Instance:
        options = machine_options(machine.revision, parent, IGNORED, secret_outputs=["metadata"], protect=protect)
        options.depends_on = list(self._place.ready)
        return gcp.compute.Instance(
            f"{machine.name}-instance",
            name=machine.resource_name,
            machine_type=machine.server_type,
            zone=self._site.zone,
            project=self._site.project,
            boot_disk=gcp.compute.InstanceBootDiskArgs(
                initialize_params=gcp.compute.InstanceBootDiskInitializeParamsArgs(
                    image=GCP_FAMILIES.get(machine.image, machine.image), labels=machine.labels
                )
            ),
            network_interfaces=[
                gcp.compute.InstanceNetworkInterfaceArgs(
                    subnetwork=self._place.subnetwork,
                    network_ip=None if machine.private_address is None else str(machine.private_address),
                    access_configs=None if access is None else [access],
                )
            ],
            can_ip_forward=machine.role == "gateway",
            allow_stopping_for_update=True,
            metadata={
                "user-data": user_data,
                "ssh-keys": self._ssh_keys(login_user(machine.image)),
                "block-project-ssh-keys": "true",
            },
            tags=tags,
            labels=machine.labels,
            opts=options,
        )


def _public_address(instance: gcp.compute.Instance) -> pulumi.Output[str]:
    return instance.network_interfaces.apply(lambda found: (found[0].access_configs or [])[0].nat_ip or "")
