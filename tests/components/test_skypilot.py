"""SkyPilot 0.14.1 reads the documents for it with its own functions, and refuses what it should."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
import yaml

from cloudinit import TOKEN_VARIABLE
from components.documents import key_file
from tests.components.configs import changed, dev, static
from tests.components.recorder import plain, run_program
from tests.components.skypilot import ask
from tests.components.test_external_pools import REPLICAS

PREFIX = "hybrid-wireguard-dev"
LOGINS = {"10.100.1.1": "root", "10.100.1.2": "root", "10.100.2.1": "ubuntu", "10.100.3.1": "ubuntu"}
"""The dev stack's spokes: Hetzner's images know root only, Ubuntu's on AWS and GCP have ubuntu."""
HAND_WRITTEN = """\
name: llm
service:
  readiness_probe: {path: /health, initial_delay_seconds: 120}
  replica_policy: {min_replicas: 1, max_replicas: 6}
resources: {ports: 8000, infra: aws, use_spot: true}
setup: ping -c 3 10.100.0.1
run: vllm serve model --port 8000
"""
"""As such documents are written: SkyPilot takes no different numbers without target_qps_per_replica."""
FAULTS: dict[str, tuple[str, str]] = {
    "no_target": (HAND_WRITTEN, "target_qps_per_replica is not set"),
    "unknown_key": (HAND_WRITTEN.replace("min_replicas", "minimum"), "Invalid service YAML"),
    "probe": (HAND_WRITTEN.replace("/health", "health").replace("max_replicas: 6", "max_replicas: 1"), "slash"),
    "both_kinds": (
        HAND_WRITTEN.replace("max_replicas: 6", "max_replicas: 1").replace(
            "{ports: 8000, infra: aws, use_spot: true}", "{ports: 8000, any_of: [{use_spot: true}, {use_spot: false}]}"
        ),
        "all use spot or none",
    ),
}
"""Name -> a document that SkyPilot must refuse, and a part of what it says."""


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    """The outputs of stacks with an external pool on each cloud, and of those without one."""
    gcp = {"kind": "external", "site": "gcp", "range": "10.100.3.64/27", "max": 1}
    hetzner = {"kind": "external", "site": "hetzner", "range": "10.100.1.64/27", "max": 5}
    configs: dict[str, dict[str, Any]] = {
        "aws": changed(dev(), {"pools/replicas": REPLICAS}),
        "gcp": changed(dev(), {"pools/replicas": gcp}),
        "hetzner": changed(dev(), {"pools/replicas": hetzner}),
        "spokes": dev(),
        "nothing": {**static(), "spokes": {}},
    }
    return {name: plain(run_program(config).outputs) for name, config in configs.items()}


@pytest.fixture(scope="module")
def says(documents: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What SkyPilot says of all of them, and of those with faults."""
    home = tmp_path_factory.mktemp("home")
    key = home / key_file(PREFIX).removeprefix("~/")
    key.parent.mkdir()
    key.touch(mode=0o600)
    pools = documents["spokes"]["ssh_node_pools"]
    wrong = {
        "key": pools.replace(key_file(PREFIX), "~/.ssh/another"),
        "user": pools.replace("  user: ubuntu\n  identity_file", "  identity_file"),
        "hosts": "a:\n  user: root\n  identity_file: ~/x\n  hosts: []\n",
        "twice": pools + pools,
    }
    return ask(
        home,
        {name: found["skyserve_service"] for name, found in documents.items()} | {n: t for n, (t, _) in FAULTS.items()},
        {"spokes": pools} | wrong,
    )


def test_it_is_the_version_that_the_documents_are_for(says: dict[str, Any]) -> None:
    assert says["version"] == "0.14.1"


@pytest.mark.parametrize(
    ("name", "replicas", "port", "path", "infra"),
    [
        ("aws", [1, 4], "9000", "/ready", ["aws/eu-central-1"]),
        ("gcp", [1, 1], "8000", "/health", ["gcp/europe-west3"]),
        ("hetzner", [1, 2], "8000", "/health", ["None"]),
        ("spokes", [1, 4], "8000", "/health", [f"ssh/{PREFIX}-{site}" for site in ("aws", "gcp", "hetzner")]),
        ("nothing", [1, 1], "8000", "/health", ["None"]),
    ],
)
def test_it_takes_the_service(
    says: dict[str, Any], name: str, replicas: list[int], port: str, path: str, infra: list[str]
) -> None:
    found = says["services"][name]
    assert found["error"] is None
    assert (found["replicas"], found["ports"], found["probe"], found["infra"]) == (replicas, [port], path, infra)
    assert found["envs"]["CLUSTER_NETWORK"] == "10.100.0.0/16"
    assert f"--port {port}" in found["run"]


@pytest.mark.parametrize("name", ["aws", "gcp", "hetzner"])
def test_a_replica_joins_with_a_secret_that_is_not_in_the_document(
    says: dict[str, Any], documents: dict[str, dict[str, Any]], name: str
) -> None:
    found = says["services"][name]
    assert found["secrets"] == [TOKEN_VARIABLE]
    assert "as_root systemctl enable --quiet hybridnet.service" in found["setup"]
    (token,) = [t for pool, t in documents[name]["join"]["tokens"].items() if pool == "replicas"]
    assert token not in documents[name]["skyserve_service"]


@pytest.mark.parametrize("name", ["spokes", "nothing"])
def test_where_no_machine_joins_no_token_is_asked_for(says: dict[str, Any], name: str) -> None:
    assert says["services"][name]["secrets"] == []
    assert "hybridnet" not in says["services"][name]["setup"]


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_it_refuses_a_service_with_a_fault(says: dict[str, Any], name: str) -> None:
    assert FAULTS[name][1] in (says["services"][name]["error"] or "")


def test_it_takes_the_pools(says: dict[str, Any]) -> None:
    found = dict(says["pools"]["spokes"])
    assert found.pop("error") is None
    assert set(found) == {f"{PREFIX}-{site}" for site in ("aws", "gcp", "hetzner")}
    hosts = [host for pool in found.values() for host in pool]
    assert {host["ip"]: host["user"] for host in hosts} == LOGINS
    assert {host["identity_file"].rpartition("/")[2] for host in hosts} == {PREFIX}
    assert not any(host["use_ssh_config"] or host["password"] for host in hosts)


@pytest.mark.parametrize(
    ("name", "words"),
    [("key", "Identity File Missing"), ("user", "must include `user`"), ("hosts", "hosts"), ("twice", "Duplicate key")],
)
def test_it_refuses_pools_with_a_fault(says: dict[str, Any], name: str, words: str) -> None:
    assert words in (says["pools"][name]["error"] or "")


def test_pools_have_only_what_it_knows(documents: dict[str, dict[str, Any]]) -> None:
    """SkyPilot passes over unknown keys and over hosts without an address; this does not."""
    pools = yaml.safe_load(documents["spokes"]["ssh_node_pools"])
    for pool in pools.values():
        assert set(pool) == {"user", "identity_file", "hosts"}
        for host in pool["hosts"]:
            assert set(host) == {"ip", "user"}
            assert IPv4Address(host["ip"])
