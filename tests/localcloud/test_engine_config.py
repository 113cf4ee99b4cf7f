"""The program gets the stack's configuration as the CLI would give it, and wrong configuration is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.engine.config import load_project, load_stack, resolve
from localcloud.engine.errors import EngineError
from localcloud.engine.passphrase import Sealer
from tests.localcloud.engine_world import SALT, World, serving


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        yield world


def settle(directory: Path, project: str, stack: str) -> dict[str, str]:
    (directory / "Pulumi.yaml").write_text(f"name: toys\nruntime:\n  name: python\n{project}")
    (directory / "Pulumi.dev.yaml").write_text(stack)
    loaded = load_project(directory)
    raw, sealer = load_stack(directory / "Pulumi.dev.yaml", "x")
    return dict(resolve(loaded, "dev", raw, sealer).values)


SCHEMA = """
config:
  toys:size: {type: integer, default: 3}
  toys:names: {type: array, items: {type: string}, default: []}
  toys:tree: {type: object, default: {}}
  toys:open: {type: boolean, default: false}
  toys:title: {type: string, description: what it is called, default: none}
"""


def test_defaults_fill_what_the_stack_leaves_out(tmp_path: Path) -> None:
    assert settle(tmp_path, SCHEMA, "config: {toys:title: mine}") == {
        "toys:title": "mine",
        "toys:size": "3",
        "toys:names": "[]",
        "toys:tree": "{}",
        "toys:open": "false",
    }


def test_a_key_without_a_namespace_is_the_projects(tmp_path: Path) -> None:
    assert settle(tmp_path, "", "config: {size: 4, aws:region: eu}") == {"toys:size": "4", "aws:region": "eu"}


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ("config: {toys:size: big}", "'toys:size' must be of type 'integer'"),
        ("config: {toys:size: true}", "'toys:size' must be of type 'integer'"),
        ("config: {toys:names: [1, {a: b}]}", "'toys:names' must be of type 'array<string>'"),
        ("config: {toys:tree: []}", "'toys:tree' must be of type 'object'"),
        ("config: {toys:open: maybe}", "'toys:open' must be of type 'boolean'"),
        ("config: {toys:title: {a: b}}", "'toys:title' must be of type 'string'"),
        ("config: []", "config must be a mapping"),
        ("config: {a: [}", "is not valid YAML: line 1, column 14"),
        ("config:\n  toys:size: 1\n  toys:size: 2", "line 3, column 3: toys:size stands here again, first in line 2"),
        ("config: {toys:tree: {a: 1, a: 2}}", "line 1, column 28: a stands here again, first in line 1"),
        ("secretsprovider: awskms://key", "passphrase secrets only"),
        ("config: {toys:key: {secure: v1:AAAA:BBBB}}", "sealed but the stack file has no encryptionsalt"),
        (f"encryptionsalt: {SALT}\nconfig: {{toys:key: {{secure: v1:AAAAAAAAAAAAAAAA:BBBBBBBB}}}}", "config toys:key"),
        ("encryptionsalt: nonsense", "salt is malformed"),
    ],
)
def test_wrong_configuration_is_refused(tmp_path: Path, stack: str, said: str) -> None:
    with pytest.raises(EngineError) as raised:
        settle(tmp_path, SCHEMA, stack)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ("config: {toys:size: {type: number}}", "is none of string, integer"),
        ("config: {toys:size: {type: integer}}", "missing configuration value toys:size"),
        ("config: {toys:size: {secret: true, type: integer}}", "missing configuration value toys:size"),
        ("config: 4", "config must be a mapping"),
    ],
)
def test_wrong_declarations_are_refused(tmp_path: Path, project: str, said: str) -> None:
    with pytest.raises(EngineError) as raised:
        settle(tmp_path, project, "")
    assert said in str(raised.value)


def test_a_declared_secret_must_be_sealed(tmp_path: Path) -> None:
    declared = "config: {toys:key: {type: string, secret: true}}"
    with pytest.raises(EngineError, match="must be encrypted as it's secret"):
        settle(tmp_path, declared, "config: {toys:key: open}")
    sealed = Sealer("x", SALT).seal("hush")
    stack = f"encryptionsalt: {SALT}\nconfig: {{toys:key: {{secure: '{sealed}'}}}}"
    assert settle(tmp_path, declared, stack) == {"toys:key": "hush"}


def test_another_language_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: toys\nruntime: nodejs\n")
    with pytest.raises(EngineError, match="python programs only"):
        load_project(tmp_path)


def test_the_program_sees_values_and_secrets(world: World) -> None:
    sealer = Sealer("x", SALT)
    world.settings("config: {toys:tree: {type: object, default: {}}}")
    world.config(
        f"""\
        encryptionsalt: {SALT}
        config:
          toys:size: 4
          toys:tree: {{a: [1, {{b: c}}]}}
          toys:key: {{secure: "{sealer.seal("hush")}"}}
          toys:nested: {{user: me, password: {{secure: "{sealer.seal("hush2")}"}}}}
        """
    )
    world.up("""
        config = pulumi.Config()
        pulumi.export("size", config.require_int("size"))
        pulumi.export("tree", config.require_object("tree"))
        pulumi.export("key", config.require_secret("key"))
        pulumi.export("nested", config.require_secret_object("nested"))
        pulumi.export("where", [pulumi.get_project(), pulumi.get_stack(), pulumi.get_organization()])
        assert pulumi.runtime.is_config_secret("toys:nested")
        import os
        assert "PULUMI_CONFIG" in os.environ
    """)
    shown = world.outputs()
    assert shown == {
        "size": 4,
        "tree": {"a": [1, {"b": "c"}]},
        "key": "[secret]",
        "nested": "[secret]",
        "where": ["toys", "dev", "organization"],
    }
    assert world.outputs(show_secrets=True)["nested"] == {"user": "me", "password": "hush2"}


def test_a_program_in_a_directory_of_its_own_imports_its_neighbours(world: World) -> None:
    world.settings("main: inner")
    inner = world.project / "inner"
    inner.mkdir()
    (inner / "neighbour.py").write_text("HERE = 'found'")
    (inner / "__main__.py").write_text("import pulumi, neighbour\npulumi.export('x', neighbour.HERE)")
    assert world.engine("up").status == 0
    assert world.outputs() == {"x": "found"}
