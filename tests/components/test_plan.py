"""The plan: names, addresses and sizes, which must not move when the network grows."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from components.documents import prometheus_targets, ssh_node_pools
from components.names import MAX_NAME, account_id, label_value
from components.plan import Plan, make_plan, warnings
from components.server_types import RETIRED, resolve
from components.settings.checks import MAX_SOURCES
from components.settings.load import KEYS, load
from components.settings.models import Settings
from components.userdata import (
    KEY_PEM_BYTES,
    LIMITS,
    certificate_bytes,
    largest_pool_user_data,
    largest_user_data,
    placeholder_pem,
)
from tests.components.configs import (
    AWS_POOL,
    HETZNER_POOL,
    ROOT,
    as_engine_gives,
    burst,
    changed,
    declared_defaults,
    dev,
)
from tests.components.recorder import key_pem


def settings_of(**changes: Any) -> Settings:
    return load(as_engine_gives(changed(dev(), changes)), "hybrid-wireguard", "dev", ())


def plan_of(**changes: Any) -> Plan:
    return make_plan(settings_of(**changes))


def test_the_dev_stacks_addresses_never_change() -> None:
    assert {name: str(machine.address) for name, machine in plan_of().machines.items()} == {
        "hetzner-gw": "10.100.0.1",
        "hetzner-1": "10.100.1.1",
        "hetzner-2": "10.100.1.2",
        "aws-1": "10.100.2.1",
        "gcp-1": "10.100.3.1",
    }


def test_no_machine_moves_when_others_come_or_go() -> None:
    before = plan_of().machines
    grown = plan_of(**{"spokes/aws-2": {"site": "aws"}, "spokes/aws-11": {"site": "aws"}}).machines
    shrunk = plan_of(**{"spokes/hetzner-1": ...}).machines
    assert {name: grown[name] for name in before} == dict(before)
    assert dict(shrunk) == {name: machine for name, machine in before.items() if name != "hetzner-1"}


def test_the_gateways_default_address_is_the_overlays_first() -> None:
    plan = plan_of(**{"gateways/hetzner-gw/address": ...})
    assert plan.gateways["hetzner-gw"].address == IPv4Address("10.100.0.1")


def test_the_order_in_the_file_is_of_no_account() -> None:
    turned: dict[str, Any] = dev()
    for key in ("sites", "gateways", "spokes"):
        turned[key] = dict(reversed(list(turned[key].items())))
    turned_plan = make_plan(load(as_engine_gives(turned), "hybrid-wireguard", "dev", ()))
    assert list(turned_plan.machines.items()) == list(plan_of().machines.items())


def test_the_mtu_does_not_depend_on_which_machines_stand() -> None:
    assert plan_of().mtu == plan_of(**{"spokes/gcp-1": ...}).mtu == 1380


def test_allowed_ips_are_the_hubs() -> None:
    allowed = {name: [str(n) for n in networks] for name, networks in plan_of().allowed_ips.items()}
    assert allowed["hetzner-gw"] == ["10.100.0.0/16"]
    assert allowed["aws-1"] == ["10.100.2.1/32"]
    assert plan_of(spokes={}).allowed_ips.keys() == {"hetzner-gw"}


def test_pulumi_yaml_declares_exactly_the_settings_that_are_read() -> None:
    load(as_engine_gives({**declared_defaults(), **dev()}), "hybrid-wireguard", "dev", ())
    assert set(declared_defaults()) == set(KEYS)


def test_pulumi_yaml_says_what_each_setting_is() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert all(field["description"] and "default" in field and "type" in field for field in declared.values())


@pytest.mark.parametrize("name", list(plan_of().machines))
def test_user_data_stays_under_half_of_what_its_cloud_takes(name: str) -> None:
    settings = settings_of()
    plan = make_plan(settings)
    machine = plan.machines[name]
    assert largest_user_data(settings, plan, machine) <= LIMITS[machine.cloud] // 2


@pytest.mark.parametrize("name", ["aws-burst", "gcp-burst", "hetzner-base"])
def test_a_pools_user_data_without_scripts_stays_under_half_of_the_smallest_limit(name: str) -> None:
    settings = settings_of(pools=burst()["pools"], prefix="p" * 40)
    assert largest_pool_user_data(settings, make_plan(settings).pools[name]) <= LIMITS["aws"] // 2


def test_a_pools_user_data_with_scripts_stays_under_the_smallest_limit() -> None:
    script = "#!/bin/sh\n" + "echo 0123456789\n" * 200
    pools = {"burst": {**AWS_POOL, "userSetup": script, "drainHook": script}}
    settings = settings_of(pools=pools, prefix="p" * 40)
    pool = make_plan(settings).pools["burst"]
    bare = largest_pool_user_data(settings, replace(pool, user_setup="", drain_hook=""))
    assert 2 * len(script) < largest_pool_user_data(settings, pool) - bare
    assert largest_pool_user_data(settings, pool) <= LIMITS["aws"]


def test_a_pool_is_planned_with_its_clouds_defaults() -> None:
    pools = plan_of(pools=burst()["pools"]).pools
    assert {name: pool.server_types for name, pool in pools.items()} == {
        "aws-burst": ("t3.small",),
        "gcp-burst": ("e2-small",),
        "hetzner-base": ("cx23",),
    }
    assert {name: pool.public for name, pool in pools.items()} == {
        "aws-burst": True,
        "gcp-burst": False,
        "hetzner-base": True,
    }
    assert (pools["aws-burst"].minimum, pools["aws-burst"].limit, pools["hetzner-base"].minimum) == (1, 6, 12)
    least = plan_of(pools={"burst": {"site": "aws", "range": "10.100.2.128/25", "max": 3}}).pools["burst"]
    assert (least.minimum, least.ttl, least.rest, least.prove) == (1, 300, 600, False)
    none = plan_of(pools={"burst": {"site": "aws", "range": "10.100.2.128/25", "min": 0, "max": 3}}).pools["burst"]
    assert none.minimum == 0


def test_a_pool_enters_by_its_gateway() -> None:
    plan = plan_of(pools=burst()["pools"])
    assert {plan.gateway_of(pool).name for pool in plan.pools.values()} == {"hetzner-gw"}


def test_a_retired_type_of_a_pool_is_warned_of() -> None:
    settings = settings_of(pools={"base": {**HETZNER_POOL, "serverTypes": ["cx32"]}})
    (warning,) = [text for text in warnings(settings) if "cx32" in text]
    assert warning.startswith("base: server type cx32")
    assert "using cx33" in warning


@pytest.mark.parametrize(
    ("prefix", "pool", "id_"),
    [
        ("hybrid-wireguard-dev", "gcp-burst", "hybrid-wireguard-dev-gcp-burst"),
        ("hybrid-wireguard-dev", "gcp-burst2", "hybrid-wireguard-dev-d942cfa1"),
        ("a", "b", "a-b-d44362d6"),
    ],
)
def test_a_service_accounts_id_is_as_long_as_gcp_takes(prefix: str, pool: str, id_: str) -> None:
    assert account_id(prefix, pool) == id_
    assert re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", id_)


def test_the_bound_on_a_keys_size_is_its_size() -> None:
    assert {len(key_pem(str(n), "ECDSA")[0]) for n in range(20)} == {KEY_PEM_BYTES}
    assert len(placeholder_pem("EC PRIVATE KEY", KEY_PEM_BYTES)) >= KEY_PEM_BYTES


@pytest.mark.parametrize("more", [[], [IPv4Address(3)], [IPv4Address(3), IPv6Address(2**128 - 1)]])
@pytest.mark.parametrize("length", [1, 10, 20, 40, MAX_NAME])
def test_no_certificate_is_larger_than_its_bound(length: int, more: list[IPv4Address | IPv6Address]) -> None:
    """With the largest serial number and all that the program asks for."""
    key = ec.generate_private_key(ec.SECP256R1())
    word = "n" * length
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, word)])
    start = datetime.datetime(2050, 1, 1)  # noqa: DTZ001  certificates take naive UTC; from 2050 on a longer form
    addresses = [x509.IPAddress(IPv4Address(n)) for n in (1, 2)] + [x509.IPAddress(n) for n in more]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(2**159 - 1)
        .not_valid_before(start)
        .not_valid_after(start)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(word), *addresses]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    bound = certificate_bytes(word, word, word, more=more)
    assert len(pem) + 50 < bound
    assert len(placeholder_pem("CERTIFICATE", bound)) >= bound


def test_as_many_admin_networks_as_firewalls_take_fit_the_user_data() -> None:
    longest = [f"2001:db8:1111:2222:3333:4444:5555:{number:x}/128" for number in range(0x1000, 0x1000 + MAX_SOURCES)]
    names = {"gateways": {"g" * 40: {"site": "hetzner"}}, "prefix": "p" * 40}
    assert settings_of(adminCidrs=longest, **names).admin_cidrs
    on_aws = {"gateways": {"g" * 40: {"site": "aws"}}, "prefix": "p" * 40}
    assert settings_of(adminCidrs=longest, **on_aws).admin_cidrs, "a gateway there may have all that EC2 takes"


def test_every_successor_can_be_ordered_itself() -> None:
    assert not {retired.successor for retired in RETIRED.values()} & set(RETIRED)
    assert all(retired.source.startswith("https://") and len(retired.since) == 10 for retired in RETIRED.values())
    assert resolve("aws", "cx22", keep_retired=False) == "cx22", "other clouds have their own types"


@pytest.mark.parametrize(("text", "label"), [("Prod.EU", "prod-eu"), ("_x_", "x"), ("...", "none"), ("é" * 9, "none")])
def test_labels_hold_what_all_clouds_take(text: str, label: str) -> None:
    assert label_value(text) == label


def test_skypilots_pools_hold_the_spokes_of_each_site() -> None:
    pools = yaml.safe_load(ssh_node_pools(plan_of(), "burst"))
    assert {name: {host["ip"]: host["user"] for host in pool["hosts"]} for name, pool in pools.items()} == {
        "burst-hetzner": {"10.100.1.1": "root", "10.100.1.2": "root"},
        "burst-aws": {"10.100.2.1": "ubuntu"},
        "burst-gcp": {"10.100.3.1": "ubuntu"},
    }
    assert {pool["identity_file"] for pool in pools.values()} == {"~/.ssh/burst"}


def test_hosts_of_one_pool_may_have_logins_of_their_own() -> None:
    spokes = {"aws-2": {"site": "aws", "image": "debian-12"}, "aws-3": {"site": "aws", "image": "ubuntu-24.04"}}
    plan = plan_of(spokes=spokes)
    (pool,) = yaml.safe_load(ssh_node_pools(plan, "burst")).values()
    assert pool["user"] == "admin"
    assert [host["user"] for host in pool["hosts"]] == ["admin", "ubuntu"]


def test_prometheus_is_told_every_node_once() -> None:
    targets = prometheus_targets(plan_of())
    assert sorted(group["targets"][0] for group in targets) == [
        "10.100.0.1:9586",
        "10.100.1.1:9586",
        "10.100.1.2:9586",
        "10.100.2.1:9586",
        "10.100.3.1:9586",
    ]
    assert {group["labels"]["role"] for group in targets} == {"gateway", "spoke"}
