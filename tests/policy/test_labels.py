"""The policy on labels and tags."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from components import names
from policy.labelled import CARRIERS, GROUP
from policy.model import UNKNOWN
from tests.policy.findings import (
    FIREWALL,
    GCP_FIREWALL,
    GCP_INSTANCE,
    GCP_TEMPLATE,
    INSTANCE,
    LAUNCH,
    SERVER,
    said,
    settings,
)

TAGS = "missing-tags"
LABELS = names.labels(settings(), node="gcp-1", site="gcp", role=names.SPOKE)


@pytest.mark.parametrize("kind", sorted(CARRIERS))
def test_whatever_can_carry_labels_says_which_stack_it_belongs_to(kind: str) -> None:
    key = CARRIERS[kind]
    word = "tag" if key == "tags" else "label"
    without: list[dict[str, Any]] = [{}, {key: {}}, {key: {"site": "gcp", "role": "burst"}}]
    for inputs in without:
        (what,) = said(TAGS, kind, inputs, settings())
        assert what.startswith(f"has no {word} stack"), inputs
    assert said(TAGS, kind, {key: {**LABELS, "stack": "prod"}}, settings()) == [f"has the {word} stack=prod"]
    for inputs in ({key: LABELS}, {key: UNKNOWN}, {key: {**LABELS, "stack": UNKNOWN}}):
        assert not said(TAGS, kind, inputs, settings()), inputs


@pytest.mark.parametrize("kind", [SERVER, INSTANCE, LAUNCH, GCP_INSTANCE, GCP_TEMPLATE])
def test_machines_say_their_site_and_their_role_too(kind: str) -> None:
    key = CARRIERS[kind]
    word = "tag" if key == "tags" else "label"
    assert said(TAGS, kind, {key: {"stack": "dev"}}, settings()) == [f"has no {word} site, role"]
    assert not said(TAGS, FIREWALL, {"labels": {"stack": "dev"}}, settings())
    assert not said(TAGS, kind, {key: {"stack": "dev"}}, None), "stacks of other projects have no sites"
    assert said(TAGS, kind, {key: {"site": "x", "role": "y"}}, None) == [f"has no {word} stack"]


def test_an_auto_scaling_group_lists_its_tags() -> None:
    tags: list[Any] = [{"key": "stack", "value": "dev", "propagateAtLaunch": False}]
    assert not said(TAGS, GROUP, {"tags": tags}, settings())
    assert not said(TAGS, GROUP, {"tags": [UNKNOWN, *tags]}, settings())
    assert said(TAGS, GROUP, {"tags": [{"key": "Name", "value": "x"}]}, settings())


def test_the_name_of_the_stack_is_what_clouds_take_for_it() -> None:
    assert not said(TAGS, FIREWALL, {"labels": {"stack": "eu-west"}}, settings({"prefix": "west"}, stack="EU.West"))


def test_what_can_carry_none_is_left_alone() -> None:
    for kind in (GCP_FIREWALL, "gcp:compute/network:Network", "hcloud:index/networkSubnet:NetworkSubnet"):
        assert not said(TAGS, kind, {}, settings())


def test_the_sdk_knows_what_is_asked_for() -> None:
    known: set[tuple[str, str]] = set()
    for package, module in {(kind.partition(":")[0], kind.split(":")[1].partition("/")[0]) for kind in CARRIERS}:
        spec = find_spec(f"pulumi_{package}")
        assert spec is not None
        assert spec.origin is not None
        for path in (Path(spec.origin).parent / ("" if module == "index" else module)).glob("*.py"):
            text = path.read_text()
            kinds = re.findall(r"super\([^)]*\)\.__init__\(\s*'([^']+)'", text)
            known |= {(kind, key) for kind in kinds for key in ("labels", "tags") if f'["{key}"] = {key}\n' in text}
    assert not {item for item in CARRIERS.items() if item not in known}
