"""The small engine and the pulumi CLI do the same with the same programs: the same steps, the same state."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from localcloud.driver import PulumiCli, SmallEngine
from localcloud.engine.passphrase import Sealer
from localcloud.engine.state import unseal
from localcloud.engine.values import from_plain
from localcloud.stacks import Stack
from localcloud.wire import Secret, Value
from tests.localcloud.engine_scenes import SCENES
from tests.localcloud.engine_world import PASSPHRASE, SALT, World, serving

COMPARED = (
    "id", "type", "custom", "parent", "protect", "external", "delete", "pendingReplacement", "retainOnDelete",
    "deletedWith", "importID", "ignoreChanges", "replaceOnChanges", "additionalSecretOutputs",
)  # fmt: skip
"""Fields of a resource's record that must be equal as they are. Inputs, outputs, triggers and dependencies are too."""


@pytest.mark.pulumi_cli
@pytest.mark.parametrize("name", SCENES)
def test_both_do_the_same(name: str, tmp_path: Path) -> None:
    with serving(tmp_path / "small") as ours, serving(tmp_path / "cli") as theirs:
        small = SmallEngine(stack_of(ours), io.StringIO())
        cli = PulumiCli(stack_of(theirs), shutil.which("pulumi") or "pulumi", io.StringIO())
        for number, program in enumerate(SCENES[name], 1):
            where = f"{name}, program {number}"
            ours.program(program)
            theirs.program(program)
            planned, done, wanted = small.preview(), small.up(), cli.up()
            assert planned.succeeded, where
            assert done.succeeded, where
            assert wanted.succeeded, where
            assert planned.counts == done.counts == wanted.counts, where
            assert resources_in(ours) == resources_in(theirs), where
            assert ours.toy.boxes == theirs.toy.boxes, where
        assert small.preview().counts == cli.preview().counts
        assert small.destroy().counts == cli.destroy().counts
        assert ours.toy.boxes == theirs.toy.boxes


def stack_of(world: World) -> Stack:
    world.toy.named = True
    world.toy.boxes["other"] = {"size": 7.0, "serial": "theirs", "token": "t"}
    environment = dict(world.environment)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return Stack(world.project, "dev", world.directory / "instance", environment)


def resources_in(world: World) -> dict[str, dict[str, Any]]:
    """URN -> what an engine has recorded, secrets opened; both write Pulumi's format."""
    small = world.directory / "instance" / "state" / "toys" / "dev.json"
    if small.exists():
        deployment = json.loads(small.read_text())["deployment"]
    else:
        path = world.directory / "instance" / "backend" / ".pulumi" / "stacks" / "toys" / "dev.json"
        deployment = json.loads(path.read_text())["checkpoint"]["latest"]
    assert deployment["secrets_providers"]["state"]["salt"] == SALT
    assert not deployment.get("pending_operations")
    records = [one for one in deployment["resources"] if not one["type"].startswith("pulumi:providers:")]
    assert len({one["urn"] for one in records}) == len(records)
    return {one["urn"]: comparable(one) for one in records}


def comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    sealer = Sealer(PASSPHRASE, SALT)
    by_property = {key: sorted(urns) for key, urns in record.get("propertyDependencies", {}).items() if urns}
    return {
        **{key: record.get(key) or None for key in COMPARED},
        "inputs": properties(record.get("inputs", {}), sealer),
        "outputs": properties(record.get("outputs", {}), sealer),
        "replacementTrigger": unseal(from_plain(record.get("replacementTrigger")), sealer),
        "dependencies": sorted(record.get("dependencies", [])),
        "propertyDependencies": by_property,
    }


def properties(sealed: Mapping[str, Any], sealer: Sealer) -> dict[str, Value]:
    """Properties with their marks; of a dynamic provider's code, which names its file, only whether it is secret."""
    values = {key: unseal(from_plain(value), sealer) for key, value in sealed.items()}
    code = values.get("__provider")
    if code is not None:
        values["__provider"] = isinstance(code, Secret)
    return values
