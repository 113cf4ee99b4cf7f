"""Settings about serving: certificates that fit and such that do not, secrets, and what is planned of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from components.plan import make_plan, warnings
from components.settings.errors import SettingsError
from components.settings.load import load
from components.settings.models import Settings
from overlay.checks import Problem
from overlay.serving import Check, Share, Target
from tests.components.configs import as_engine_gives, burst, changed, dev, static
from tests.components.gateways import ca_pem
from tests.components.leaves import DAY, Leaf, key_of, key_pem_of

SECRETS = {"privateKeys", "tlsCertificate", "apiKeys"}
API_KEY = "sk-0123456789abcdef0123456789abcdef"
NAME = "inference.example.com"


def settings_of(changes: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Settings:
    balancing = changed({**(config or static()), "loadBalancer": {"enabled": True}}, changes)
    return load(as_engine_gives(balancing), "hybrid-wireguard", "dev", SECRETS)


def given(certificate: str, key: str, *names: str) -> dict[str, Any]:
    """Changes that give a certificate and its key for ``names``."""
    pair = {"certificate": certificate, "privateKey": key}
    return {"loadBalancer/certificate": "given", "loadBalancer/serverNames": list(names), "tlsCertificate": pair}


def problem_of(changes: Mapping[str, Any]) -> Problem:
    """The one problem of settings with ``changes``; no secret may stand in it."""
    with pytest.raises(SettingsError) as refused:
        settings_of(changes)
    (problem,) = refused.value.problems
    assert "PRIVATE KEY" not in str(refused.value)
    assert API_KEY not in str(refused.value)
    return problem


@pytest.mark.parametrize("kind", ["P-256", "RSA-2048"])
@pytest.mark.parametrize("asked", [(NAME,), ("api.example.org", "*.example.org"), ()])
def test_a_certificate_that_fits_is_taken(kind: str, asked: tuple[str, ...]) -> None:
    leaf = Leaf((NAME, "*.example.org"), kind)
    settings = settings_of(given(leaf.certificate + ca_pem(), leaf.key, *asked))
    assert settings.tls_certificate is not None
    assert "PRIVATE KEY" not in repr(settings)


LEAF = Leaf()
EXPIRED, EARLY = Leaf(begins=-3 * DAY, ends=-2 * DAY), Leaf(begins=2 * DAY, ends=3 * DAY)
MISFITS = {
    "a key of another certificate": (LEAF.certificate, Leaf(kind="RSA-2048").key, "privateKey", "not the key of"),
    "an authority's certificate first": (ca_pem() + LEAF.certificate, LEAF.key, "privateKey", "not the key of"),
    "a chain of another authority": (LEAF.certificate + ca_pem("other"), LEAF.key, "certificate", "did not issue"),
    "expired": (EXPIRED.certificate, EXPIRED.key, "certificate", "expired on"),
    "not valid yet": (EARLY.certificate, EARLY.key, "certificate", "not valid before"),
    "no certificate": ("certificate", LEAF.key, "certificate", "no certificate that can be read"),
    "no key": (LEAF.certificate, "key", "privateKey", "no private key that can be read"),
    "an encrypted key": (LEAF.certificate, key_pem_of(key_of("P-256"), b"x"), "privateKey", "with a passphrase"),
    "a key that browsers do not take": (
        Leaf(kind="Ed25519").certificate,
        Leaf(kind="Ed25519").key,
        "privateKey",
        "RSA",
    ),
    "a short key": (Leaf(kind="RSA-1024").certificate, Leaf(kind="RSA-1024").key, "privateKey", "1024 bits"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_certificate_that_cannot_be_shown_is_refused(case: str) -> None:
    certificate, key, field, reason = MISFITS[case]
    found = [p for p in _problems(given(certificate, key, NAME)) if p.subject == f"tlsCertificate.{field}"]
    assert [reason in problem.reason for problem in found] == [True]
    assert all(problem.value == "[secret]" and problem.remedy for problem in found)


def _problems(changes: Mapping[str, Any]) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as refused:
        settings_of(changes)
    assert "-----" not in str(refused.value)
    return refused.value.problems


@pytest.mark.parametrize("name", ["other.example.com", "a.inference.example.com", "*.example.com"])
def test_a_name_that_the_certificate_is_not_for_is_refused(name: str) -> None:
    problem = problem_of(given(LEAF.certificate, LEAF.key, name))
    assert (problem.subject, problem.value) == ("loadBalancer.serverNames", name)
    assert NAME in problem.remedy


def test_a_wildcard_stands_for_one_label_alone() -> None:
    leaf = Leaf(("*.example.com",))
    settings_of(given(leaf.certificate, leaf.key, NAME))
    for name in ("a.b.example.com", "example.com"):
        assert problem_of(given(leaf.certificate, leaf.key, name)).value == name


def test_a_certificate_that_nothing_would_use_is_refused() -> None:
    changes = {**given(LEAF.certificate, LEAF.key, NAME), "loadBalancer/certificate": "stack"}
    problem = problem_of(changes)
    assert problem.subject == "tlsCertificate"
    assert "set loadBalancer.certificate to given" in problem.remedy


def test_half_a_certificate_is_refused() -> None:
    subjects = {p.subject for p in _problems({"loadBalancer/certificate": "given", "tlsCertificate": {"key": "x"}})}
    assert subjects == {"tlsCertificate.certificate", "tlsCertificate.privateKey", "tlsCertificate.key"}


@pytest.mark.parametrize("key", ["tlsCertificate", "apiKeys"])
def test_secrets_in_plain_text_are_refused(key: str) -> None:
    values = {"tlsCertificate": given(LEAF.certificate, LEAF.key)["tlsCertificate"], "apiKeys": {"portal": API_KEY}}
    config = as_engine_gives({**static(), key: values[key]})
    with pytest.raises(SettingsError) as refused:
        load(config, "hybrid-wireguard", "dev", SECRETS - {key})
    (problem,) = [problem for problem in refused.value.problems if problem.subject == key]
    assert "plain text" in problem.reason
    assert f"--secret --path {key}." in problem.remedy
    assert API_KEY not in str(refused.value)
    assert "-----" not in str(refused.value)


def test_a_key_in_the_place_of_its_name_is_not_shown() -> None:
    assert problem_of({"apiKeys": {API_KEY.upper(): "portal"}}).subject == "apiKeys"


def test_the_clients_authority_must_be_one() -> None:
    assert settings_of({"loadBalancer/clientCa": ca_pem() + ca_pem("other")}).load_balancer.client_ca == (
        ca_pem() + ca_pem("other")
    )
    for wrong in (LEAF.certificate, ca_pem() + LEAF.certificate):
        assert "is not an authority's certificate" in problem_of({"loadBalancer/clientCa": wrong}).reason
    assert "nothing else" in problem_of({"loadBalancer/clientCa": ca_pem() + LEAF.key}).reason


def test_machines_get_their_shares_by_their_clouds() -> None:
    balancer = make_plan(settings_of({}, burst())).load_balancer
    assert balancer is not None
    assert balancer.check == Check(2, 2, 3)
    base, others = Share(10, backup=False, max_conns=32), Share(5, backup=True, max_conns=0)
    assert balancer.nodes == {
        "aws-1": Target(8000, "/health", others),
        "gcp-1": Target(8000, "/health", others),
        "hetzner-1": Target(8000, "/health", base),
        "hetzner-2": Target(8000, "/health", base),
    }
    assert balancer.pools == {"aws-burst": others, "gcp-burst": others, "hetzner-base": base}


def test_settings_take_the_place_of_defaults() -> None:
    changes = {
        "loadBalancer/checkInterval": 7,
        "sites/hetzner/serving": {"port": 9000, "healthPath": "/ready", "maxConns": 0},
        "sites/aws/serving": {"backup": False},
        "spokes/hetzner-2/serves": False,
        "pools/aws-burst/weight": 900,
        "pools/hetzner-base/backup": True,
    }
    balancer = make_plan(settings_of(changes, burst())).load_balancer
    assert balancer is not None
    assert balancer.check.interval == 7
    assert set(balancer.nodes) == {"aws-1", "gcp-1", "hetzner-1"}
    assert balancer.nodes["hetzner-1"] == Target(9000, "/ready", Share(10, backup=False, max_conns=0))
    assert balancer.nodes["aws-1"].share == Share(5, backup=False, max_conns=0)
    assert balancer.pools["aws-burst"] == Share(900, backup=True, max_conns=0)
    assert balancer.pools["hetzner-base"] == Share(10, backup=True, max_conns=32)


def test_without_a_load_balancer_nothing_is_balanced_whatever_machines_serve() -> None:
    config = changed(static(), {"loadBalancer": {}, "sites/aws/serving": {"weight": 9}})
    assert make_plan(load(as_engine_gives(config), "hybrid-wireguard", "dev", ())).load_balancer is None


def test_a_load_balancer_without_machines_is_warned_of() -> None:
    idle = {f"spokes/{name}/serves": False for name in static()["spokes"]}
    (warning,) = [text for text in warnings(settings_of(idle)) if "503" in text]
    assert "no machine to send requests to" in warning
    off = load(as_engine_gives(changed(static(), {**idle, "loadBalancer": {}})), "hybrid-wireguard", "dev", ())
    for settings in (settings_of({}), settings_of(idle, dev()), off):
        assert not [text for text in warnings(settings) if "503" in text]


def test_machines_that_are_all_backups_are_fine() -> None:
    backups = {f"sites/{site}/serving": {"backup": True} for site in ("hetzner", "aws", "gcp")}
    settings = settings_of(backups)
    assert not [text for text in warnings(settings) if "503" in text]
