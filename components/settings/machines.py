"""The shape of ``gateways``, ``spokes`` and ``pools``: the machines of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictStr

from components.settings.serving import Shares
from components.settings.types import (
    Address4,
    Flag,
    HealthPath,
    Network4,
    PublicAddress,
    Revision,
    Strict,
    WireGuardKey,
    Word,
    whole,
)
from components.settings.words import Named, Unset, by_cloud

DEFAULT_IMAGE = "ubuntu-22.04"
DEFAULT_SERVER_TYPE: Mapping[str, str] = {"hetzner": "cx22", "aws": "t3.small", "gcp": "e2-small"}
PUBLIC_BY_DEFAULT: Mapping[str, bool] = {"hetzner": True, "aws": True, "gcp": False}
"""By cloud, whether machines that are no gateway have a public IPv4 address. GCP's go out by Cloud NAT."""
MAX_MEMBERS = 10_000
"""Machines in one pool; an AWS group or a GCP one takes no more than some thousands."""
_NO_GROUP = Unset("none; required with groups")


class _Machine(Strict):
    site: Word
    """One of `sites`."""
    address: Annotated[
        Address4 | None,
        Unset(
            "host N of the site's subnet for a name that ends in `-N`; of the only gateway the overlay's first, of "
            "several the last of their sites' subnets"
        ),
    ] = None
    """Overlay address. A gateway's never moves while its machine stays: before you add a second gateway, pin the first
    one's."""
    server_type: Annotated[Word | None, by_cloud(DEFAULT_SERVER_TYPE)] = None
    """The cloud's machine type; another one stops and starts the machine."""
    image: Word = DEFAULT_IMAGE
    """`ubuntu-22.04`, `ubuntu-24.04`, `debian-12` (not on GCP, whose Debian images have no cloud-init); an AMI's id on
    AWS, an image's path on GCP, any image on Hetzner."""
    location: Annotated[Word | None, Unset("the site's")] = None
    """Hetzner only: its location."""
    revision: Revision = 1
    """Raise it to make the machine anew."""


class GatewaySettings(_Machine):
    """A WireGuard gateway; with ``ipv6`` machines reach it by IPv6 too."""

    private_address: Annotated[
        Address4 | None, Unset("the last that a machine can have in the network that the stack makes")
    ] = None
    """Address in the site's own network, where machines of the site call it. Required with `networkId` (unless
    `networkCidr` says its range), `vpcId` or `network`; take one from the end, since clouds give the first ones to the
    others."""
    ipv6: Flag = False
    """Hetzner only: whether it has a public IPv6 address of its own, which stays. Hetzner stops and starts a server to
    change that."""


class SpokeSettings(_Machine):
    """A machine that joins through its gateway; in an external site its owner may keep its private key."""

    group: Annotated[Word | None, _NO_GROUP] = None
    """Its [group](#groups)."""
    public_address: Annotated[PublicAddress | None, by_cloud(PUBLIC_BY_DEFAULT)] = None
    """Whether it has a public IPv4 address. Without one it needs NAT to install its packages: on AWS the site's
    gateway, or a VPC of yours that has it; its subnet is one, so with a gateway in it, which needs an internet
    gateway, there is no NAT, and machines without an address need an image that has the packages. `ipv6` (Hetzner):
    a public IPv6 address alone; its gateways need `ipv6`."""
    public_key: Annotated[WireGuardKey | None, Unset("the stack makes a key")] = None
    """In [external sites](#external-sites) only: the WireGuard public key of who keeps the private one."""
    serves: Annotated[Flag | None, Unset("`true`; in external sites `false`")] = None
    """Whether the load balancer sends it requests."""


