"""Every way to let somebody in to ports, for the tests of policies on firewalls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.policy.findings import FIREWALL, GCP_FIREWALL, GROUP, GROUP_RULE, INGRESS

Inputs = Mapping[str, Any]
GCP_RULE = "gcp:compute/networkFirewallPolicyRule:NetworkFirewallPolicyRule"
_NUMBERS = {"tcp": "6", "udp": "17", "icmp": "1"}


def _ends(ports: str) -> tuple[int, int]:
    first, _, last = ports.partition("-")
    return int(first), int(last or first)


def hetzner(protocol: str, ports: str, *sources: str) -> Inputs:
    return {"rules": [{"direction": "in", "protocol": protocol, "port": ports, "sourceIps": list(sources)}]}


def _aws(protocol: str, ports: str, sources: tuple[str, ...]) -> dict[str, Any]:
    first, last = _ends(ports)
    return {
        "protocol": protocol,
        "fromPort": first,
        "toPort": last,
        "cidrBlocks": [source for source in sources if ":" not in source],
        "ipv6CidrBlocks": [source for source in sources if ":" in source],
    }


def aws_group(protocol: str, ports: str, *sources: str) -> Inputs:
    return {"ingress": [_aws(protocol, ports, sources)]}


def aws_group_by_number(protocol: str, ports: str, *sources: str) -> Inputs:
    return aws_group(_NUMBERS[protocol], ports, *sources)


def aws_group_rule(protocol: str, ports: str, *sources: str) -> Inputs:
    return {"type": "ingress", **_aws(protocol, ports, sources)}


def aws_ingress(protocol: str, ports: str, *sources: str) -> Inputs:
    """One such rule is for one network."""
    (source,) = sources
    first, last = _ends(ports)
    key = "cidrIpv6" if ":" in source else "cidrIpv4"
    return {"ipProtocol": protocol, "fromPort": first, "toPort": last, key: source}


def gcp(protocol: str, ports: str, *sources: str) -> Inputs:
    return {
        "direction": "INGRESS",
        "allows": [{"protocol": protocol, "ports": [ports]}],
        "sourceRanges": list(sources),
    }


def gcp_policy(protocol: str, ports: str, *sources: str) -> Inputs:
    match = {"srcIpRanges": list(sources), "layer4Configs": [{"ipProtocol": protocol, "ports": [ports]}]}
    return {"direction": "INGRESS", "action": "allow", "match": match}


def gcp_policy_with_rules(protocol: str, ports: str, *sources: str) -> Inputs:
    return {"rules": [gcp_policy(protocol, ports, *sources)]}


WAYS: list[tuple[str, Callable[..., Inputs]]] = [
    (FIREWALL, hetzner),
    (GROUP, aws_group),
    (GROUP, aws_group_by_number),
    (GROUP_RULE, aws_group_rule),
    (INGRESS, aws_ingress),
    (GCP_FIREWALL, gcp),
    (GCP_RULE, gcp_policy),
    ("gcp:compute/networkFirewallPolicyWithRules:NetworkFirewallPolicyWithRules", gcp_policy_with_rules),
]
"""Type, and what makes its inputs of a protocol, ports like ``22`` or ``80-85``, and networks."""
NOT_AS_PORTS: list[tuple[str, Inputs]] = [
    (FIREWALL, hetzner("tcp", "any", "0.0.0.0/0")),
    (GROUP, {"ingress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}]}),
    (GROUP, {"ingress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "ipv6CidrBlocks": ["::/0"]}]}),
    (INGRESS, {"ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"}),
    (INGRESS, {"ipProtocol": "tcp", "fromPort": -1, "toPort": -1, "cidrIpv6": "::/0"}),
    (GCP_FIREWALL, {"allows": [{"protocol": "all"}], "sourceRanges": ["0.0.0.0/0"]}),
    (GCP_FIREWALL, {"allows": [{"protocol": "tcp"}], "sourceRanges": ["::/0"]}),
    (GCP_FIREWALL, {"allows": [{"protocol": "tcp"}]}),
    (GCP_RULE, gcp_policy("tcp", "22-8443")),
    (GCP_RULE, {**gcp_policy("tcp", "0-65535"), "match": {"layer4Configs": [{"ipProtocol": "all"}]}}),
]
"""Everything, SSH among it, is let in from everywhere, and no number says so."""
