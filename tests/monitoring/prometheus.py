"""What the tests of monitoring share: Prometheus' own tools, the rules, and the names in an expression."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
RULES = MONITORING / "rules.yaml"

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool (Debian's prometheus), which `make test` installs as root"
)
needs_amtool = pytest.mark.skipif(
    not shutil.which("amtool"),
    reason="needs amtool (Debian's prometheus-alertmanager), which `make test` installs as root",
)

_WORDS = {"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "group_left", "group_right"}


def run(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def passes(*words: str | Path, cwd: Path = ROOT) -> None:
    """AssertionError with what the tool says, when it does not like what it is given."""
    done = run(*words, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> Iterator[dict[str, Any]]:
    """Every rule, alerts and records."""
    document = cast("dict[str, Any]", yaml.safe_load(RULES.read_text()))
    for group in document["groups"]:
        yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics that a PromQL expression reads."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)
    return set(names) - _WORDS


def dashboard_queries() -> list[str]:
    """Every query of the dashboard, its variables and annotations included."""
    board = cast("dict[str, Any]", json.loads((MONITORING / "grafana" / "hybridnet.json").read_text()))
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    found += [each["expr"] for each in board["annotations"]["list"]]
    variables = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    return found + [re.sub(r"label_values\((.*), \w+\)", r"\1", query) for query in variables]