class PoolSettings(Shares):
    """Machines that join at run time. What its cloud has no use for is None or the default (``checks`` sees to it).

    The machines of an ``external`` pool are made by others, wherever they are. ``addresses`` is the part of the site's
    subnet that they draw from. AWS and GCP hold ``minimum`` to ``maximum`` of them, Hetzner ``count``. ``lease_ttl``
    and ``address_rest`` are in seconds, as in :class:`overlay.pools.Pool`.
    """

    kind: Literal["managed", "external"] = "managed"
    """`managed`: the stack makes the machines; `external`: others do, see below."""
    site: Word
    """One of `sites`."""
    group: Annotated[Word | None, _NO_GROUP] = None
    """Its machines' [group](#groups)."""
    addresses: Network4 = Field(alias="range")
    """The part of the site's subnet that machines draw addresses from. No declared node may have one in it, and it
    needs two addresses for every machine of `max` (`count`), since one rests before it is given again."""
    minimum: Annotated[Annotated[int, whole(0, MAX_MEMBERS)] | None, Unset("`1` on AWS and GCP")] = Field(
        default=None, alias="min"
    )
    """AWS and GCP: how many machines at least. The stack sets the size once; then it belongs to whoever scales the
    group."""
    maximum: Annotated[
        Annotated[int, whole(1, MAX_MEMBERS)] | None, Unset("required on AWS and GCP, and of external pools")
    ] = Field(default=None, alias="max")
    """How many machines at most. When AWS replaces a spot machine that it may soon take, the group may exceed `max`
    by a tenth: the newcomer waits outside until the old machine drains or goes."""
    count: Annotated[Annotated[int, whole(1, MAX_MEMBERS)] | None, Unset("required on Hetzner")] = None
    """Hetzner: how many servers."""
    server_types: Annotated[
        Annotated[tuple[Word, ...], Field(min_length=1)] | None,
        by_cloud({cloud: f"[{name}]" for cloud, name in DEFAULT_SERVER_TYPE.items()}),
    ] = None
    """Machine types: one, on AWS up to 40, of which it takes those with the most spot capacity."""
    on_demand_base: Annotated[Annotated[int, whole(0, MAX_MEMBERS)] | None, Unset("`0` on AWS")] = None
    """AWS: how many of the machines are not spot."""
    image: Word = DEFAULT_IMAGE
    """As of [machines](#machines)."""
    public_address: Annotated[Flag | None, by_cloud(PUBLIC_BY_DEFAULT)] = None
    """As of [spokes](#machines), without `ipv6`."""
    port: Annotated[int, whole(1, 65535)] = 8000
    """Where the inference server listens on the overlay."""
    health_path: HealthPath = "/health"
    """What says that the inference server is ready: a 2xx answer to a GET."""
    user_setup: StrictStr = ""
    """A script that runs as root once a machine, when the tunnel is up; without a `#!` line it is for `/bin/sh`.
    What it prints: `journalctl -u hybridnet-setup` on the machine. One that fails is tried again at the next boot,
    and the machine stays in the network."""
    drain_hook: StrictStr = ""
    """A script that runs as root before a machine leaves: after 90 s on AWS, 20 s elsewhere, the machine leaves anyhow.
    What it prints: `journalctl -u hybridnet-drain`."""
    labels: Annotated[Mapping[StrictStr, StrictStr], Named("label")] = Field(default_factory=dict[str, str])
    """Labels (tags) of the machines besides the stack's own."""
    token_revision: Revision = 1
    """Raise it for another join token: machines that joined stay, new ones get the new token, and the old one lets
    nobody in. A machine of AWS or GCP that began with the old token and never got in powers itself off after 15
    minutes, and its group launches another."""
    require_identity: Flag = False
    """AWS and GCP: whether a machine must prove with its cloud's signature that it is one of this account's
    (project's). On AWS the site needs `identityCertificates`, and a machine that lost its key file can never join
    again (409): terminate it."""
    lease_ttl: Annotated[int, whole(10, 7 * 86400)] = 300
    """Seconds that a machine may be silent before it is forgotten."""
    address_rest: Annotated[int, whole(0, 7 * 86400)] = 600
    """Seconds that an address is not given to another machine."""
    revision: Annotated[Revision | None, Unset("`1` on Hetzner")] = None
    """Hetzner: raise it to make the servers anew."""

    @property
    def limit(self) -> int:
        """How many machines work in it at once, at most."""
        return self.maximum or self.count or 0

    @property
    def is_external(self) -> bool:
        return self.kind == "external"
