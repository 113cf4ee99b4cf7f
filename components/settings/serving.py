"""The shape of the settings about serving: the load balancer, its certificate, and what machines serve."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BeforeValidator, Field

from components.settings.types import EVERYWHERE, Flag, HealthPath, Secret, SourceNetwork, Strict, refusal, whole
from components.settings.words import Unset, Words, by_cloud
from overlay.model import EXTERNAL
from overlay.serving import MAX_CONNECTIONS, MAX_WEIGHT, Share

BASE_SHARE = Share(weight=10, backup=False, max_conns=32)
BURST_SHARE = Share(weight=5, backup=True, max_conns=0)
DEFAULT_SHARE: Mapping[str, Share] = {
    "hetzner": BASE_SHARE,
    "aws": BURST_SHARE,
    "gcp": BURST_SHARE,
    EXTERNAL: BURST_SHARE,
}
"""By cloud. What does not fit onto the base machines is for the burst machines, so base machines need a bound."""
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_NAME = 253
_CLOUDFLARE_ID = re.compile(r"[0-9a-f]{32}")
_NAME_EXAMPLE = "write it like inference.example.com, or *.example.com for every name below one"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _server_name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise refusal("a DNS name is needed", _NAME_EXAMPLE)
    if _is_address(value):
        raise refusal("it is an address", "remove it: the stack's certificates hold the gateways' addresses anyhow")
    wildcard = value.startswith("*.")
    labels = value.removeprefix("*.").split(".")
    if value != value.lower() and all(_LABEL.fullmatch(label) for label in value.lower().split(".")):
        raise refusal("it has capital letters", f"write {value.lower()}")
    if len(value) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise refusal("it is no DNS name", _NAME_EXAMPLE)
    if wildcard and len(labels) < 2:
        raise refusal("no authority vouches for a whole top-level domain", _NAME_EXAMPLE)
    if labels[-1].isdigit():
        raise refusal("its last part is a number", _NAME_EXAMPLE)
    return value


def _cloudflare_id(value: object) -> str:
    if not isinstance(value, str) or not _CLOUDFLARE_ID.fullmatch(value):
        remedy = "copy it from the zone's overview in Cloudflare's dashboard, and put it in quotes"
        raise refusal("it is no id of Cloudflare's: 32 hexadecimal digits", remedy)
    return value


def _client_ca(value: object) -> str:
    remedy = "give the authority's certificate in PEM, from its BEGIN to its END line"
    if not isinstance(value, str) or "PRIVATE KEY" in value:
        raise refusal("certificates in PEM are needed, and nothing else", remedy)
    try:
        found = x509.load_pem_x509_certificates(value.encode())
    except ValueError:
        raise refusal("it holds no certificate in PEM that can be read", remedy) from None
    for certificate in found:
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (x509.ExtensionNotFound, ValueError):
            constraints = None
        if constraints is None or not constraints.ca:
            subject = certificate.subject.rfc4514_string() or "a certificate"
            raise refusal(f"{subject} is not an authority's certificate", "give the one that issued the clients' own")
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)


ServerName = Annotated[str, BeforeValidator(_server_name), Words("DNS name", "DNS names")]
"""In lower case, perhaps with ``*`` as its first label."""
CloudflareId = Annotated[str, BeforeValidator(_cloudflare_id), Words("32 hexadecimal digits")]
"""Of a zone or an account."""
ClientCa = Annotated[str, BeforeValidator(_client_ca), Words("certificates in PEM")]
"""Certificates (PEM) of authorities, as this program writes them."""


class Shares(Strict):
    """How many requests machines get; what is None has a default by their cloud (:class:`overlay.serving.Share`)."""

    weight: Annotated[
        Annotated[int, whole(1, MAX_WEIGHT)] | None,
        by_cloud({cloud: share.weight for cloud, share in DEFAULT_SHARE.items()}),
    ] = None
    """The share of the requests beside the others'."""
    backup: Annotated[Flag | None, by_cloud({cloud: share.backup for cloud, share in DEFAULT_SHARE.items()})] = None
    """Whether it gets requests only while all machines that are no backup are away, or full."""
    max_conns: Annotated[
        Annotated[int, whole(0, MAX_CONNECTIONS)] | None,
        by_cloud({cloud: share.max_conns for cloud, share in DEFAULT_SHARE.items()}),
    ] = None
    """Requests at once on one machine, `0` for no bound. Where a base machine has no bound, nothing ever overflows to
    the backups. A change of machines or weights begins the count anew
    ([why](control-plane.md#what-a-gateway-does-all-the-time)), so give the inference server a bound of its own, too."""


