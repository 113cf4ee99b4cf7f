"""What policies say of resources, for the tests of single policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from components.settings.load import load
from components.settings.models import Settings
from policy.model import Resource
from policy.pack import RULES
from tests.components.configs import ROOT, as_engine_gives, changed, dev

SERVER = "hcloud:index/server:Server"
FIREWALL = "hcloud:index/firewall:Firewall"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
INSTANCE = "aws:ec2/instance:Instance"
LAUNCH = "aws:ec2/launchTemplate:LaunchTemplate"
GCP_FIREWALL = "gcp:compute/firewall:Firewall"
GCP_INSTANCE = "gcp:compute/instance:Instance"
GCP_TEMPLATE = "gcp:compute/instanceTemplate:InstanceTemplate"
GCP_REGIONAL = "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate"
LABELS = {"stack": "dev", "site": "hetzner", "role": "monitoring"}


def config_of(stack: str) -> dict[str, Any]:
    """The config of a stack of the project by key, without the namespace."""
    document = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())
    return {key.partition(":")[2]: value for key, value in document["config"].items()}


def settings(changes: Mapping[str, Any] | None = None, *, stack: str = "dev") -> Settings:
    """The dev stack's, with values at ``a/b/c`` set."""
    return _loaded(json.dumps(as_engine_gives(changed(dev(), changes or {}))), stack)


@cache
def _loaded(config: str, stack: str) -> Settings:
    return load(json.loads(config), "hybrid-wireguard", stack, set())


def said(rule: str, kind: str, inputs: Mapping[str, Any], of: Settings | None, *, protect: bool = False) -> list[str]:
    """What is wrong with a resource by the policy called ``rule``; none of its inputs is a secret."""
    (check,) = (one.check for one in RULES if one.name == rule)
    return [finding.what for finding in check(Resource(kind, "it", inputs, inputs, protect), of)]


def who_say(kind: str, inputs: Mapping[str, Any], of: Settings | None) -> set[str]:
    """The policies that a resource violates. It has labels, whatever else it is."""
    labelled = {"labels": LABELS, "tags": LABELS, **inputs}
    return {rule.name for rule in RULES if said(rule.name, kind, labelled, of)}
