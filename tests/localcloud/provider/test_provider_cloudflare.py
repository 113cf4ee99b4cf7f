"""Cloudflare in the local cloud: what it makes, refuses and replaces."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from localcloud.cloud import EDGE_ADDRESS
from localcloud.fabric.plan import PLACES
from localcloud.provider import server
from localcloud.provider.clouds.cloudflare.common import (
    DNS_RECORD,
    HEALTHCHECK,
    LOAD_BALANCER,
    MONITOR,
    ORIGIN_CERTIFICATE,
    POOL,
    ZONE_SETTING,
)
from localcloud.provider.clouds.cloudflare.origin import authority_certificate
from localcloud.wire import UNKNOWN, Value
from tests.localcloud.provider.harness import Harness, RefusedError, Resource
from tests.localcloud.provider.scenery import CERT_REQUEST, PRIVATE_KEY

ZONE, OTHER_ZONE, ACCOUNT = "0123456789abcdef" * 2, "f" * 32, "a" * 32
RANGES = "cloudflare:index/getIpRanges:getIpRanges"
NAME = "llm.example.com"


@dataclass(frozen=True)
class Scene:
    clouds: Harness
    request: str
    made: dict[str, Resource]

    @property
    def good(self) -> dict[str, dict[str, Value]]:
        """Inputs that pass; a case changes one thing in them."""
        return {
            DNS_RECORD: {
                "zoneId": ZONE, "name": "other.example.com", "type": "A", "content": "198.18.1.1", "ttl": 1,
                "proxied": True,
            },
            ORIGIN_CERTIFICATE: {"csr": self.request, "hostnames": [NAME], "requestType": "origin-ecc"},
            HEALTHCHECK: {
                "zoneId": ZONE, "name": "dev-gw", "address": "198.18.1.1", "type": "HTTPS",
                "httpConfig": {"path": "/health", "port": 443, "method": "GET"},
            },
            MONITOR: {"accountId": ACCOUNT, "type": "https", "path": "/health", "port": 443},
            POOL: {
                "accountId": ACCOUNT, "name": "dev", "origins": [{"name": "gw", "address": "198.18.1.1"}],
                "monitor": self.made["monitor"].id,
            },
            LOAD_BALANCER: {
                "zoneId": OTHER_ZONE, "name": NAME, "defaultPools": [self.made["pool"].id],
                "fallbackPool": self.made["pool"].id, "proxied": True,
            },
            ZONE_SETTING: {"zoneId": ZONE, "settingId": "websockets", "value": "on"},
        }  # fmt: skip


def _scene(directory: Path) -> Scene:
    clouds = Harness(directory)
    key = clouds.make(PRIVATE_KEY, algorithm="ECDSA", ecdsaCurve="P256")
    asked = clouds.make(CERT_REQUEST, privateKeyPem=key.outputs["privateKeyPem"], dnsNames=["not.asked.example"])
    scene = Scene(clouds, asked.text("certRequestPem"), {"key": key})
    made = scene.made
    made["monitor"] = clouds.make(MONITOR, accountId=ACCOUNT, type="https", path="/health", port=443)
    origins: list[Value] = [{"name": "gw", "address": "198.18.1.1", "weight": 1}]
    made["pool"] = clouds.make(POOL, accountId=ACCOUNT, name="taken", origins=origins, monitor=made["monitor"].id)
    balanced: dict[str, Value] = {"defaultPools": [made["pool"].id], "fallbackPool": made["pool"].id}
    made["balancer"] = clouds.make(LOAD_BALANCER, zoneId=ZONE, name=NAME, proxied=True, **balanced)
    made["record"] = clouds.make(
        DNS_RECORD, zoneId=ZONE, name=NAME, type="A", content="198.18.1.1", ttl=1, proxied=True
    )
    made["alias"] = clouds.make(DNS_RECORD, zoneId=ZONE, name=f"www.{NAME}", type="CNAME", content=NAME, ttl=1)
    made["certificate"] = clouds.make(
        ORIGIN_CERTIFICATE, csr=scene.request, hostnames=[NAME], requestType="origin-ecc", requestedValidity=90
    )
    made["check"] = clouds.make(HEALTHCHECK, **scene.good[HEALTHCHECK])
    made["setting"] = clouds.make(ZONE_SETTING, zoneId=ZONE, settingId="tls_client_auth", value="on")
    return scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    scene = _scene(tmp_path_factory.mktemp("cloudflare"))
    yield scene
    scene.clouds.close()


CASES: list[tuple[str, Mapping[str, Value], str, str]] = [
    (DNS_RECORD, {"zoneId": "example.com"}, "zoneId", "Could not route to /zones/example.com"),
    (DNS_RECORD, {"zoneId": None}, "zoneId", "Missing required argument"),
    (DNS_RECORD, {"ttl": None}, "ttl", "Missing required argument"),
    (DNS_RECORD, {"value": "198.18.1.1"}, "value", "Invalid or unknown key"),
    (DNS_RECORD, {"type": "B"}, "type", "value must be one of"),
    (DNS_RECORD, {"content": "198.18.1.256"}, "content", "must be a valid IPv4 address (9005)"),
    (DNS_RECORD, {"content": "2001:db8::1"}, "content", "must be a valid IPv4 address (9005)"),
    (DNS_RECORD, {"type": "AAAA"}, "content", "must be a valid IPv6 address (9006)"),
    (DNS_RECORD, {"ttl": 59, "proxied": None}, "ttl", "60 to 86400 seconds, or 1 for automatic (9021)"),
    (DNS_RECORD, {"ttl": 300}, "ttl", "must be set to 1 when `proxied` is true"),
    (DNS_RECORD, {"type": "TXT"}, "proxied", "cannot be proxied (9004)"),
    (DNS_RECORD, {"name": NAME}, "name", "An identical record already exists (81058)"),
    (DNS_RECORD, {"name": f"www.{NAME}"}, "name", "A CNAME record with that host already exists (81054)"),
    (DNS_RECORD, {"name": NAME, "type": "CNAME", "content": "x.example.com"}, "name", "(81053)"),
    (ORIGIN_CERTIFICATE, {"csr": "nothing"}, "csr", "holds no certificate request"),
    (ORIGIN_CERTIFICATE, {"hostnames": []}, "hostnames", "at least one"),
    (ORIGIN_CERTIFICATE, {"hostnames": ["*.*.example.com"]}, "hostnames[0]", "not a fully qualified name"),
    (ORIGIN_CERTIFICATE, {"hostnames": ["example"]}, "hostnames[0]", "not a fully qualified name"),
    (ORIGIN_CERTIFICATE, {"requestType": "ecdsa"}, "requestType", '"origin-ecc"'),
    (ORIGIN_CERTIFICATE, {"requestedValidity": 397}, "requestedValidity", "got: 397"),
    (HEALTHCHECK, {"name": "dev gw"}, "name", "letters, digits, hyphens and underscores"),
    (HEALTHCHECK, {"address": "198.18.1.1:443"}, "address", "neither a hostname nor an IP address"),
    (HEALTHCHECK, {"type": "SMTP"}, "type", '"HTTPS"'),
    (HEALTHCHECK, {"checkRegions": ["EU"]}, "checkRegions[0]", '"WEU"'),
    (HEALTHCHECK, {"httpConfig": {"method": "POST"}}, "httpConfig.method", '"HEAD"'),
    (HEALTHCHECK, {"httpConfig": {"expectedCodes": "200"}}, "httpConfig.expectedCodes", "expected list type"),
    (MONITOR, {"accountId": "mine"}, "accountId", "Could not route to /accounts/mine"),
    (MONITOR, {"type": "ftp"}, "type", '"https"'),
    (MONITOR, {"path": "health"}, "path", "must begin with /"),
    (MONITOR, {"port": 65536}, "port", "0 to 65535"),
    (POOL, {"name": "a pool"}, "name", "letters, digits, hyphens and underscores"),
    (POOL, {"origins": []}, "origins", "at least one origin"),
    (POOL, {"origins": [{"address": "10.0.0"}]}, "origins[0].address", "neither a hostname nor an IP address"),
    (POOL, {"origins": [{"address": "10.0.0.1", "weight": 2}]}, "origins[0].weight", "between 0 and 1"),
    (POOL, {"originSteering": {"policy": "nearest"}}, "originSteering.policy", '"random"'),
    (LOAD_BALANCER, {"name": "llm"}, "name", "not a fully qualified name"),
    (LOAD_BALANCER, {"zoneId": ZONE}, "name", "already exists in the zone"),
    (LOAD_BALANCER, {"defaultPools": []}, "defaultPools", "at least one pool"),
    (LOAD_BALANCER, {"steeringPolicy": "fastest"}, "steeringPolicy", '"dynamic_latency"'),
    (LOAD_BALANCER, {"sessionAffinity": "ip"}, "sessionAffinity", '"ip_cookie"'),
    (LOAD_BALANCER, {"ttl": 60}, "ttl", "not proxied"),
    (ZONE_SETTING, {"settingId": "tls_client_auht"}, "settingId", "does not know the setting"),
    (ZONE_SETTING, {"value": "yes"}, "value", '"off"'),
]


@pytest.mark.parametrize(("token", "change", "path", "reason"), CASES)
def test_it_is_refused(scene: Scene, token: str, change: Mapping[str, Value], path: str, reason: str) -> None:
    inputs = {name: value for name, value in {**scene.good[token], **change}.items() if value is not None}
    with pytest.raises(RefusedError) as refused:
        scene.clouds.check(token, inputs, "unlike")
    assert any(at == path and reason in why for at, why in refused.value.failures), refused.value.failures


def test_what_the_cases_start_from_passes_known_or_not(scene: Scene) -> None:
    for token, inputs in scene.good.items():
        scene.clouds.check(token, inputs, "unlike")
        scene.clouds.check(token, dict.fromkeys(inputs, UNKNOWN), "unlike")


def test_a_name_may_have_an_address_more_and_the_same_one_in_another_zone(scene: Scene) -> None:
    good = scene.good[DNS_RECORD]
    scene.clouds.check(DNS_RECORD, {**good, "name": NAME, "content": "198.18.1.2"}, "second")
    scene.clouds.check(DNS_RECORD, {**good, "name": NAME, "zoneId": OTHER_ZONE}, "elsewhere")


@pytest.mark.parametrize(
    ("name", "change", "kinds"),
    [
        ("record", {"content": "198.18.1.9"}, {"content": "UPDATE"}),
        ("record", {"proxied": False}, {"proxied": "UPDATE"}),
        ("record", {"zoneId": OTHER_ZONE}, {"zoneId": "UPDATE_REPLACE"}),
        ("certificate", {"hostnames": [NAME, "b.example.com"]}, {"hostnames[1]": "ADD_REPLACE"}),
        ("certificate", {"requestedValidity": 365}, {"requestedValidity": "UPDATE_REPLACE"}),
        ("certificate", {"requestedValidity": None}, {"requestedValidity": "DELETE"}),
        ("certificate", {"requestType": "origin-rsa"}, {"requestType": "UPDATE_REPLACE"}),
        ("monitor", {"interval": 30}, {"interval": "ADD"}),
        ("monitor", {"accountId": "b" * 32}, {"accountId": "UPDATE_REPLACE"}),
        ("pool", {"origins": [{"name": "gw", "address": "198.18.1.2", "weight": 1}]}, {"origins[0].address": "UPDATE"}),
        ("pool", {"accountId": "b" * 32}, {"accountId": "UPDATE_REPLACE"}),
        ("balancer", {"steeringPolicy": "random"}, {"steeringPolicy": "ADD"}),
        ("balancer", {"zoneId": "c" * 32}, {"zoneId": "UPDATE_REPLACE"}),
        ("check", {"address": "198.18.1.2"}, {"address": "UPDATE"}),
        ("check", {"zoneId": OTHER_ZONE}, {"zoneId": "UPDATE_REPLACE"}),
        ("setting", {"value": "off"}, {"value": "UPDATE"}),
        ("setting", {"settingId": "websockets"}, {"settingId": "UPDATE_REPLACE"}),
    ],
)
def test_a_change_replaces_what_it_replaces_there(
    scene: Scene, name: str, change: Mapping[str, Value], kinds: dict[str, str]
) -> None:
    assert scene.clouds.diff(scene.made[name], change).kinds == kinds


def test_an_origin_certificate_is_of_the_authority_for_the_requests_key_and_the_names_asked_for(scene: Scene) -> None:
    made = scene.made["certificate"]
    certificate = x509.load_pem_x509_certificate(made.text("certificate").encode())
    authority = x509.load_pem_x509_certificate((authority_certificate(scene.clouds.ledger.world) or "").encode())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert pem == scene.made["key"].text("publicKeyPem")
    lasts = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=89) < lasts <= dt.timedelta(days=90)
    assert dt.datetime.fromisoformat(made.text("expiresOn")) == certificate.not_valid_after_utc


def test_reading_tells_what_making_told(scene: Scene) -> None:
    for name, resource in scene.made.items():
        if name != "key":
            assert scene.clouds.read(resource) == (resource.id, resource.outputs, resource.inputs), name


def test_what_is_in_use_stays_and_the_rest_goes(tmp_path: Path) -> None:
    scene = _scene(tmp_path)
    try:
        for name, user in (("monitor", "pool"), ("pool", "balancer")):
            with pytest.raises(RefusedError, match=f"in use by {scene.made[user].id}"):
                scene.clouds.delete(scene.made[name])
        for name in ("balancer", "pool", "monitor", "record", "alias", "certificate", "check", "setting"):
            scene.clouds.delete(scene.made[name])
            assert scene.clouds.read(scene.made[name])[0] == ""
        with pytest.raises(RefusedError, match=r"monitor .* not found"):
            scene.clouds.make(POOL, **scene.good[POOL])
        with pytest.raises(RefusedError, match=r"pool .* not found"):
            scene.clouds.make(LOAD_BALANCER, **scene.good[LOAD_BALANCER])
    finally:
        scene.clouds.close()


def test_the_published_ranges_hold_the_edge_and_nobody_else(scene: Scene) -> None:
    answer = scene.clouds.invoke(RANGES)
    four, six = answer["ipv4Cidrs"], answer["ipv6Cidrs"]
    assert isinstance(four, list)
    assert isinstance(six, list)
    networks = [*map(ipaddress.IPv4Network, map(str, four)), *map(ipaddress.IPv6Network, map(str, six))]
    assert len(four) > 1
    assert len(six) > 1
    assert any(ipaddress.ip_address(EDGE_ADDRESS) in network for network in networks)
    others = [ipaddress.ip_address(address) for address in PLACES.values() if address != EDGE_ADDRESS]
    assert not any(other in network for other in others for network in networks)
    apart = [(a, b) for a in networks for b in networks if a is not b and a.version == b.version and a.overlaps(b)]
    assert not apart
    with pytest.raises(RefusedError, match="jdcloud"):
        scene.clouds.invoke(RANGES, networks="jdcloud")


def test_without_the_sdk_the_others_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        assert name == "pulumi_cloudflare"

    monkeypatch.setattr(server, "find_spec", nothing)
    clouds = Harness(tmp_path)
    try:
        assert set(clouds.ports) == {"hcloud", "aws", "gcp", "tls"}
        assert clouds.make(PRIVATE_KEY, algorithm="ED25519").id
    finally:
        clouds.close()


def test_an_unknown_kind_is_told(scene: Scene) -> None:
    with pytest.raises(grpc.RpcError, match="does not know the resource type cloudflare:index/zone:Zone"):
        scene.clouds.check("cloudflare:index/zone:Zone", {})
