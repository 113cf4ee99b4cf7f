"""What the monitoring host of the example is told at its first boot, and what lets packets in to it."""

from __future__ import annotations

import base64
import gzip
import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest
import yaml

from components.outputs import StackOutputs, parse_outputs
from examples.consumer.first_boot import LIMIT, FirstBootError, Joined, address_of, render
from examples.consumer.host import MonitoringHost
from monitoring.scrape import prometheus_config
from tests.components.configs import burst, changed
from tests.components.recorder import Run, is_secret, plain, register, run_program
from tests.components.test_topologies import HOME, THREE
from tests.monitoring.prometheus import RULES, needs_promtool, passes

OPERATIONS = {
    "sites/operations": {"cloud": "external", "subnet": "10.100.10.0/24"},
    "spokes/monitor": {"site": "operations", "address": "10.100.10.1"},
}
CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def exported(config: Mapping[str, Any]) -> tuple[StackOutputs, dict[str, str]]:
    """A stack's plain outputs, and its configurations."""
    found = plain(run_program(config).outputs)
    return parse_outputs(found), found["configurations"]


@pytest.fixture(scope="module")
def network() -> tuple[StackOutputs, dict[str, str]]:
    return exported(burst(OPERATIONS))


def told(outputs: StackOutputs, configurations: dict[str, str]) -> str:
    """The host's user data, of the very parts that the program puts together."""
    prometheus = prometheus_config(outputs, "http", "/etc/prometheus/hybridnet-ca.pem", alertmanager=None)
    return render(Joined.of(outputs, configurations, "monitor"), prometheus, RULES.read_text(), CA)


def files(document: str) -> dict[str, tuple[str, str]]:
    """Path -> permissions and text."""
    entries = cast("list[dict[str, str]]", yaml.safe_load(document)["write_files"])
    assert {entry["encoding"] for entry in entries} == {"gz+b64"}
    return {
        entry["path"]: (entry["permissions"], gzip.decompress(base64.b64decode(entry["content"])).decode())
        for entry in entries
    }


def test_its_key_is_in_one_file_for_root_alone(network: tuple[StackOutputs, dict[str, str]]) -> None:
    outputs, configurations = network
    (key,) = [
        line.removeprefix("PrivateKey = ") for line in configurations["monitor"].splitlines() if "PrivateKey" in line
    ]
    found = files(told(outputs, configurations))
    assert found["/etc/wireguard/wg0.conf"] == ("0600", configurations["monitor"])
    assert [path for path, (_, text) in found.items() if key in text] == ["/etc/wireguard/wg0.conf"]


def test_prometheus_listens_on_the_overlay_once_the_tunnel_is_there(
    network: tuple[StackOutputs, dict[str, str]],
) -> None:
    found = files(told(*network))
    assert found["/etc/default/prometheus"][1] == 'ARGS="--web.listen-address=10.100.10.1:9090"\n'
    unit = found["/etc/systemd/system/prometheus.service.d/overlay.conf"][1]
    assert "Requires=wg-quick@wg0.service" in unit
    assert "After=wg-quick@wg0.service" in unit


def test_the_same_network_gives_the_same_words_and_new_nodes_none(
    network: tuple[StackOutputs, dict[str, str]],
) -> None:
    outputs, configurations = network
    document = told(outputs, configurations)
    assert document.splitlines()[0] == "#cloud-config"
    assert document == told(outputs, configurations)
    more, theirs = exported(burst({**OPERATIONS, "spokes/aws-2": {"site": "aws"}}))
    assert len(more.peers) == len(outputs.peers) + 1
    assert told(more, theirs) == document


@needs_promtool
def test_prometheus_takes_its_configuration(network: tuple[StackOutputs, dict[str, str]], tmp_path: Path) -> None:
    for path, (_, text) in files(told(*network)).items():
        if path.startswith("/etc/prometheus/"):
            (tmp_path / Path(path).name).write_text(text.replace("/etc/prometheus", str(tmp_path)))
    passes("promtool", "check", "config", tmp_path / "prometheus.yml")


