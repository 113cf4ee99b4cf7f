"""Every bad setting is refused with the key, the value, the reason and the remedy, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.keys import public_key_of
from components.settings.errors import SettingsError
from components.settings.load import load
from tests.components.configs import AWS_POOL, KEY, as_engine_gives, changed, dev
from tests.components.gateways import ca_pem

REFUSALS = [Path(__file__).with_name(f"refusals{what}.yaml") for what in ("", "_serving", "_cloudflare", "_topologies")]
SECRETS = {"privateKeys", "tlsCertificate", "apiKeys"}
SPOKES_300 = {f"aws-{number}": {"site": "aws"} for number in range(1, 301)}
SPOKES_12 = {name: SPOKES_300[name] for name in list(SPOKES_300)[:12]}
LONG_NODE = f"aws-{'x' * 45}-2"
LONG_SITE = "x" * 40
MANY_V4 = [f"203.0.{number}.0/24" for number in range(51)]


@dataclass(frozen=True)
class Case:
    """What is changed in the dev stack's config, and what the refusal names: key, value, words of reason and remedy."""

    name: str
    changes: Mapping[str, Any]
    key: str
    value: str
    says: Sequence[str]


GENERATED = [
    Case(
        "300 spokes in a /24",
        {"spokes": SPOKES_300},
        "spokes.aws-300.address",
        "nothing",
        ["hosts 1 to 254", "widen"],
    ),
    Case(
        "VPC too small for its machines",
        {"sites/aws/vpcCidr": "172.28.0.0/28", "spokes": SPOKES_12, "pools": {}},
        "sites.aws.vpcCidr",
        "172.28.0.0/28",
        ["room for 11 machines", "has 12", "widen"],
    ),
    Case(
        "more admin CIDRs than firewalls take",
        {"adminCidrs": MANY_V4},
        "adminCidrs",
        "51 networks",
        ["at most 50", "join"],
    ),
    Case(
        "node name too long with its prefix",
        {f"spokes/{LONG_NODE}": {"site": "aws"}},
        f"spokes.{LONG_NODE}",
        "aws-xxx",
        ["72 characters", "shorter"],
    ),
    Case(
        "site name too long with its prefix",
        {f"sites/{LONG_SITE}": {"cloud": "hetzner", "subnet": "10.100.9.0/24"}},
        f"sites.{LONG_SITE}",
        "xxx",
        ["characters long", "shorter"],
    ),
    Case(
        "more server types than a group takes",
        {"pools": {"burst": {**AWS_POOL, "serverTypes": [f"m{number}.large" for number in range(41)]}}},
        "pools.burst.serverTypes",
        "41 types",
        ["at most 40", "fewer"],
    ),
    Case(
        "more labels than machines have",
        {"pools": {"burst": {**AWS_POOL, "labels": {f"label-{number}": "x" for number in range(33)}}}},
        "pools.burst.labels",
        "33 labels",
        ["at most 32", "fewer"],
    ),
    Case(
        "setup script too long",
        {"pools": {"burst": {**AWS_POOL, "userSetup": "x" * 9000, "drainHook": "true"}}},
        "pools.burst.userSetup",
        "9000 bytes",
        ["may have 16384", "download"],
    ),
    Case(
        "two scripts too long together",
        {"pools": {"burst": {**AWS_POOL, "userSetup": "x" * 4000, "drainHook": "y" * 5500}}},
        "pools.burst.drainHook",
        "5500 bytes",
        ["may have 16384", "shorten"],
    ),
    Case(
        "certificate with a key that AWS does not use",
        {"sites/aws/identityCertificates": [ca_pem()]},
        "sites.aws.identityCertificates[0]",
        "BEGIN CERTIFICATE",
        ["not an RSA key", "under RSA"],
    ),
    Case(
        "revoked key of a declared node",
        {"privateKeys": {"aws-1": KEY}, "revokedKeys": [public_key_of(KEY)]},
        "privateKeys.aws-1",
        "secret",
        ["among revokedKeys", "another key"],
    ),
    Case("prefix too long", {"prefix": "p" * 55}, "prefix", "ppp", ["66 characters", "shorter"]),
]


def written() -> list[Case]:
    """The cases of the written tables."""
    return [
        Case(
            case["name"],
            {path: ... if value == "REMOVED" else value for path, value in case["set"].items()},
            case["key"],
            case["value"],
            case["says"],
        )
        for table in REFUSALS
        for case in yaml.safe_load(table.read_text())["cases"]
    ]


CASES = [*written(), *GENERATED]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_setting_is_refused(case: Case) -> None:
    config = as_engine_gives(changed(dev(), case.changes))
    with pytest.raises(SettingsError) as refused:
        load(config, "hybrid-wireguard", "dev", SECRETS)
    named = [problem for problem in refused.value.problems if problem.subject == case.key]
    assert named, f"no problem names {case.key}: {refused.value}"
    problem = named[0]
    assert case.value in problem.value
    assert problem.reason
    assert problem.remedy
    for words in case.says:
        assert words in f"{problem.reason}; {problem.remedy}"
    assert f"hybrid-wireguard:{case.key} = " in str(refused.value)
    assert KEY not in str(refused.value)


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_problem_is_told_at_once() -> None:
    config = changed(dev(), {"adminCidr": [], "spokes/aws-1/adress": "x", "sites/gcp/zone": 5})
    with pytest.raises(SettingsError) as refused:
        load(as_engine_gives(config), "hybrid-wireguard", "dev", ())
    assert {problem.subject for problem in refused.value.problems} == {
        "adminCidr",
        "spokes.aws-1.adress",
        "sites.gcp.zone",
    }


def test_private_keys_in_plain_text_are_refused() -> None:
    config = as_engine_gives(changed(dev(), {"privateKeys": {"aws-1": KEY}}))
    with pytest.raises(SettingsError) as refused:
        load(config, "hybrid-wireguard", "dev", ())
    assert "pulumi config set --secret --path privateKeys.NODE" in str(refused.value)
    assert KEY not in str(refused.value)


def test_no_value_of_an_encrypted_setting_is_shown() -> None:
    config = as_engine_gives(changed(dev(), {"sshPublicKey": "hunter2", "adminCidrs": ["hunter3"]}))
    with pytest.raises(SettingsError) as refused:
        load(config, "hybrid-wireguard", "dev", {"sshPublicKey", "adminCidrs"})
    assert len(refused.value.problems) == 2
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("stack", ["Prod", "eu.west", "s" * 80])
def test_a_stack_whose_name_no_cloud_takes_asks_for_a_prefix(stack: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(as_engine_gives(dev()), "hybrid-wireguard", stack, ())
    assert {problem.subject for problem in refused.value.problems} == {"prefix"}
    assert "hybrid-wireguard:prefix" in str(refused.value)
    named = load(as_engine_gives(changed(dev(), {"prefix": "hw"})), "hybrid-wireguard", stack, ())
    assert named.prefix == "hw"
