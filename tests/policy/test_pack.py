"""The pack as engines run it: a process that speaks the analyzer protocol."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

from policy.pack import RULES, STACK_RULES
from tests.components.configs import ROOT, as_engine_gives, changed, dev
from tests.policy.findings import FIREWALL, LABELS, SERVER
from tests.policy.openings import hetzner

PEM = "-----BEGIN PRIVATE KEY-----"
NAMES = [rule.name for rule in (*RULES, *STACK_RULES)]


def secret(value: Any) -> dict[str, Any]:
    return {SPECIAL_SIG_KEY: SPECIAL_SECRET_SIG, "value": value}


class Analyzer:
    """The pack, asked as engines ask it."""

    def __init__(self, port: int) -> None:
        self._stub: Any = analyzer_pb2_grpc.AnalyzerStub(grpc.insecure_channel(f"127.0.0.1:{port}"))

    @property
    def info(self) -> Any:
        return self._stub.GetAnalyzerInfo(empty_pb2.Empty(), wait_for_ready=True)

    def configure(self, levels: Mapping[str, str]) -> None:
        config = {name: {"enforcementLevel": level} for name, level in levels.items()}
        self._stub.Configure(json_format.ParseDict({"policyConfig": config}, analyzer_pb2.ConfigureAnalyzerRequest()))

    def found(self, kind: str, inputs: Mapping[str, Any], *, protect: bool = False) -> list[Any]:
        request = {"urn": f"urn:{kind}::it", "type": kind, "name": "it", "options": {"protect": protect}}
        document = {**request, "properties": {"labels": LABELS, **inputs}}
        message = json_format.ParseDict(document, analyzer_pb2.AnalyzeRequest())
        return list(self._stub.Analyze(message, wait_for_ready=True).diagnostics)

    def found_in_stack(self, resources: Mapping[str, Mapping[str, Any]]) -> list[Any]:
        shown = [
            {"urn": f"urn:{kind}::it", "type": kind, "name": "it", "properties": outputs}
            for kind, outputs in resources.items()
        ]
        message = json_format.ParseDict({"resources": shown}, analyzer_pb2.AnalyzeStackRequest())
        return list(self._stub.AnalyzeStack(message).diagnostics)


@contextmanager
def running(config: Mapping[str, Any]) -> Generator[Analyzer]:
    """The pack started as `pulumi-language-python` starts it: in its own directory, told nothing of the project's."""
    folder = ROOT / "policy"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI", "PYTHONPATH"))}
    told = {f"hybrid-wireguard:{key}": value for key, value in as_engine_gives(config).items()}
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(folder)],
        cwd=folder,
        env={
            **environment,
            "PULUMI_CONFIG": json.dumps(told),
            "PULUMI_PROJECT": "hybrid-wireguard",
            "PULUMI_STACK": "dev",
            "PULUMI_DRY_RUN": "true",
        },
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield Analyzer(int(process.stdout.readline()))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def pack() -> Iterator[Analyzer]:
    with running(changed(dev(), {"production": True, "monthlyBudget": 100})) as analyzer:
        yield analyzer


def test_the_pack_has_its_policies_all_mandatory_and_the_guide_explains_each(pack: Analyzer) -> None:
    info = pack.info
    assert info.name == "hybrid-wireguard"
    assert [one.name for one in info.policies] == NAMES
    assert {one.enforcementLevel for one in info.policies} == {analyzer_pb2.MANDATORY}
    guide = (ROOT / "docs" / "policies.md").read_text()
    explained = re.findall(r"^### ([a-z0-9-]+)$", guide, re.MULTILINE)
    assert sorted(explained) == sorted(NAMES)
    assert sorted(re.findall(r"^\| \[([a-z0-9-]+)\]\(#\1\) \|", guide, re.MULTILINE)) == sorted(NAMES)
    assert len(NAMES) == 12


def test_a_violation_says_what_why_and_what_to_do(pack: Analyzer) -> None:
    (one,) = pack.found(FIREWALL, hetzner("tcp", "22", "0.0.0.0/0"))
    assert (one.policyName, one.enforcementLevel) == ("ssh-open-to-world", analyzer_pb2.MANDATORY)
    for part in ("it lets SSH", "0.0.0.0/0", "hybrid-wireguard:adminCidrs", "docs/policies.md#ssh-open-to-world"):
        assert part in one.message, part


