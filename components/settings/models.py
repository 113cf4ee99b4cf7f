"""The shape of the stack's config; keys are camelCase under ``hybrid-wireguard:``.

The text under a field is what docs/settings.md says of its key (``document``), in Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import Field, StrictStr

from components.settings.machines import GatewaySettings, PoolSettings, SpokeSettings
from components.settings.serving import LoadBalancerSettings, TlsCertificate
from components.settings.sites import ExternalSite, SiteSettings
from components.settings.types import (
    EVERYWHERE,
    AdminNetwork,
    Flag,
    Network4,
    Network6,
    OpenSshKey,
    Secret,
    Source,
    SourceNetwork,
    Strict,
    WireGuardKey,
    Word,
    whole,
)
from components.settings.words import Named, Unset, Words, in_code, joined
from overlay.model import DOMAIN
from overlay.signing import MAX_HANDOVERS
from overlay.topology import TOPOLOGIES

MAX_BUDGET = 10_000_000
"""US dollars a month."""


class NetworkSettings(Strict):
    """``network``: the overlay, how its nodes peer, and what their names end with."""

    overlay: Network4 = IPv4Network("10.100.0.0/16")
    """Private range of the overlay."""
    topology: Annotated[Word, Words(joined([in_code(name) for name in TOPOLOGIES], "or"))] = "hub"
    """Who peers with whom, [see there](topologies.md)."""
    overlay6: Network6 | None = None
    """A private IPv6 network (RFC 4193) of /96 or larger, such as `fd12:3456:789a::/48`: every node has an address
    there too, its IPv4 address in the last 32 bits."""
    domain: Word = DOMAIN
    """What nodes' names end with: `<node>.<site>.<domain>`; at most 125 characters."""


class GroupSettings(Strict):
    """``groups.<name>``: whom its members may open connections to."""

    reaches: tuple[Word, ...] = ()
    """The groups that its members may open connections to, or `all`."""


class KeysSettings(Strict):
    """``keys``: which of the stack's own keys holds. A higher number makes the next one.

    Each signing key costs whoever meets an old machine a signature to verify, each authority a certificate in every
    answer to such a machine.
    """

    signing_revision: Annotated[int, whole(1, MAX_HANDOVERS)] = 1
    """Which of the stack's signing keys holds: raise it by one to change the key, which touches no machine
    ([how](rotation.md#signing-key)). It cannot be lowered."""
    ca_revision: Annotated[int, whole(1, 16)] = 1
    """Which of the stack's authorities holds: as above ([how](rotation.md#authority-and-certificates))."""


