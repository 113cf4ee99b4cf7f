"""What the program registers for gateways that answer requests, and the push of what they answer them with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime import rpc

from components.certificates import RENEWAL_HOURS, TEN_YEARS
from components.control import Held, PushError
from components.push import CredentialsProvider
from overlay.serving import Credentials as Document
from overlay.serving import canonical_credentials, credentials_digest, parse_credentials
from tests.components.configs import changed, static
from tests.components.gateways import SIGNING_KEY, Gateway, Time, ca_pem, serving
from tests.components.leaves import Leaf
from tests.components.recorder import CERTIFICATE, GATEWAY_IP, Run, is_secret, key_pem, masked, run_program

SECRETS = ("privateKeys", "tlsCertificate", "apiKeys")
API_KEYS = {"portal": "sk-0123456789abcdef0123456789abcdef"}
LEAF = Leaf(("inference.example.com",))
PAIR = {"certificate": LEAF.certificate + ca_pem(), "privateKey": LEAF.key.replace("\n", "\r\n")}
SERVING_KEY = key_pem("hetzner-gw-serving-key", "ECDSA")[0]


def run_of(changes: Mapping[str, Any] | None = None) -> Run:
    """The dev stack without pools, balancing, with ``changes``."""
    config = changed({**static(), "loadBalancer": {"enabled": True}}, changes or {})
    return run_program(config, secret_keys=tuple(key for key in SECRETS if key in config))


@pytest.fixture(scope="module")
def program() -> Run:
    """One run; nothing changes it."""
    return run_of({"loadBalancer/serverNames": ["*.example.org", "inference.example.com"]})


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with serving(Gateway(release={"number": 1, "sha256": "a"}), tmp_path) as found:
        yield found


@pytest.fixture
def time() -> Time:
    return Time()


def inputs_of(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    return {
        "certificate": LEAF.certificate,
        "privateKey": LEAF.key,
        "apiKeys": API_KEYS,
        "gateways": {"gw": {"url": gateway.url, "serverId": "7"}},
        "ca": ca_pem(),
        "signingKey": SIGNING_KEY,
        "__provider": "pickled",
        **changes,
    }


def test_the_certificate_is_for_every_name_and_address_that_clients_use(program: Run) -> None:
    request = program.named("hetzner-gw-serving-request").inputs
    assert request["dnsNames"] == ["*.example.org", "inference.example.com", "hetzner-gw"]
    assert request["ipAddresses"] == [GATEWAY_IP, "10.100.0.1"]
    certificate = program.named("hetzner-gw-serving-certificate").inputs
    assert certificate["allowedUses"] == ["digital_signature", "server_auth"]
    assert certificate["validityPeriodHours"] < 398 * 24, "longer, and browsers refuse it of public authorities"
    assert certificate["earlyRenewalHours"] == 90 * 24
    assert certificate["caCertPem"] == CERTIFICATE


def test_the_control_planes_certificate_holds_for_ten_years_and_is_pushed(program: Run) -> None:
    certificate = program.named("hetzner-gw-certificate").inputs
    assert (certificate["validityPeriodHours"], certificate["earlyRenewalHours"]) == (TEN_YEARS, RENEWAL_HOURS)
    pushed = program.named("hetzner-gw-control")
    assert pushed.inputs["certificate"] == CERTIFICATE
    assert any(urn.endswith("::release") for urn in pushed.request.dependencies)
    assert any(urn.endswith("::hetzner-gw-control") for urn in program.named("roster").request.dependencies)
    assert program.named("hetzner-gw-request").inputs["dnsNames"] == ["hetzner-gw"]


def test_a_gateways_own_name_among_the_server_names_is_there_once() -> None:
    run = run_of({"loadBalancer/serverNames": ["hetzner-gw"]})
    assert run.named("hetzner-gw-serving-request").inputs["dnsNames"] == ["hetzner-gw"]


def test_credentials_are_pushed_after_the_release(program: Run) -> None:
    credentials = program.named("hetzner-gw-credentials")
    assert any(urn.endswith("::release") for urn in credentials.request.dependencies)
    server = program.named("hetzner-gw-server")
    assert credentials.inputs["gateways"] == {
        "hetzner-gw": {"url": f"https://{GATEWAY_IP}:8443", "serverId": server.id}
    }
    assert credentials.inputs["certificate"] == CERTIFICATE
    assert credentials.inputs["privateKey"] == SERVING_KEY


def test_only_what_must_be_is_secret(program: Run) -> None:
    raw = program.named("hetzner-gw-credentials").raw
    secrets = {key for key, value in raw.items() if is_secret(value)}
    assert secrets == {"privateKey", "apiKeys", "signingKey", "__provider"}


def test_no_secret_of_serving_stands_in_a_plain_input_or_output() -> None:
    changes = {"loadBalancer/certificate": "given", "tlsCertificate": PAIR, "apiKeys": API_KEYS}
    for run in (run_of(changes), run_of({"apiKeys": API_KEYS})):
        shown = json.dumps([masked(r.raw) for r in run.resources] + [masked(run.outputs)])
        assert "PRIVATE KEY" not in shown
        assert API_KEYS["portal"] not in shown
        assert run.named("hetzner-gw-credentials").inputs["apiKeys"] == API_KEYS


def test_a_given_certificate_is_written_as_gateways_take_it() -> None:
    run = run_of(
        {
            "loadBalancer/certificate": "given",
            "loadBalancer/clientCa": ca_pem(),
            "tlsCertificate": {**PAIR, "certificate": f"# of the authority\n{PAIR['certificate'].rstrip()}"},
        }
    )
    inputs = run.named("hetzner-gw-credentials").inputs
    assert not [resource for resource in run.resources if "serving" in resource.name]
    document = Document(
        1, "hetzner-gw", inputs["certificate"], inputs["privateKey"], inputs["clientCa"], inputs["apiKeys"]
    )
    assert parse_credentials(canonical_credentials(document)) == document
    assert document.certificate == LEAF.certificate + ca_pem()
    assert document.client_ca == ca_pem()


def test_without_a_load_balancer_there_is_nothing_of_it() -> None:
    run = run_program(changed(static(), {"loadBalancer": {}}))
    assert not [r for r in run.resources if "serving" in r.name or "credentials" in r.name]
    assert "loadBalancer" not in run.named("roster").inputs
    ports = [rule["port"] for rule in run.named("hetzner-gw-firewall").inputs["rules"]]
    assert "443" not in ports


@pytest.mark.parametrize("sources", [["0.0.0.0/0", "::/0"], ["203.0.113.0/24", "2001:db8::/32"]])
def test_the_gateways_firewall_lets_requests_in_from_whom_the_settings_say(sources: list[str]) -> None:
    rules = run_of({"loadBalancer/sources": sources}).named("hetzner-gw-firewall").inputs["rules"]
    (rule,) = [rule for rule in rules if rule["port"] == "443"]
    assert (rule["direction"], rule["protocol"], rule["sourceIps"]) == ("in", "tcp", sources)


def test_spokes_let_no_requests_in_but_from_the_overlay(program: Run) -> None:
    rules = program.named("hetzner-firewall").inputs["rules"]
    assert [rule for rule in rules if rule.get("port") == "443"] == []


def test_turning_it_on_changes_no_machine() -> None:
    before = {r.name: r.inputs for r in run_program(changed(static(), {"loadBalancer": {}})).resources}
    after = {r.name: r.inputs for r in run_of().resources}
    assert {name for name, inputs in before.items() if after[name] != inputs} == {"hetzner-gw-firewall", "roster"}
    assert set(after) - set(before) == {
        "hetzner-gw-credentials",
        "hetzner-gw-serving-key",
        "hetzner-gw-serving-request",
        "hetzner-gw-serving-certificate",
    }


def test_another_share_is_a_change_of_its_machines_alone() -> None:
    before = run_of().named("roster").inputs["loadBalancer"]["nodes"]
    after = run_of({"sites/aws/serving": {"weight": 7}}).named("roster").inputs["loadBalancer"]["nodes"]
    assert {name for name in before if before[name] != after[name]} == {"aws-1"}
    assert {key for key in after["aws-1"] if before["aws-1"][key] != after["aws-1"][key]} == {"weight"}


def test_credentials_are_pushed_and_numbered(gateway: Gateway, time: Time) -> None:
    state = CredentialsProvider().push(inputs_of(gateway, clientCa=ca_pem()), None, time.patience())
    assert state["number"] == 1
    assert gateway.credentials is not None
    assert gateway.credentials["content"] == state["digest"]
    assert state["privateKey"] == LEAF.key, "the engine keeps it secret only under the input's own name"
    expected = Document(1, "gw", LEAF.certificate, LEAF.key, ca_pem(), API_KEYS)
    assert state["digest"] == credentials_digest(expected)


def test_a_renewed_certificate_has_the_next_number(gateway: Gateway, time: Time) -> None:
    provider = CredentialsProvider()
    first = provider.push(inputs_of(gateway), None, time.patience())
    renewed = inputs_of(gateway, certificate=Leaf().certificate)
    assert provider.diff("credentials", {**inputs_of(gateway), **first}, renewed).changes
    provider.push(renewed, Held(first["number"], first["digest"]), time.patience())
    assert gateway.puts == [("credentials", 1), ("credentials", 2)]


def test_unchanged_credentials_are_no_change_and_keep_their_number(gateway: Gateway, time: Time) -> None:
    provider = CredentialsProvider()
    first = provider.push(inputs_of(gateway), None, time.patience())
    assert not provider.diff("credentials", {**inputs_of(gateway), **first}, inputs_of(gateway)).changes
    provider.push(inputs_of(gateway), Held(first["number"], first["digest"]), time.patience())
    assert gateway.puts == [("credentials", 1), ("credentials", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"apiKeys": {}},
        {"clientCa": ca_pem()},
        {"certificate": rpc.UNKNOWN, "privateKey": rpc.UNKNOWN},
        {"gateways": {"gw": {"url": "https://127.0.0.1:1", "serverId": "8"}}},
    ],
)
def test_what_changed_or_is_not_known_yet_is_an_update(gateway: Gateway, change: dict[str, Any]) -> None:
    inputs = inputs_of(gateway)
    digest = credentials_digest(Document(1, "gw", LEAF.certificate, LEAF.key, None, API_KEYS))
    result = CredentialsProvider().diff("credentials", {**inputs, "number": 3, "digest": digest}, {**inputs, **change})
    assert result.changes
    assert not result.replaces


def test_a_gateway_that_never_heard_of_credentials_reports_none(gateway: Gateway, time: Time) -> None:
    gateway.knows_credentials = False
    assert CredentialsProvider().push(inputs_of(gateway), Held(4, "other"), time.patience())["number"] == 5


def test_a_refusal_shows_no_secret(gateway: Gateway, time: Time) -> None:
    foreign = key_pem("foreign", "ED25519")[0]
    with pytest.raises(PushError, match=r"gw refused /v1/credentials: the signature.*raise its revision") as refused:
        CredentialsProvider().push(inputs_of(gateway, signingKey=foreign), None, time.patience())
    assert "PRIVATE" not in str(refused.value)
    assert API_KEYS["portal"] not in str(refused.value)


def test_a_refresh_shows_a_gateway_that_lost_them(gateway: Gateway, time: Time) -> None:
    provider = CredentialsProvider()
    state = {**inputs_of(gateway), **provider.push(inputs_of(gateway), None, time.patience())}
    same = provider.read("credentials", state).outs
    assert same is not None
    assert not provider.diff("credentials", same, inputs_of(gateway)).changes
    gateway.credentials = None
    found = provider.read("credentials", state).outs
    assert found is not None
    assert provider.diff("credentials", found, inputs_of(gateway)).changes
