"""What the program registers with Cloudflare before the gateways, and what gateways are told of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.clouds.cloudflare import CloudflareEdge
from components.settings.errors import SettingsError
from components.settings.load import load
from components.settings.models import Settings
from tests.components.configs import as_engine_gives, changed, static
from tests.components.gateways import ca_pem
from tests.components.recorder import CERTIFICATE, GATEWAY_IP, ORIGIN_CERTIFICATE, Run, key_pem, register, run_program

ZONE, ACCOUNT = "0123456789abcdef" * 2, "fedcba9876543210" * 2
NAME = "llm.example.com"
RANGES = ["198.51.101.0/24", "203.0.114.0/24", "2001:db8:f::/48"]
BALANCER = {"enabled": True, "cloudflare": {"zoneId": ZONE, "hostname": NAME}}


def config_of(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The dev stack without pools behind Cloudflare, with ``changes``."""
    return changed({**static(), "loadBalancer": BALANCER}, changes or {})


def settings_of(changes: Mapping[str, Any] | None = None) -> Settings:
    return load(as_engine_gives(config_of(changes)), "hybrid-wireguard", "dev", ())


def made(run: Run) -> set[str]:
    """The kinds of what is registered with Cloudflare."""
    return {r.type.rpartition(":")[2] for r in run.resources if r.type.startswith("cloudflare:")}


@pytest.fixture(scope="module")
def program() -> Run:
    """One run; nothing changes it."""
    changes = {"loadBalancer/certificate": "cloudflare", "loadBalancer/serverNames": ["a.example.com"]}
    return run_program(config_of(changes))


def two_gateways(changes: Mapping[str, Any] | None = None) -> Run:
    """What is registered for two gateways, which no topology has yet."""
    settings = settings_of({"loadBalancer/cloudflare/accountId": ACCOUNT, **(changes or {})})
    wanted = settings.load_balancer.cloudflare
    assert wanted is not None

    def declare() -> None:
        CloudflareEdge("cloudflare", settings, wanted).send_to({"gw-b": "198.51.100.2", "gw-a": "198.51.100.1"})

    return register(declare)


def test_one_gateway_has_a_proxied_record(program: Run) -> None:
    assert program.named("cloudflare-record").inputs == {
        "zoneId": ZONE,
        "name": NAME,
        "type": "A",
        "content": GATEWAY_IP,
        "ttl": 1,
        "proxied": True,
    }
    assert made(program) == {"DnsRecord", "Healthcheck", "OriginCaCertificate"}


def test_one_gateway_is_asked_how_it_is(program: Run) -> None:
    check = program.named("cloudflare-healthcheck").inputs
    assert check["zoneId"] == ZONE
    assert check["address"] == GATEWAY_IP
    assert check["type"] == "HTTPS"
    assert check["httpConfig"] == {
        "method": "GET",
        "path": "/health",
        "port": 443,
        "expectedCodes": ["200"],
        "header": {"Host": [NAME]},
        "allowInsecure": True,
    }
    assert "Healthcheck" not in made(run_program(config_of({"loadBalancer/cloudflare/monitor": False})))


def test_only_the_published_ranges_reach_the_port_and_are_believed(program: Run) -> None:
    rules = program.named("hetzner-gw-firewall").inputs["rules"]
    assert [rule["sourceIps"] for rule in rules if rule["port"] == "443"] == [RANGES]
    assert program.named("roster").inputs["loadBalancer"]["trustedProxies"] == RANGES
    (without,) = [
        rule["sourceIps"]
        for rule in run_program(config_of({"loadBalancer/cloudflare": ...}))
        .named("hetzner-gw-firewall")
        .inputs["rules"]
        if rule["port"] == "443"
    ]
    assert without == ["0.0.0.0/0", "::/0"]


def test_the_origins_certificate_is_for_the_name_and_is_what_gateways_show(program: Run) -> None:
    request = program.named("cloudflare-request").inputs
    assert request["dnsNames"] == [NAME, "a.example.com"]
    certificate = program.named("cloudflare-certificate").inputs
    assert certificate == {
        "csr": "request",
        "hostnames": [NAME, "a.example.com"],
        "requestType": "origin-ecc",
        "requestedValidity": 5475,
    }
    pushed = program.named("hetzner-gw-credentials").inputs
    assert pushed["certificate"] == f"{ORIGIN_CERTIFICATE}\n"
    assert pushed["privateKey"] == key_pem("cloudflare-key", "ECDSA")[0]
    assert not [r.name for r in program.resources if r.name.startswith("hetzner-gw-serving")]


