"""The contract with other stacks: what is exported, and the reader of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, cast

import pulumi
import pytest

from components.keys import join_token
from components.outputs import ADDED, PLAIN, OutputsError, StackReader, parse_configurations, parse_join, parse_outputs
from tests.components.configs import ROOT, burst, changed, dev, static
from tests.components.leaves import Leaf
from tests.components.recorder import CERTIFICATE, GATEWAY_IP, is_secret, key_pem, plain, run_program

LEAF = Leaf()
BALANCED = {"loadBalancer": {"enabled": True}}
LATE_IN_PEERS = {"allowed_ips6", "address6", "dns_name", "group"}
LATE_IN_NETWORK = {"overlay6", "domain", "groups"}
FIELDS = {
    "schema_version",
    "wg_gateway_ip",
    "gateways",
    "peers",
    "pools",
    "network",
    "load_balancer",
    "ssh_node_pools",
    "skyserve_service",
    "prometheus_targets",
    "join",
    "configurations",
    "ssh_private_key",
}


@pytest.fixture(scope="module")
def exported() -> dict[str, Any]:
    return plain(run_program(burst(BALANCED)).outputs)


def test_exactly_these_fields_are_exported(exported: dict[str, Any]) -> None:
    assert set(exported) == FIELDS


def test_the_page_names_every_field(exported: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "exports.md").read_text()
    assert [field for field in FIELDS if f"`{field}`" not in page] == []
    first = [exported[name][0] for name in ("gateways", "peers", "pools")]
    inner = {*first[0], *first[1], *first[2], *exported["network"], *exported["join"]}
    inner |= set(exported["load_balancer"])
    assert [field for field in inner if f"`{field}`" not in page] == []


def test_the_reader_gives_typed_values(exported: dict[str, Any]) -> None:
    outputs = parse_outputs(exported)
    assert outputs.wg_gateway_ip == GATEWAY_IP
    assert outputs.network.overlay == IPv4Network("10.100.0.0/16")
    assert outputs.network.sites["aws"] == IPv4Network("10.100.2.0/24")
    (gateway,) = outputs.gateways
    assert gateway.address == IPv4Address("10.100.0.1")
    assert gateway.url == f"https://{GATEWAY_IP}:8443"
    by_name = {peer.name: peer for peer in outputs.peers}
    assert by_name["aws-1"].allowed_ips == (IPv4Network("10.100.2.1/32"),)
    assert by_name["aws-1"].endpoint is None
    assert by_name["hetzner-gw"].endpoint == f"{GATEWAY_IP}:51820"
    assert by_name["hetzner-gw"].allowed_ips == (IPv4Network("10.100.0.0/16"),)


def test_the_reader_gives_a_pools_range_sizes_group_and_role(exported: dict[str, Any]) -> None:
    pools = {pool.name: pool for pool in parse_outputs(exported).pools}
    aws, gcp, hetzner = pools["aws-burst"], pools["gcp-burst"], pools["hetzner-base"]
    assert (aws.cloud, aws.region, aws.site) == ("aws", "eu-central-1", "aws")
    assert (aws.range, aws.min, aws.max) == (IPv4Network("10.100.2.128/25"), 1, 6)
    assert (aws.port, aws.health_path) == (8000, "/health")
    assert aws.group == aws.role == "hybrid-wireguard-dev-aws-burst"
    assert gcp.group == "hybrid-wireguard-dev-gcp-burst"
    assert gcp.role == "hybrid-wireguard-dev-gcp-burst@hybrid-wireguard-dev.iam.gserviceaccount.com"
    assert (hetzner.min, hetzner.max, hetzner.group, hetzner.role) == (12, 12, None, None)


def test_the_reader_passes_over_fields_that_came_later(exported: dict[str, Any]) -> None:
    later = {**exported, "weather": "fine", "peers": [{**peer, "mood": "good"} for peer in exported["peers"]]}
    assert parse_outputs(later) == parse_outputs(exported)


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_another_version_is_refused(exported: dict[str, Any], version: object) -> None:
    with pytest.raises(OutputsError, match="schema_version is"):
        parse_outputs({**exported, "schema_version": version})


@pytest.mark.parametrize("field", sorted(set(PLAIN) - {"schema_version"}))
def test_a_missing_field_is_refused(exported: dict[str, Any], field: str) -> None:
    with pytest.raises(OutputsError, match=field):
        parse_outputs({key: value for key, value in exported.items() if key != field})


def test_what_the_reader_asks_for_is_no_secret() -> None:
    outputs = run_program(burst(BALANCED)).outputs
    assert {name for name, value in outputs.items() if is_secret(value)} == set(outputs) - {*PLAIN, *ADDED}


def test_join_says_where_and_whom_to_trust(exported: dict[str, Any]) -> None:
    assert exported["join"]["url"] == f"https://{GATEWAY_IP}:8443"
    assert exported["join"]["ca"].startswith("-----BEGIN CERTIFICATE-----")
    assert exported["join"]["tokens"] == {
        pool: join_token(key_pem(f"{pool}-token", "ED25519")[0], 1)
        for pool in ("aws-burst", "gcp-burst", "hetzner-base")
    }


def test_a_stack_without_pools_has_none() -> None:
    outputs = plain(run_program(static()).outputs)
    assert outputs["pools"] == []
    assert outputs["join"]["tokens"] == {}


def test_peers_are_exactly_what_is_declared() -> None:
    outputs = run_program(changed(dev(), {"spokes/aws-2": {"site": "aws"}, "spokes/gcp-1": ...})).outputs
    assert [peer["name"] for peer in outputs["peers"]] == ["hetzner-gw", "aws-1", "aws-2", "hetzner-1", "hetzner-2"]


class Reference:
    """Another stack's outputs, as a StackReference gives them. The reader requires none of it: see parse_outputs."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self._outputs = outputs

    def get_output(self, name: str) -> pulumi.Output[Any]:
        found = pulumi.Output.from_input(self._outputs.get(name))
        return pulumi.Output.secret(found) if name == "join" else found


