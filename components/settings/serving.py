"""The shape of the settings about serving: the load balancer, its certificate, and what machines serve."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BeforeValidator, Field

from components.settings.types import EVERYWHERE, Flag, HealthPath, SourceNetwork, Strict, refusal, whole
from overlay.serving import MAX_CONNECTIONS, MAX_WEIGHT

DEFAULT_PORT = 8000
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


ServerName = Annotated[str, BeforeValidator(_server_name)]
"""A DNS name in lower case, perhaps with ``*`` as its first label."""
CloudflareId = Annotated[str, BeforeValidator(_cloudflare_id)]
"""Of a zone or an account."""
ClientCa = Annotated[str, BeforeValidator(_client_ca)]
"""Certificates (PEM) of authorities, as this program writes them."""


class Shares(Strict):
    """How many requests machines get; what is None has a default by their cloud (:class:`overlay.serving.Share`)."""

    weight: Annotated[int, whole(1, MAX_WEIGHT)] | None = None
    backup: Flag | None = None
    max_conns: Annotated[int, whole(0, MAX_CONNECTIONS)] | None = None


class ServingSettings(Shares):
    """``sites.<site>.serving``: how the site's spokes serve."""

    port: Annotated[int, whole(1, 65535)] = DEFAULT_PORT
    health_path: HealthPath = "/health"


class CloudflareSettings(Strict):
    """``loadBalancer.cloudflare``: the name that Cloudflare takes requests at for the gateways, and its zone.

    ``account_id`` is the zone's, which load balancing over several gateways needs. ``monitor`` is whether Cloudflare
    asks the gateways how they are.
    """

    zone_id: CloudflareId
    account_id: CloudflareId | None = None
    hostname: ServerName
    monitor: Flag = True


class LoadBalancerSettings(Strict):
    """``loadBalancer``: what the gateways answer requests with, and who may ask.

    ``check_interval`` is in seconds; ``rise`` and ``fall`` are how many checks in a row make a machine healthy or not.
    """

    enabled: Flag = False
    server_names: tuple[ServerName, ...] = ()
    sources: Annotated[tuple[SourceNetwork, ...], Field(min_length=1)] = EVERYWHERE
    certificate: Literal["stack", "given", "cloudflare"] = "stack"
    check_interval: Annotated[int, whole(1, 3600)] = 2
    rise: Annotated[int, whole(1, 100)] = 2
    fall: Annotated[int, whole(1, 100)] = 3
    client_ca: ClientCa | None = None
    cloudflare: CloudflareSettings | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that requests are for, Cloudflare's first."""
        if self.cloudflare is None or self.cloudflare.hostname in self.server_names:
            return self.server_names
        return (self.cloudflare.hostname, *self.server_names)


@dataclass(frozen=True)
class TlsCertificate:
    """``tlsCertificate``: a certificate with its chain, its own first, and its private key; PEM."""

    certificate: str
    private_key: str = field(repr=False)
