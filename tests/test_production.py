"""docs/production.md: that what it says of permissions is what the program makes, and who runs each of its commands."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path

import pulumi
import pytest
import yaml

from bench import recoveries
from components.settings.load import load
from tests.components import prod_example
from tests.components.configs import as_engine_gives
from tests.documents import ROOT, blocks

DOCUMENT = "docs/production.md"
TEXT = (ROOT / DOCUMENT).read_text()
SDKS = {"aws": "pulumi_aws", "gcp": "pulumi_gcp"}

NOT_RUN = {
    r"read -rs HCLOUD_TOKEN": "there is no account",
    r"gcloud ": "there is no account",
    r"pulumi stack init ": "key services need an account; the local cloud makes its stack with a passphrase by itself",
    r"pulumi (preview|up) --stack prod --policy-pack policy$": "the policies have tests of their own (tests/policy)",
    r"sky ": "it would install k3s on the machines",
    r"make check$": "this test is part of what follows it in .ci/run",
    r"make bench$": "it takes half an hour; tests/bench has the tests of its parts",
}
"""What no test runs, and why. Everything else of the document is run by tests/scenes/test_production.py."""


def made(cloud: str) -> set[str]:
    """The resource classes of a cloud's SDK that components/clouds registers, such as `aws.ec2.Vpc`."""
    found: set[str] = set()
    for path in (ROOT / "components" / "clouds").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            module, _, name = ast.unparse(node.func).rpartition(".")
            if module.partition(".")[0] != cloud or not module.count("."):
                continue
            sdk = importlib.import_module(f"{SDKS[cloud]}.{module.partition('.')[2]}")
            if isinstance(kind := getattr(sdk, name), type) and issubclass(kind, pulumi.CustomResource):
                found.add(f"{module}.{name}")
    return found


def permissions(cloud: str) -> dict[str, set[str]]:
    """By resource class, what the document's tables say that it needs."""
    rows: dict[str, set[str]] = {}
    for line in TEXT.splitlines():
        if line.startswith("|") and f"`{cloud}." in line:
            _, kinds, needs, _ = line.split("|")
            for kind in re.findall(r"`([^`]+)`", kinds):
                rows[kind] = set(re.findall(r"`([^`]+)`", needs))
    return rows


@pytest.mark.parametrize("cloud", sorted(SDKS))
def test_every_resource_that_the_program_makes_has_its_permissions(cloud: str) -> None:
    assert permissions(cloud).keys() == made(cloud) != set()
    assert all(permissions(cloud).values())


def test_the_policy_of_aws_allows_what_its_table_says_and_nothing_else() -> None:
    (policy,) = (json.loads(block.text) for block in blocks(DOCUMENT) if block.language == "json")
    allowed = {
        action
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    (always,) = re.findall(r"^\| everything \| (.*) \|$", TEXT, re.MULTILINE)
    assert allowed == set(re.findall(r"`([^`]+)`", always)).union(*permissions("aws").values())
    assert all("Condition" in statement or "PREFIX" in str(statement) for statement in policy["Statement"][1:])


def test_the_times_are_those_that_the_measurements_print() -> None:
    (times,) = (block.text for block in blocks(DOCUMENT, "Disaster recovery") if block.language == "text")
    labels = [re.split(r"\s{2,}", line)[0] for line in times.splitlines()[2:]]
    assert labels
    source = Path(recoveries.__file__).read_text()
    assert [label for label in labels if label.removesuffix(recoveries.FROM_COMMAND) not in source] == []


def test_whatever_no_test_runs_is_still_in_the_document() -> None:
    commands = [command for block in blocks(DOCUMENT) if block.language == "sh" for command in block.commands]
    assert [why for why in NOT_RUN if not any(re.match(why, command.strip()) for command in commands)] == []


def test_the_site_in_a_lost_ones_place_is_one_that_the_example_takes() -> None:
    (block,) = (block for block in blocks(DOCUMENT, "A site is lost") if block.language == "yaml")
    config = prod_example.config()
    budget, sites = config["monthlyBudget"], set(config["sites"])
    for name, value in yaml.safe_load(block.text).items():
        key = name.removeprefix("hybrid-wireguard:")
        config[key] = config[key] | value if isinstance(value, dict) else value
    settings = load(as_engine_gives(config), "hybrid-wireguard", "prod", ())
    (site,) = set(settings.sites) - sites
    assert site in {pool.site for pool in settings.pools.values()}
    assert settings.monthly_budget
    assert settings.monthly_budget > budget