class StackConfig(Strict):
    """Every key of the stack's config.

    ``load`` takes the mappings by name, and what is secret, out of it and judges each entry by itself, so that what it
    refuses is told in the words of the entry's own cloud, and no secret.
    """

    network: NetworkSettings = NetworkSettings()
    """The overlay network."""
    groups: Annotated[Mapping[StrictStr, GroupSettings], Named("group")] = Field(
        default_factory=dict[str, GroupSettings]
    )
    """Who may reach whom, see [below](#groups)."""
    sites: Annotated[Mapping[StrictStr, SiteSettings], Named("site")] = Field(default_factory=dict[str, SiteSettings])
    """Where machines stand, see [below](#sites)."""
    gateways: Annotated[Mapping[StrictStr, GatewaySettings], Named("node"), Unset("at least one is required")] = Field(
        default_factory=dict[str, GatewaySettings]
    )
    """WireGuard gateways, one a site at most, see [below](#machines)."""
    spokes: Annotated[Mapping[StrictStr, SpokeSettings], Named("node")] = Field(
        default_factory=dict[str, SpokeSettings]
    )
    """The other machines, see [below](#machines)."""
    pools: Annotated[Mapping[StrictStr, PoolSettings], Named("pool")] = Field(default_factory=dict[str, PoolSettings])
    """Machines that join at run time, see [below](#pools): spot machines that come and go on AWS and GCP, servers on
    Hetzner."""
    admin_cidrs: tuple[AdminNetwork, ...] = ()
    """Networks that may use SSH from outside the overlay, at most 50; none wider than /8 (IPv6: /16). GCP takes the
    IPv4 ones. Whoever is on the overlay may try SSH on every node."""
    wireguard_sources: Annotated[tuple[SourceNetwork, ...], Field(min_length=1)] = EVERYWHERE
    """Networks that may speak WireGuard to the gateways, at most 50; private networks of Hetzner sites and of sites
    with a gateway included."""
    revoked_keys: tuple[WireGuardKey, ...] = ()
    """Keys of machines that are locked out, see [below](#locking-out-a-machine); no declared node may have one of
    them."""
    load_balancer: LoadBalancerSettings = LoadBalancerSettings()
    """Whether and how the gateways answer requests, see [below](#load-balancer)."""
    tls_certificate: TlsCertificate | None = None
    """The load balancer's own certificate."""
    api_keys: Annotated[Mapping[StrictStr, Secret], Named("name")] = Field(default_factory=dict[str, str])
    """Who may ask the load balancer, and with which bearer token of 16 to 256 characters: `openssl rand -hex 32 |
    pulumi config set --secret --path apiKeys.portal`. Without any, everybody may whom the gateways' firewall lets
    in. Set each with `--secret`: Pulumi hides all of `apiKeys` once one of them is encrypted, so one that stands
    beside it in clear is not noticed."""
    private_keys: Annotated[Mapping[StrictStr, Secret], Named("node"), Unset("the stack makes keys")] = Field(
        default_factory=dict[str, str]
    )
    """WireGuard private keys: `wg genkey | pulumi config set --secret --path privateKeys.aws-1`. Set each with
    `--secret`, for the same reason."""
    prefix: Annotated[Word | None, Unset("`<project>-<stack>`")] = None
    """What names of cloud resources begin with."""
    keep_retired_server_types: Flag = False
    """Ask for server types as written; else a retired one becomes its successor, with a warning."""
    ssh_public_key: Annotated[OpenSshKey | None, Unset("the stack makes a key")] = None
    """For the machines. Hetzner takes a key once a project: give one that is not registered there yet."""
    keys: KeysSettings = KeysSettings()
    """Which of the stack's own keys holds."""
    protect: Flag = True
    """Refuse to delete or replace the gateways, their addresses and the stack's keys; Hetzner guards the address
    too."""
    production: Flag = False
    """Whether the stack is one for production, of which policies ask more. The machines are the same."""
    monthly_budget: Annotated[int, whole(0, MAX_BUDGET)] = 0
    """The most that the stack may cost a month by list prices, all pools at their largest, in whole US dollars; `0` for
    no budget. A policy compares; nothing is switched off when it is spent."""


@dataclass(frozen=True)
class Settings:
    """Everything the program is told; policies are told the rest.

    ``production`` and ``monthly_budget`` (whole US dollars a month) are for them alone.

    Secrets: ``private_keys``, WireGuard private keys (base64) by node; ``tls_certificate`` and ``api_keys`` (by name),
    what the load balancer shows and asks for.
    """

    project: str
    stack: str
    prefix: str
    overlay: IPv4Network
    topology: str
    overlay6: IPv6Network | None
    domain: str
    groups: Mapping[str, GroupSettings]
    sites: Mapping[str, SiteSettings]
    gateways: Mapping[str, GatewaySettings]
    spokes: Mapping[str, SpokeSettings]
    pools: Mapping[str, PoolSettings]
    admin_cidrs: tuple[Source, ...]
    wireguard_sources: tuple[Source, ...]
    revoked_keys: tuple[str, ...]
    keep_retired_server_types: bool
    ssh_public_key: str | None
    protect: bool
    production: bool
    monthly_budget: int | None
    keys: KeysSettings
    load_balancer: LoadBalancerSettings
    private_keys: Mapping[str, str] = field(repr=False)
    tls_certificate: TlsCertificate | None = field(repr=False)
    api_keys: Mapping[str, str] = field(repr=False)

    def is_external(self, site: str) -> bool:
        """Whether the machines of ``site`` are not the stack's."""
        return isinstance(self.sites[site], ExternalSite)