class ServingSettings(Shares):
    """``sites.<site>.serving``: how the site's spokes serve."""

    port: Annotated[int, whole(1, 65535)] = 8000
    """Where the inference server listens on the overlay."""
    health_path: HealthPath = "/health"
    """What answers a GET with 2xx while the inference server is well."""


class CloudflareSettings(Strict):
    """``loadBalancer.cloudflare``: the name that Cloudflare takes requests at for the gateways, and its zone."""

    zone_id: CloudflareId
    """The zone's id, from its overview in Cloudflare's dashboard."""
    account_id: Annotated[CloudflareId | None, Unset("none; required with several gateways")] = None
    """The id of the zone's account."""
    hostname: ServerName
    """The full name that clients ask for. With one gateway it becomes a proxied A record, with several a load balancer
    over a pool of them, which Cloudflare bills apart."""
    monitor: Flag = True
    """Whether Cloudflare asks `/health`, every minute: with one gateway a health check of the zone, whose state
    Cloudflare shows and can notify of (from its Pro plan on: set `false` on the free one), with several the monitor
    that takes one out of the pool."""


class LoadBalancerSettings(Strict):
    """``loadBalancer``: what the gateways answer requests with, and who may ask."""

    enabled: Flag = False
    """Whether the gateways answer requests."""
    server_names: tuple[ServerName, ...] = ()
    """The names that clients ask for, in lower case, `*` as a first label at most. They stand in the certificate; your
    DNS has to know them."""
    sources: Annotated[tuple[SourceNetwork, ...], Field(min_length=1)] = EVERYWHERE
    """Networks that may connect, at most 50."""
    certificate: Literal["stack", "given", "cloudflare"] = "stack"
    """`stack`: one of the stack's authority a gateway; `given`: `tlsCertificate`, every gateway's; `cloudflare`: one of
    Cloudflare's origin authority."""
    check_interval: Annotated[int, whole(1, 3600)] = 2
    """Seconds from the end of one health check of a machine to the next."""
    rise: Annotated[int, whole(1, 100)] = 2
    """Checks in a row that make a machine healthy."""
    fall: Annotated[int, whole(1, 100)] = 3
    """Checks in a row that make a machine unhealthy."""
    client_ca: ClientCa | None = None
    """Authorities: only who shows a certificate of one of them is answered."""
    cloudflare: CloudflareSettings | None = None
    """Puts Cloudflare before the gateways, see [below](#cloudflare)."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that requests are for, Cloudflare's first."""
        if self.cloudflare is None or self.cloudflare.hostname in self.server_names:
            return self.server_names
        return (self.cloudflare.hostname, *self.server_names)


class TlsCertificate(Strict):
    """``tlsCertificate``: what the load balancer shows when its ``certificate`` is ``given``."""

    certificate: Annotated[Secret, Field(repr=False), Unset("none")]
    """For `loadBalancer.certificate: given`: the server's certificate first and then its chain, in PEM:
    `pulumi config set --secret --path tlsCertificate.certificate < chain.pem`."""
    private_key: Annotated[Secret, Field(repr=False), Unset("none")]
    """Its key (RSA or ECDSA) in PEM: `pulumi config set --secret --path tlsCertificate.privateKey < key.pem`."""