def test_the_pack_knows_the_stacks_settings(pack: Analyzer) -> None:
    assert not pack.found(FIREWALL, hetzner("tcp", "443", "0.0.0.0/0"))
    assert [one.policyName for one in pack.found(FIREWALL, hetzner("tcp", "444", "0.0.0.0/0"))] == ["undeclared-port"]


def test_secrets_are_told_from_plain_texts(pack: Analyzer) -> None:
    plain = [
        {"userData": f"#!/bin/sh\n{PEM}\n"},
        {"userData": PEM, "name": secret("gateway")},
    ]
    marked = [{"userData": secret(PEM)}, {"userData": secret(UNKNOWN_STRING_VALUE)}]
    for inputs in plain:
        assert [one.policyName for one in pack.found(SERVER, inputs)] == ["plain-secret-in-user-data"]
        assert PEM not in pack.found(SERVER, inputs)[0].message
    for inputs in marked:
        assert not pack.found(SERVER, inputs)


def test_secrets_are_looked_into_by_the_others(pack: Analyzer) -> None:
    (one,) = pack.found(SERVER, {"userData": secret("[Interface]\nListenPort = 51822\n")})
    assert one.policyName == "wireguard-port"
    rules = secret(hetzner("tcp", "22", "0.0.0.0/0")["rules"])
    assert [one.policyName for one in pack.found(FIREWALL, {"rules": rules})] == ["ssh-open-to-world"]


def test_what_is_unknown_in_a_preview_is_no_violation_and_no_complaint(pack: Analyzer) -> None:
    for inputs in (
        {"userData": UNKNOWN_STRING_VALUE, "serverType": UNKNOWN_STRING_VALUE},
        {"labels": UNKNOWN_STRING_VALUE},
    ):
        assert not pack.found(SERVER, inputs)
    assert not pack.found(FIREWALL, {"rules": [UNKNOWN_STRING_VALUE]})


def test_options_reach_the_policies(pack: Analyzer) -> None:
    gateway = {"labels": {**LABELS, "role": "wireguard-gateway"}}
    assert [one.policyName for one in pack.found(SERVER, gateway)] == ["gateway-unprotected"]
    assert not pack.found(SERVER, gateway, protect=True)


def test_the_budget_goes_by_inputs(pack: Analyzer) -> None:
    group = "aws:autoscaling/group:Group"
    overrides = {"launchTemplate": {"overrides": [{"instanceType": "t3.small"}]}}
    inputs = {"name": "b", "region": "eu-central-1", "maxSize": 50, "mixedInstancesPolicy": overrides}
    tags = [{"key": "stack", "value": "dev"}]
    assert not pack.found(group, {**inputs, "tags": tags})
    (one,) = pack.found_in_stack({group: {"name": "b"}})
    assert one.policyName == "over-budget"
    assert not pack.found_in_stack({SERVER: {"serverType": "cx23", "location": "fsn1"}})


def test_levels_come_from_the_config() -> None:
    with running(dev()) as pack:
        assert pack.info.supportsConfig
        pack.configure({"ssh-open-to-world": "ADVISORY", "undeclared-port": "DISABLED"})
        (one,) = pack.found(FIREWALL, hetzner("tcp", "1-65535", "0.0.0.0/0"))
        assert (one.policyName, one.enforcementLevel) == ("ssh-open-to-world", analyzer_pb2.ADVISORY)


def test_a_stack_of_another_project_has_what_needs_no_settings_checked() -> None:
    with running({}) as pack:
        rules = [*hetzner("tcp", "22", "0.0.0.0/0")["rules"], *hetzner("tcp", "80", "0.0.0.0/0")["rules"]]
        assert [one.policyName for one in pack.found(FIREWALL, {"rules": rules})] == ["ssh-open-to-world"]


def test_no_module_hides_another() -> None:
    """The engine starts the pack in its directory, which Python looks into before everywhere else."""
    own = {path.stem for path in Path(ROOT / "policy").glob("[!_]*.py")}
    assert own
    assert not own & (sys.stdlib_module_names | packages_distributions().keys())