@pytest.mark.skipif(not shutil.which("nft"), reason="needs nftables")
def test_nft_takes_its_firewall(network: tuple[StackOutputs, dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "nftables.conf").write_text(files(told(*network))["/etc/nftables.conf"][1])
    enter = ["unshare", "--user", "--map-root-user", "--net"]
    checked = subprocess.run(
        [*enter, "nft", "--check", "--file", str(tmp_path / "nftables.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_three_gateways_leave_half_of_the_room() -> None:
    outputs, configurations = exported(changed(THREE, {**HOME, **OPERATIONS, "network": {"topology": "sites"}}))
    document = told(outputs, configurations)
    (job,) = yaml.safe_load(files(document)["/etc/prometheus/prometheus.yml"][1])["scrape_configs"]
    assert len(job["http_sd_configs"]) == 3
    assert len(document) < LIMIT / 2


def test_more_than_hetzner_takes_is_refused(network: tuple[StackOutputs, dict[str, str]]) -> None:
    outputs, configurations = network
    noise = random.Random(1).randbytes(LIMIT).hex()
    with pytest.raises(FirstBootError, match=r"have \d+ bytes, and Hetzner takes 32768"):
        render(Joined.of(outputs, configurations, "monitor"), "", noise, CA)


@pytest.mark.parametrize(
    ("spoke", "settings", "says"),
    [
        ("other", {}, "no spoke other of an external site: declare one there"),
        ("aws-1", {}, "no spoke aws-1 of an external site"),
        ("monitor", {"publicKey": "sVH5o+GYs26IfJWoiPlQy/O1rFKFvfHr35p13mgdvD4="}, "has a publicKey for spoke monitor"),
    ],
)
def test_a_network_without_a_place_for_it_is_refused(spoke: str, settings: dict[str, str], says: str) -> None:
    place = {**OPERATIONS["spokes/monitor"], **settings}
    outputs, configurations = exported(burst({**OPERATIONS, "spokes/monitor": place}))
    with pytest.raises(FirstBootError, match=says) as refused:
        Joined.of(outputs, configurations, spoke)
    assert "PrivateKey" not in str(refused.value)


def test_the_address_of_a_spoke_that_is_not_there_is_refused(network: tuple[StackOutputs, dict[str, str]]) -> None:
    outputs, _ = network
    assert str(address_of(outputs, "monitor")) == "10.100.10.1"
    with pytest.raises(FirstBootError, match="no spoke other of an external site: declare one there"):
        address_of(outputs, "other")


def declared(admin_cidrs: list[str]) -> Run:
    def declare() -> None:
        MonitoringHost(
            "monitor",
            user_data=pulumi.Output.secret("#cloud-config\n"),
            location="fsn1",
            server_type="cx23",
            ssh_keys=["key"],
            admin_cidrs=admin_cidrs,
            revision=3,
        )

    return register(declare)


def test_nothing_is_let_in_but_administrators_by_ssh() -> None:
    (rule,) = declared(["203.0.113.0/24", "2001:db8::/48"]).named("monitor-firewall").inputs["rules"]
    assert (rule["direction"], rule["protocol"], rule["port"]) == ("in", "tcp", "22")
    assert rule["sourceIps"] == ["203.0.113.0/24", "2001:db8::/48"]
    assert declared([]).named("monitor-firewall").inputs["rules"] == []


def test_the_server_keeps_what_it_was_told_and_the_key_is_a_secret() -> None:
    run = declared([])
    server = run.named("monitor-server")
    assert server.ignored == {"userData", "image", "sshKeys"}
    assert is_secret(server.raw["userData"])
    assert server.inputs["firewallIds"] == [int(run.named("monitor-firewall").id)]
    assert server.parent == "monitor"
