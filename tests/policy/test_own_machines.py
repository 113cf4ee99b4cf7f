"""The project's own stacks once everything about them is known, as it is in `up`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from components.settings.load import load
from components.settings.models import Settings
from policy.engine import read_value
from policy.model import Resource
from policy.pack import RULES
from tests.components.configs import as_engine_gives
from tests.components.recorder import run_program
from tests.policy.findings import config_of


def seen(raw: Mapping[str, Any], kind: str, name: str, *, protect: bool, hide_secrets: bool) -> Resource:
    return Resource(
        kind,
        name,
        read_value(raw, hide_secrets=False),
        read_value(raw, hide_secrets=hide_secrets),
        protect,
    )


def found(resource: Resource, settings: Settings) -> set[str]:
    return {rule.name for rule in RULES if list(rule.check(resource, settings))}


@pytest.mark.parametrize("stack", ["dev", "sites", "mesh"])
def test_what_machines_are_told_violates_nothing_since_it_is_secret(stack: str) -> None:
    config = config_of(stack)
    settings = load(as_engine_gives(config), "hybrid-wireguard", "dev", set())
    told = 0
    for one in run_program(config).resources:
        if not one.request.custom:
            continue
        protect = one.request.protect
        assert not found(seen(one.raw, one.type, one.name, protect=protect, hide_secrets=True), settings), one.name
        if "userData" in one.inputs or "user-data" in (one.inputs.get("metadata") or {}):
            told += 1
            plain = seen(one.raw, one.type, one.name, protect=protect, hide_secrets=False)
            assert found(plain, settings) == {"plain-secret-in-user-data"}, one.name
    assert told > 3
