"""What a gateway balances requests onto, as the roster declares it, and the credentials that it serves with.

The credentials are secrets, so they are a document of their own, numbered and signed like the roster.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from overlay.fields import FieldError, Fields, Source, read
from overlay.model import is_node_name

SERVING_PORT = 443
"""TCP port that a gateway answers requests at (HTTPS)."""
CREDENTIALS_VERSION = 1
MAX_WEIGHT = 1000
MAX_CONNECTIONS = 65535
API_KEY = re.compile(r"[A-Za-z0-9._~+/-]{16,256}={0,2}")
"""What can stand behind ``Bearer`` (RFC 6750), with enough room not to be guessed."""
_HEALTH_PATH = re.compile(r"/[!-~]{0,254}")
_MAX_NUMBER = 2**53 - 1


class CredentialsError(ValueError):
    """The bytes are no valid credentials; the message names the field and what is wrong, and shows no secret."""


@dataclass(frozen=True)
class Share:
    """How many requests a machine gets beside the others.

    ``weight`` is relative. A ``backup`` gets requests only while no other machine can take them. ``max_conns`` bounds
    the requests at once, 0 for no bound.
    """

    weight: int
    backup: bool
    max_conns: int


@dataclass(frozen=True)
class Target:
    """How a declared machine serves: the inference server's TCP port, the path of its health check, its share."""

    port: int
    health_path: str
    share: Share


@dataclass(frozen=True)
class Check:
    """Health checks: seconds from one to the next; how many in a row make a machine healthy, how many unhealthy."""

    interval: int
    rise: int
    fall: int


@dataclass(frozen=True)
class LoadBalancer:
    """What a gateway serves: ``nodes`` by their names, the machines of ``pools`` by the pools' names.

    A pool's port and health path are the pool's own. Who connects from ``trusted_proxies`` may say, in
    ``CF-Connecting-IP``, whom it speaks for.
    """

    check: Check
    nodes: Mapping[str, Target]
    pools: Mapping[str, Share]
    trusted_proxies: tuple[Source, ...] = ()


def is_health_path(text: str) -> bool:
    """Whether ``text`` is the path of a URL: ``/`` and what follows it, printable ASCII without spaces."""
    return _HEALTH_PATH.fullmatch(text) is not None


def _share_document(share: Share) -> dict[str, Any]:
    return {"weight": share.weight, "backup": share.backup, "max_conns": share.max_conns}


def balancer_document(balancer: LoadBalancer | None) -> dict[str, Any] | None:
    """The roster's ``load_balancer``; None for none."""
    if balancer is None:
        return None
    check = balancer.check
    return {
        "check": {"interval": check.interval, "rise": check.rise, "fall": check.fall},
        "nodes": {
            name: {"port": target.port, "health_path": target.health_path, **_share_document(target.share)}
            for name, target in balancer.nodes.items()
        },
        "pools": {name: _share_document(share) for name, share in balancer.pools.items()},
        "trusted_proxies": [str(source) for source in balancer.trusted_proxies],
    }


def _share(fields: Fields) -> Share:
    return Share(
        fields.number("weight", 1, MAX_WEIGHT), fields.flag("backup"), fields.number("max_conns", 0, MAX_CONNECTIONS)
    )


def _target(where: str, fields: Fields) -> Target:
    port, path = fields.number("port", 1, 65535), fields.text("health_path")
    if not is_health_path(path):
        raise FieldError(f"{where}.health_path: {path!r} is not the path of a URL")
    target = Target(port, path, _share(fields))
    fields.end()
    return target


def _pool_share(fields: Fields) -> Share:
    share = _share(fields)
    fields.end()
    return share


def read_balancer(fields: Fields | None) -> LoadBalancer | None:
    """The roster's ``load_balancer``; FieldError when it is none."""
    if fields is None:
        return None
    checks = fields.object("check")
    check = Check(checks.number("interval", 1, 3600), checks.number("rise", 1, 100), checks.number("fall", 1, 100))
    checks.end()
    balancer = LoadBalancer(
        check,
        {name: _target(f"load_balancer.nodes.{name}", each) for name, each in fields.objects("nodes").items()},
        {name: _pool_share(each) for name, each in fields.objects("pools").items()},
        fields.sources("trusted_proxies"),
    )
    fields.end()
    return balancer


@dataclass(frozen=True)
class Credentials:
    """What a gateway shows and asks for at its port for requests. ``private_key`` and ``api_keys`` are secrets.

    ``gateway`` is its node's name, so that a signature is good at no other gateway. ``certificate`` is the chain in
    PEM, the gateway's own first; ``private_key`` is its key in PEM. With ``client_ca`` (PEM) only who shows a
    certificate of that authority is answered; with ``api_keys`` (by name) only who sends one as a bearer token.
    """

    number: int
    gateway: str
    certificate: str
    private_key: str = field(repr=False)
    client_ca: str | None = None
    api_keys: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)


def canonical_credentials(credentials: Credentials) -> bytes:
    """The credentials' bytes, as they are signed, sent and stored: JSON, sorted keys, no spaces, ASCII."""
    document = {
        "schema_version": CREDENTIALS_VERSION,
        "number": credentials.number,
        "gateway": credentials.gateway,
        "certificate": credentials.certificate,
        "private_key": credentials.private_key,
        "client_ca": credentials.client_ca,
        "api_keys": dict(credentials.api_keys),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def credentials_digest(credentials: Credentials) -> str:
    """SHA-256 (hex) of the credentials without their number."""
    return hashlib.sha256(canonical_credentials(replace(credentials, number=0))).hexdigest()


def parse_credentials(body: bytes) -> Credentials:
    """The credentials of canonical bytes; CredentialsError unless they are what :func:`canonical_credentials` makes.

    Whether certificate and key fit each other is for a reader with a library for that.
    """
    try:
        credentials = _read_credentials(read("credentials", body))
    except FieldError as error:
        raise CredentialsError(str(error)) from None
    if canonical_credentials(credentials) != body:
        raise CredentialsError("not in canonical form: sorted keys, no spaces, ASCII")
    return credentials


def _read_credentials(fields: Fields) -> Credentials:
    fields.number("schema_version", CREDENTIALS_VERSION, CREDENTIALS_VERSION)
    number, gateway = fields.number("number", 1, _MAX_NUMBER), fields.text("gateway")
    if not is_node_name(gateway):
        raise FieldError(f"credentials.gateway: {gateway!r} is not a lower-case DNS label")
    certificate, private_key, client_ca = (
        fields.pem("certificate"),
        fields.pem("private_key"),
        fields.maybe_pem("client_ca"),
    )
    keys = fields.text_map("api_keys")
    for name, key in keys.items():
        if not is_node_name(name) or not API_KEY.fullmatch(key):
            raise FieldError(f"credentials.api_keys.{name if is_node_name(name) else '?'}: no name or no bearer token")
    fields.end()
    return Credentials(number, gateway, certificate, private_key, client_ca, keys)