def test_with_the_stacks_own_certificate_the_name_is_in_it() -> None:
    run = run_program(config_of())
    assert run.named("hetzner-gw-serving-request").inputs["dnsNames"] == [NAME, "hetzner-gw"]
    assert run.named("hetzner-gw-credentials").inputs["certificate"] == CERTIFICATE
    assert "OriginCaCertificate" not in made(run)


def test_clients_are_sent_to_the_name_and_need_no_authority_of_the_stacks(program: Run) -> None:
    told = program.outputs["load_balancer"]
    assert told["url"] == f"https://{NAME}"
    assert told["server_names"] == [NAME, "a.example.com"]
    assert "ca" not in run_program(config_of()).outputs["load_balancer"]


def test_a_client_authority_has_the_zone_show_its_certificate() -> None:
    changes = {"loadBalancer/clientCa": ca_pem(), "loadBalancer/cloudflare/monitor": False}
    run = run_program(config_of(changes))
    assert run.named("cloudflare-origin-pulls").inputs == {
        "zoneId": ZONE,
        "settingId": "tls_client_auth",
        "value": "on",
    }
    assert run.named("hetzner-gw-credentials").inputs["clientCa"] == ca_pem()
    with pytest.raises(SettingsError, match="show no certificate"):
        settings_of({"loadBalancer/clientCa": ca_pem()})


def test_gateways_ask_for_a_certificate_only_once_cloudflare_shows_one() -> None:
    """What the push depends on is made before it; and Pulumi deletes what is gone after all updates."""
    changes = {"loadBalancer/clientCa": ca_pem(), "loadBalancer/cloudflare/monitor": False}

    def before_the_push(run: Run) -> set[str]:
        return {urn.rpartition("::")[2] for urn in run.named("hetzner-gw-credentials").request.dependencies}

    assert "cloudflare-origin-pulls" in before_the_push(run_program(config_of(changes)))
    assert "cloudflare-origin-pulls" not in before_the_push(run_program(config_of()))


def test_several_gateways_are_a_pool_that_is_monitored_and_balanced() -> None:
    run = two_gateways()
    assert made(run) == {"LoadBalancerMonitor", "LoadBalancerPool", "LoadBalancer"}
    monitor = run.named("cloudflare-monitor")
    assert monitor.inputs == {
        "accountId": ACCOUNT,
        "type": "https",
        "method": "GET",
        "path": "/health",
        "port": 443,
        "expectedCodes": "200",
        "header": {"Host": [NAME]},
        "allowInsecure": True,
        "description": "hybrid-wireguard-dev",
    }
    pool = run.named("cloudflare-pool")
    assert pool.inputs["accountId"] == ACCOUNT
    assert pool.inputs["monitor"] == monitor.id
    assert pool.inputs["origins"] == [
        {"name": "gw-a", "address": "198.51.100.1"},
        {"name": "gw-b", "address": "198.51.100.2"},
    ]
    balancer = run.named("cloudflare-balancer").inputs
    assert balancer["zoneId"] == ZONE
    assert balancer["name"] == NAME
    assert balancer["proxied"] is True
    assert balancer["defaultPools"] == [pool.id]
    assert balancer["fallbackPool"] == pool.id


def test_several_gateways_that_nobody_asks() -> None:
    run = two_gateways({"loadBalancer/cloudflare/monitor": False})
    assert made(run) == {"LoadBalancerPool", "LoadBalancer"}
    assert "monitor" not in run.named("cloudflare-pool").inputs


def test_a_certificate_that_clients_trust_is_looked_at_by_checks() -> None:
    settings = settings_of()
    given = replace(settings, load_balancer=settings.load_balancer.model_copy(update={"certificate": "given"}))
    wanted = given.load_balancer.cloudflare
    assert wanted is not None
    run = register(lambda: CloudflareEdge("cloudflare", given, wanted).send_to({"gw": "198.51.100.1"}))
    assert run.named("cloudflare-healthcheck").inputs["httpConfig"]["allowInsecure"] is False


def test_without_the_package_the_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pulumi_cloudflare", None)
    run = Run()
    with pytest.raises(pulumi.RunError, match="make cloudflare") as refused:
        run_program(config_of(), run=run)
    assert "hybrid-wireguard:loadBalancer.cloudflare = " in str(refused.value)
    assert "pulumi-cloudflare is not installed" in str(refused.value)
    assert not run.resources


def test_without_cloudflare_the_package_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pulumi_cloudflare", None)
    monkeypatch.delitem(sys.modules, "components.clouds.cloudflare")
    assert not made(run_program({**static(), "loadBalancer": {"enabled": True}}))
