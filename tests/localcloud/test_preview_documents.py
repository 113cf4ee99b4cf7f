"""What `preview --json` prints: the CLI's own shape from either engine, no secret, and what policies object to."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from localcloud.driver import Driver, PulumiCli, SmallEngine
from localcloud.violations import with_violations
from localcloud.wire import UNKNOWN_TEXT
from tests.localcloud.engine_world import World, serving
from tests.localcloud.test_engine_like_cli import stack_of

FIRST = """
    room = Room("r")
    a = Box("a", shape="round", key=pulumi.Output.secret("hush"), list=[1, 2], opts=O(parent=room))
    Box("b", of=a.serial, opts=O(replacement_trigger=1, delete_before_replace=True))
    Box("c", n=1)
    Box("d", n=1)
    Box("kept", opts=O(protect=True))
    pulumi.export("serial", a.serial)
"""
SECOND = """
    pulumi.log.warn("careful")
    pulumi.log.info("hint")
    room = Room("r")
    a = Box("a", shape="square", key=pulumi.Output.secret("hush2"), list=[1, 3], opts=O(parent=room))
    Box("b", of=a.serial, opts=O(replacement_trigger=2, delete_before_replace=True))
    Box("d", n=2)
    Box("e", of=a.serial)
    Box("kept", opts=O(protect=False))
    pulumi.export("serial", a.serial)
"""
OURS_ALONE_OR_THEIRS = frozenset(
    {"created", "modified", "sourcePosition", "stackTrace", "provider", "propertyDependencies", "duration"}
)
"""When and by what line of the program something was registered, and providers, which are no resources of ours."""
NOT_YET = ("outputs", "id", "delete", "pendingReplacement")
"""What a preview may know already of a resource's state, depending on how far the engine is when it tells."""


def document(driver: Driver) -> dict[str, Any]:
    succeeded, said = driver.preview_document()
    assert succeeded, said
    return json.loads(said)


def changed(world: World, driver: Driver) -> dict[str, Any]:
    """The document of the preview of the second program where the first is there."""
    world.program(FIRST)
    assert driver.up().succeeded
    world.program(SECOND)
    return document(driver)


def comparable(value: object) -> object:
    if isinstance(value, list):
        return [comparable(one) for one in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    found = cast("dict[str, Any]", value)
    kept: dict[str, Any] = {key: comparable(one) for key, one in found.items() if key not in OURS_ALONE_OR_THEIRS}
    for key in kept.keys() & {"oldState", "newState"}:
        kept[key] = {name: one for name, one in kept[key].items() if name not in NOT_YET}
    if "steps" in kept:
        kept["steps"] = sorted(kept["steps"], key=lambda step: step["urn"])
    return kept


@pytest.mark.pulumi_cli
def test_both_engines_print_the_same_document(tmp_path: Path) -> None:
    with serving(tmp_path / "small") as ours, serving(tmp_path / "cli") as theirs:
        small = changed(ours, SmallEngine(stack_of(ours), io.StringIO()))
        cli = changed(theirs, PulumiCli(stack_of(theirs), shutil.which("pulumi") or "pulumi", io.StringIO()))
    assert comparable(small) == comparable(cli)


def test_a_document_says_what_changes_and_what_stays(tmp_path: Path) -> None:
    with serving(tmp_path) as world:
        found = changed(world, SmallEngine(stack_of(world), io.StringIO()))
    steps = {step["urn"].rpartition("::")[2]: step for step in found["steps"]}
    assert {name: step["op"] for name, step in steps.items()} == {
        "toys-dev": "same", "r": "same", "kept": "same", "a": "replace", "b": "replace", "c": "delete", "d": "update",
        "e": "create",
    }  # fmt: skip
    assert steps["a"]["replaceReasons"] == ["shape"]
    assert sorted(steps["a"]["diffReasons"]) == ["key", "list", "shape"]
    assert (steps["d"]["oldState"]["inputs"], steps["d"]["newState"]["inputs"]) == ({"n": 1}, {"n": 2})
    assert (steps["b"]["oldState"]["replacementTrigger"], steps["b"]["newState"]["replacementTrigger"]) == (1, 2)
    assert "newState" not in steps["c"]
    assert "oldState" not in steps["e"]
    assert steps["e"]["newState"]["inputs"] == {"of": UNKNOWN_TEXT}
    assert found["changeSummary"] == {"same": 3, "replace": 2, "delete": 1, "update": 1, "create": 1}
    assert {"message": "warning: careful\n", "severity": "warning"} in found["diagnostics"]
    assert steps["a"]["oldState"]["inputs"]["key"] == "[secret]"
    assert "hush" not in json.dumps(found).replace("hush-token", "")


def test_what_policies_object_to_is_among_the_diagnostics(tmp_path: Path) -> None:
    log = tmp_path / "events"
    event = {
        "resourceUrn": "urn:pulumi:dev::p::t:i:T::a", "message": "<{%fg 13%}>Too open.<{%reset%}>\n", "color": "raw",
        "policyName": "ssh-open-to-world", "policyPackName": "pack", "policyPackVersion": "1.0.0",
        "enforcementLevel": "mandatory",
    }  # fmt: skip
    log.write_text(f"{json.dumps({'preludeEvent': {}})}\n{json.dumps({'policyEvent': event})}\n")
    found = json.loads(with_violations('{"steps": []}', log))
    assert found["diagnostics"] == [
        {
            "urn": "urn:pulumi:dev::p::t:i:T::a",
            "message": "error: [mandatory] ssh-open-to-world (pack@v1.0.0): Too open.\n",
            "severity": "error",
        }
    ]
    assert with_violations('{"steps": []}', tmp_path / "none") == '{"steps": []}'
    assert with_violations('{"steps": [', log) == '{"steps": [', "nor has it a whole one when its CLI died"
    log.write_text(f"{json.dumps({'policyEvent': event})}\n{json.dumps({'policyEvent': event})[:40]}")
    assert len(json.loads(with_violations("{}", log))["diagnostics"]) == 1
    assert with_violations("", log) == "", "a program that could not be started has no document"