async def test_a_stack_reads_another_ones_outputs(exported: dict[str, Any]) -> None:
    reader = StackReader(cast("pulumi.StackReference", Reference(exported)))
    assert await reader.outputs.future() == parse_outputs(exported)
    assert not await reader.outputs.is_secret()
    join = await reader.join.future()
    assert join is not None
    assert join.url == exported["join"]["url"]
    assert await reader.join.is_secret()
    assert await reader.configurations.future() == exported["configurations"]


@pytest.mark.parametrize("parse", [parse_outputs, parse_join, parse_configurations])
@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"schema_version": 2, "nodes": []}, "schema_version is 2, and this reader knows 1: update the reader"),
        ({"schema_version": None}, "schema_version is None, .*: see whether the stack is one of hybrid-wireguard"),
    ],
)
def test_a_stack_that_is_quite_another_is_refused_by_its_version(
    parse: Callable[[dict[str, Any]], object], outputs: dict[str, Any], says: str
) -> None:
    with pytest.raises(OutputsError, match=says):
        parse(outputs)


@pytest.mark.parametrize("join", [None, [], {"url": "https://192.0.2.1:8443", "ca": "PEM"}])
def test_a_join_that_is_none_is_refused(join: object) -> None:
    with pytest.raises(OutputsError, match=r"join has no .*tokens$"):
        parse_join({"schema_version": 1, "join": join})


@pytest.mark.parametrize(
    ("settings", "host", "trusts"),
    [
        ({}, GATEWAY_IP, True),
        ({"serverNames": ["*.example.org", "inference.example.com"]}, "inference.example.com", True),
        ({"serverNames": ["*.example.com"]}, GATEWAY_IP, True),
        ({"serverNames": ["inference.example.com"], "certificate": "given"}, "inference.example.com", False),
    ],
)
def test_the_load_balancer_says_where_it_answers_and_whom_to_trust(
    settings: dict[str, Any], host: str, trusts: bool
) -> None:
    pair = {"certificate": LEAF.certificate, "privateKey": LEAF.key} if not trusts else {}
    config = {**static(), "loadBalancer": {"enabled": True, **settings}, "tlsCertificate": pair}
    outputs = run_program(config, secret_keys=("tlsCertificate",)).outputs
    balancer = parse_outputs(plain(outputs)).load_balancer
    assert balancer is not None
    assert (balancer.url, balancer.server_names) == (f"https://{host}", tuple(settings.get("serverNames", ())))
    assert balancer.ca == (CERTIFICATE if trusts else None)


def test_a_stack_that_answers_no_requests_says_so() -> None:
    outputs = plain(run_program(changed(static(), {"loadBalancer": {}})).outputs)
    assert parse_outputs(outputs).load_balancer is None


async def test_a_stack_that_was_not_updated_since_is_read(exported: dict[str, Any]) -> None:
    older = {name: value for name, value in exported.items() if name not in ADDED}
    for entries, late in (("gateways", {"lan_address"}), ("peers", LATE_IN_PEERS)):
        older[entries] = [{name: entry[name] for name in entry.keys() - late} for entry in exported[entries]]
    older["network"] = {name: value for name, value in exported["network"].items() if name not in LATE_IN_NETWORK}
    reader = StackReader(cast("pulumi.StackReference", Reference(older)))
    now = parse_outputs(exported)
    peers = tuple(replace(peer, allowed_ips6=(), address6=None, dns_name=None, group=None) for peer in now.peers)
    gateways = tuple(replace(gateway, lan_address=None) for gateway in now.gateways)
    network = replace(now.network, overlay6=None, domain=None, groups={})
    assert await reader.outputs.future() == replace(
        now, pools=(), load_balancer=None, peers=peers, gateways=gateways, network=network
    )
    assert await reader.configurations.future() == {}
    assert await reader.configurations.is_secret()
    assert await reader.join.future() == parse_join(exported)
