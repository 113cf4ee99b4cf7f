"""The alerts: Prometheus takes them, each fires and does not, and each leads to a runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from monitoring.__main__ import main
from tests.monitoring.prometheus import MONITORING, ROOT, RULES, alerts, needs_promtool, passes

SUITES = sorted((MONITORING / "tests").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks.md"
PARTS = ("**What it means.**", "**Look at.**", "**Mend it.**")


def cases() -> list[dict[str, Any]]:
    """Every case of every suite in which an alert is looked at."""
    documents = [cast("dict[str, Any]", yaml.safe_load(suite.read_text())) for suite in SUITES]
    return [case for each in documents for test in each["tests"] for case in test["alert_rule_test"]]


def sections(text: str) -> dict[str, str]:
    """Text by the anchor that GitHub and GitLab give its heading."""
    found: dict[str, str] = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        found[re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")] = body
    return found


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    passes("promtool", "check", "rules", RULES)


@needs_promtool
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.stem)
def test_alerts_fire_when_they_should_and_at_no_other_time(suite: Path) -> None:
    passes("promtool", "test", "rules", suite)


def test_every_alert_is_seen_to_fire_and_not_to() -> None:
    fires = {case["alertname"] for case in cases() if case["exp_alerts"]}
    is_quiet = {case["alertname"] for case in cases() if not case["exp_alerts"]}
    assert len(alerts()) > 20
    assert set(alerts()) == fires == is_quiet


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}", name


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    found = sections(RUNBOOKS.read_text())
    assert set(found) == {name.lower() for name in alerts()}
    assert [(name, part) for name, body in found.items() for part in PARTS if part not in body] == []


def test_the_runbooks_name_only_commands_that_machines_have() -> None:
    named = set(re.findall(r"hybridnet ([a-z]+)(?: [A-Za-z-]+)*`", RUNBOOKS.read_text()))
    assert {"doctor", "status"} <= named
    assert [command for command in named if not (ROOT / "node" / "command" / f"{command}.py").exists()] == []


def test_the_printed_rules_lead_to_the_runbooks_on_the_web(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    web = "https://git.example.com/acme/hybrid-wireguard/blob/main"
    assert main(["rules", "--repository", f"{web}/"]) == 0
    printed = tmp_path / "rules.yaml"
    printed.write_text(capsys.readouterr().out)
    document = cast("dict[str, Any]", yaml.safe_load(printed.read_text()))
    links = {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for group in document["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert links == {name: f"{web}/docs/runbooks.md#{name.lower()}" for name in alerts()}


@pytest.mark.parametrize("url", ["git.example.com/acme", "https://git.example.com/a b", 'https://x/"\nseverity: none'])
def test_what_is_no_url_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--repository", url]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "is no URL of the project's files: give where a browser shows them" in told.err
