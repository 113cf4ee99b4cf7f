"""The load balancer in the roster, the credentials' canonical bytes, and what is refused of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from overlay.pools import Pool
from overlay.roster import RosterError, canonical, content_digest, parse
from overlay.serving import (
    Check,
    Credentials,
    CredentialsError,
    LoadBalancer,
    Share,
    Target,
    canonical_credentials,
    credentials_digest,
    parse_credentials,
)
from tests.overlay.test_roster import ROSTER

POOL = Pool("burst", "hetzner", IPv4Network("10.100.1.128/25"), 4, "0" * 64, 300, 600, 8000, "/health")
BALANCER = LoadBalancer(
    Check(2, 2, 3),
    {"hetzner-1": Target(8000, "/health", Share(10, backup=False, max_conns=8))},
    {"burst": Share(5, backup=True, max_conns=0)},
    (IPv4Network("198.51.100.0/24"),),
)
SERVING = replace(ROSTER, pools=(POOL,), load_balancer=BALANCER)
PEM = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"
CREDENTIALS = Credentials(
    3, "gw", PEM.format("CERTIFICATE") * 2, PEM.format("PRIVATE KEY"), PEM.format("CERTIFICATE"), {"ci": "k" * 32}
)


def altered(body: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(body)
    change(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def balancer(change: Callable[[dict[str, Any]], object]) -> bytes:
    return altered(canonical(SERVING), lambda document: change(document["load_balancer"]))


def test_a_roster_keeps_its_load_balancer_and_an_older_one_has_none() -> None:
    assert parse(canonical(SERVING)) == SERVING
    older = replace(SERVING, load_balancer=None, version=2)
    assert b"load_balancer" not in canonical(older)
    assert parse(canonical(older)) == older
    assert content_digest(SERVING) != content_digest(replace(SERVING, load_balancer=None))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (balancer(lambda b: b["nodes"]["hetzner-1"].update(port=0)), "port"),
        (balancer(lambda b: b["nodes"]["hetzner-1"].update(port=65536)), "port"),
        (balancer(lambda b: b["nodes"]["hetzner-1"].update(weight=0)), "weight"),
        (balancer(lambda b: b["nodes"]["hetzner-1"].update(backup=1)), "backup: true or false"),
        (balancer(lambda b: b["nodes"]["hetzner-1"].update(max_conns=-1)), "max_conns"),
        (balancer(lambda b: b["nodes"]["hetzner-1"].update(health_path="health")), "health_path"),
        (balancer(lambda b: b["nodes"]["hetzner-1"].update(health_path="/a b")), "health_path"),
        (balancer(lambda b: b["nodes"].update({"gw": b["nodes"]["hetzner-1"]})), "nodes.gw: no such spoke"),
        (balancer(lambda b: b["nodes"].update({"x; }": b["nodes"]["hetzner-1"]})), "no such spoke"),
        (balancer(lambda b: b["pools"].update({"other": b["pools"]["burst"]})), "pools.other: no such pool"),
        (balancer(lambda b: b["pools"]["burst"].update(port=1)), "unknown field 'port'"),
        (balancer(lambda b: b["check"].update(interval=0)), "interval"),
        (balancer(lambda b: b.update(trusted_proxies=["0.0.0.0/0;"])), "trusted_proxies"),
        (altered(canonical(SERVING), lambda d: d.pop("load_balancer")), "load_balancer: missing"),
        (altered(canonical(SERVING), lambda d: d["pools"]["burst"].update(health_path="x")), "pools.burst.health_path"),
    ],
)
def test_a_bad_load_balancer_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(RosterError, match=reason):
        parse(body)


def test_credentials_are_a_fixed_point_and_show_no_secret() -> None:
    assert parse_credentials(canonical_credentials(CREDENTIALS)) == CREDENTIALS
    assert "PRIVATE" not in repr(CREDENTIALS)
    assert "kkkk" not in repr(CREDENTIALS)
    assert credentials_digest(replace(CREDENTIALS, number=4)) == credentials_digest(CREDENTIALS)
    assert credentials_digest(replace(CREDENTIALS, api_keys={})) != credentials_digest(CREDENTIALS)


BAD_CREDENTIALS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d.update(schema_version=2), "schema_version"),
    (lambda d: d.update(number=0), "number"),
    (lambda d: d.update(gateway="two gateways"), "gateway: 'two gateways' is not"),
    (lambda d: d.pop("gateway"), "gateway: missing"),
    (lambda d: d.update(certificate="no PEM"), "certificate: not PEM"),
    (lambda d: d.update(private_key=d["private_key"] + "; include /etc/shadow"), "private_key: not PEM"),
    (lambda d: d.update(client_ca=""), "client_ca"),
    (lambda d: d.update(api_keys={"ci": "short"}), "api_keys.ci"),
    (lambda d: d.update(api_keys={"ci": "k" * 32 + '" 1; }'}), "api_keys.ci"),
    (lambda d: d.update(api_keys={'x" y': "k" * 32}), r"api_keys\.\?"),
    (lambda d: d.update(api_keys=["k" * 32]), "object of texts"),
    (lambda d: d.update(extra=1), "unknown field 'extra'"),
    (lambda d: d.pop("client_ca"), "client_ca: missing"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_CREDENTIALS)
def test_bad_credentials_are_refused_with_the_reason_and_without_the_secret(
    change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(CredentialsError, match=reason) as caught:
        parse_credentials(altered(canonical_credentials(CREDENTIALS), change))
    assert "kkkk" not in str(caught.value)


def test_credentials_in_another_form_are_refused() -> None:
    loose = json.dumps(json.loads(canonical_credentials(CREDENTIALS)), sort_keys=True).encode()
    with pytest.raises(CredentialsError, match="canonical"):
        parse_credentials(loose)
