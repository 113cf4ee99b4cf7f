"""Prometheus' configuration from a stack's outputs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.outputs import parse_outputs
from monitoring.__main__ import main
from monitoring.scrape import prometheus_config
from tests.components.configs import ROOT, burst
from tests.components.recorder import plain, run_program
from tests.monitoring.prometheus import RULES, needs_promtool, passes


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a stack with pools, secrets in plain text."""
    path = tmp_path_factory.mktemp("outputs") / "outputs.json"
    path.write_text(json.dumps(plain(run_program(burst()).outputs)))
    return path


def scraped(outputs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, dict[str, Any]]:
    """The printed configuration, and its one scrape configuration."""
    assert main(["scrape", "--from", str(outputs), *words]) == 0
    told = capsys.readouterr()
    assert not told.err
    (job,) = yaml.safe_load(told.out)["scrape_configs"]
    return told.out, job


@needs_promtool
@pytest.mark.parametrize("how", ["http", "file", "static"])
def test_prometheus_takes_it(how: str, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(json.loads(outputs.read_text())["join"]["ca"])
    text, _ = scraped(outputs, capsys, "--discovery", how, "--ca", str(ca))
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(RULES, tmp_path / "hybridnet-rules.yaml")
    assert main(["targets", "--from", str(outputs)]) == 0
    (tmp_path / "hybridnet-targets.json").write_text(capsys.readouterr().out)
    passes("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_static_targets_and_those_of_a_file_are_the_stacks(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declared = json.loads(outputs.read_text())["prometheus_targets"]
    _, job = scraped(outputs, capsys, "--discovery", "static")
    assert job["static_configs"] == declared != []
    _, job = scraped(outputs, capsys, "--discovery", "file")
    assert job["file_sd_configs"] == [{"files": ["hybridnet-targets.json"]}]
    assert main(["targets", "--from", str(outputs)]) == 0
    assert json.loads(capsys.readouterr().out) == declared


def test_by_http_every_gateway_is_asked_with_the_stacks_authority(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, job = scraped(outputs, capsys)
    (asked,) = job["http_sd_configs"]
    assert asked["url"] == "https://10.100.0.1:8443/v1/targets"
    assert asked["tls_config"] == {"ca_file": "/etc/hybridnet/ca.pem"}
    assert not {"insecure_skip_verify", "honor_labels"} & {*asked["tls_config"], *job}


def test_by_http_the_gateways_are_known_before_they_answer(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declared = json.loads(outputs.read_text())["prometheus_targets"]
    (gateway,) = [group for group in declared if group["labels"]["node"] == "hetzner-gw"]
    _, job = scraped(outputs, capsys)
    assert job["static_configs"] == [gateway]


def test_without_an_alertmanager_alerts_go_nowhere(outputs: Path) -> None:
    read = parse_outputs(json.loads(outputs.read_text()))
    with_one, without = (
        yaml.safe_load(prometheus_config(read, alertmanager=each)) for each in ("am.example.com:9093", None)
    )
    assert with_one.pop("alerting") == {
        "alertmanagers": [{"static_configs": [{"targets": ["am.example.com:9093"]}]}],
    }
    assert with_one == without


def test_of_several_gateways_each_is_asked(outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(outputs.read_text())
    document["gateways"].append({**document["gateways"][0], "name": "aws-gw", "address": "10.100.2.254"})
    (tmp_path / "outputs.json").write_text(json.dumps(document))
    _, job = scraped(tmp_path / "outputs.json", capsys)
    assert [each["url"] for each in job["http_sd_configs"]] == [
        "https://10.100.0.1:8443/v1/targets",
        "https://10.100.2.254:8443/v1/targets",
    ]


def test_no_secret_is_printed(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    join = json.loads(outputs.read_text())["join"]
    secrets = [*join["tokens"].values(), json.loads(outputs.read_text())["ssh_private_key"]]
    assert all(secrets)
    for how in ("http", "static"):
        text, _ = scraped(outputs, capsys, "--discovery", how)
        assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no json", "is not JSON: give what `pulumi stack output --json` prints"),
        ("[]", "no outputs of this project's stacks"),
        ('{"a": 1}', "no outputs of this project's stacks"),
        ('{"schema_version": 99}', "schema_version is 99, and this reader knows 1"),
        ('{"schema_version": 1}', "not as docs/exports.md says: KeyError"),
    ],
)
def test_what_are_no_outputs_is_refused(
    text: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["scrape"]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.startswith("monitoring: ")
    assert says in told.err


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scrape", "--from", str(tmp_path / "none.json")]) == 1
    assert "none.json cannot be read: No such file" in capsys.readouterr().err


def test_it_runs_as_a_command(outputs: Path) -> None:
    command = [sys.executable, "-m", "monitoring", "scrape"]
    done = subprocess.run(
        command, cwd=ROOT, input=outputs.read_text(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "https://10.100.0.1:8443/v1/targets" in done.stdout
