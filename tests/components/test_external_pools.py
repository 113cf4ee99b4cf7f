"""Pools whose machines others make: the stack makes a token and a place in the roster, and nothing in a cloud."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from components.keys import join_token
from components.outputs import parse_outputs
from overlay.pools import token_digest
from tests.components.configs import changed, dev, static
from tests.components.recorder import Run, key_pem, plain, run_program

REPLICAS = {
    "kind": "external",
    "site": "aws",
    "range": "10.100.2.64/27",
    "max": 8,
    "port": 9000,
    "healthPath": "/ready",
}


@pytest.fixture(scope="module")
def program() -> Run:
    """The dev stack with no other pool than an external one."""
    return run_program(changed(static(), {"pools": {"replicas": REPLICAS}}))


def test_nothing_is_made_but_a_token(program: Run) -> None:
    def made(run: Run) -> Counter[str]:
        return Counter(f"{resource.type} {resource.name}" for resource in run.resources)

    assert made(program) - made(run_program(static())) == Counter(
        ["hybrid-wireguard:index:InferencePool replicas", "tls:index/privateKey:PrivateKey replicas-token"]
    )


def test_it_stands_in_the_roster_as_other_pools_do(program: Run) -> None:
    pool = program.named("roster").inputs["pools"]["replicas"]
    token = join_token(key_pem("replicas-token", "ED25519")[0], 1)
    told = {key: pool[key] for key in ("site", "range", "limit", "tokenSha256", "port", "healthPath")}
    assert told == {
        "site": "aws",
        "range": "10.100.2.64/27",
        "limit": 8,
        "tokenSha256": token_digest(token),
        "port": 9000,
        "healthPath": "/ready",
    }
    assert "identity" not in pool


def test_its_machines_have_their_share_of_the_requests() -> None:
    pools = {"replicas": {**REPLICAS, "weight": 7, "backup": False}}
    config = changed(static(), {"pools": pools, "loadBalancer": {"enabled": True}})
    shares = run_program(config).named("roster").inputs["loadBalancer"]["pools"]
    assert shares == {"replicas": {"weight": 7, "backup": False, "maxConns": 0}}


@pytest.mark.parametrize("site", ["hetzner", "aws", "gcp"])
def test_its_machines_are_for_what_others_have_no_room_for_whatever_its_site(site: str) -> None:
    octet = {"hetzner": 1, "aws": 2, "gcp": 3}[site]
    pools = {"replicas": {**REPLICAS, "site": site, "range": f"10.100.{octet}.64/27"}}
    config = changed(static(), {"pools": pools, "loadBalancer": {"enabled": True}})
    shares = run_program(config).named("roster").inputs["loadBalancer"]["pools"]
    assert shares == {"replicas": {"weight": 5, "backup": True, "maxConns": 0}}


def test_its_outputs_say_what_it_is(program: Run) -> None:
    exported = plain(program.outputs)
    (pool,) = parse_outputs(exported).pools
    assert (pool.kind, pool.min, pool.max, pool.group, pool.role) == ("external", 0, 8, None, None)
    assert exported["join"]["tokens"] == {"replicas": join_token(key_pem("replicas-token", "ED25519")[0], 1)}


def test_a_site_with_no_other_machine_needs_no_network() -> None:
    def networks(config: dict[str, Any]) -> set[str]:
        return {r.name for r in run_program(config).resources if r.type.startswith("aws:")}

    config = changed(dev(), {"pools": {"replicas": REPLICAS}, "spokes/aws-1": ...})
    assert networks(config) == set()
    assert networks(changed(config, {"spokes/aws-1": {"site": "aws"}}))


def test_its_machines_take_no_address_of_the_sites_own_network() -> None:
    tight = {"sites/aws/vpcCidr": "172.28.0.0/28", "pools": {"replicas": {**REPLICAS, "max": 16}}}
    assert run_program(changed(static(), tight)).named("replicas-token")


def test_a_pool_from_before_there_were_kinds_is_managed() -> None:
    exported = plain(run_program(dev()).outputs)
    older = {**exported, "pools": [{k: v for k, v in pool.items() if k != "kind"} for pool in exported["pools"]]}
    assert parse_outputs(older) == parse_outputs(exported)
    assert {pool.kind for pool in parse_outputs(older).pools} == {"managed"}
