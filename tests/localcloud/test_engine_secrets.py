"""Secrets are sealed in the state as Pulumi seals them, masked where they are shown, and plain only for providers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.engine.errors import EngineError
from localcloud.engine.passphrase import Sealer
from localcloud.engine.state import seal, unseal
from localcloud.engine.values import keep_secrets
from localcloud.wire import Properties, Secret, from_struct, to_struct
from tests.localcloud.engine_world import SALT, World, serving


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        yield world


def test_a_salt_of_the_cli_opens_with_its_passphrase() -> None:
    assert Sealer("x", SALT).open(Sealer("x", SALT).seal("häng")) == "häng"


def test_another_passphrase_is_refused() -> None:
    with pytest.raises(EngineError, match="incorrect passphrase"):
        Sealer("y", SALT).seal("anything")


def test_a_changed_sealed_value_is_refused() -> None:
    sealer = Sealer("x", SALT)
    sealed = sealer.seal("text")
    with pytest.raises(EngineError, match="cannot be opened"):
        Sealer("x", SALT).open(sealed[:-6] + ("AAAA==" if not sealed.endswith("AAAA==") else "BBBB=="))


@pytest.mark.parametrize("salt", ["", "v1", "v2:AAAA:v1:AAAA:AAAA", "salt"])
def test_a_malformed_salt_is_refused(salt: str) -> None:
    with pytest.raises(EngineError, match="malformed"):
        Sealer("x", salt)


def test_a_new_salt_serves_another_process() -> None:
    first = Sealer.new("x")
    assert Sealer("x", first.salt).open(first.seal("text")) == "text"


def test_sealed_values_come_back_with_their_marks() -> None:
    sealer = Sealer("x", SALT)
    value: Properties = {"a": Secret({"b": [1, True, None]}), "c": ["d", Secret("e")]}
    sealed = json.loads(json.dumps(seal(value, sealer)))
    assert "ciphertext" in sealed["a"]
    assert unseal(sealed, sealer) == value


def test_outputs_are_secret_where_the_inputs_were() -> None:
    given: Properties = {"a": Secret("x"), "b": {"c": Secret("y"), "d": 1}, "e": [Secret("z"), 2], "f": "plain"}
    got: Properties = {"a": "x", "b": {"c": "y", "d": 1}, "e": ["z", 2], "f": "plain", "g": "new"}
    assert keep_secrets(got, given) == {
        "a": Secret("x"),
        "b": {"c": Secret("y"), "d": 1},
        "e": Secret(["z", 2]),
        "f": "plain",
        "g": "new",
    }


def test_secrets_survive_the_wire_only_where_they_may() -> None:
    values: Properties = {"a": Secret("x"), "b": [Secret(1), {"c": Secret(None)}]}
    assert from_struct(to_struct(values)) == values
    assert from_struct(to_struct(values, secrets=False)) == {"a": "x", "b": [1, {"c": None}]}


def test_no_secret_is_readable_in_state_or_display(world: World) -> None:
    program = """
        key = Output.secret("hush-{n}")
        a = Box("a", O(additional_secret_outputs=["token"]), key=key, tree={{"leaf": key, "open": "seen"}}, list=[key])
        b = Box("b", O(additional_secret_outputs=["token"]), copy=a.key, note=a.token)
        pulumi.export("key", a.key)
        pulumi.export("token", a.token)
        pulumi.export("nested", {{"inside": a.key}})
    """
    texts: list[str] = []
    for n in (1, 2):
        world.program(program.format(n=n))
        texts += [world.engine("preview").text, json.dumps(world.json("preview")), world.up().text]
        texts += [world.state_file.read_text(), json.dumps(world.outputs())]
    texts.append(world.engine("destroy", "--debug").text)
    for text in texts:
        assert "hush" not in text
    assert any("tree.leaf: [secret] => [secret]" in text for text in texts)
    assert any('"open": "seen"' in text for text in texts)
    received = [request for request in world.toy.requests if hasattr(request, "properties")]
    assert any("hush-1" in str(request.properties) for request in received), "the provider gets it in plain"


def test_secret_marks_follow_values_from_resource_to_resource(world: World) -> None:
    world.up("""
        a = Box("a", O(additional_secret_outputs=["token"]))
        Box("b", note=a.token, open=a.serial)
        pulumi.export("open", a.serial)
        pulumi.export("token", a.token)
    """)
    state = world.state()
    assert "ciphertext" in state["b"]["inputs"]["note"]
    assert state["b"]["inputs"]["open"] == "serial-1"
    assert world.outputs() == {"open": "serial-1", "token": "[secret]"}
    assert world.outputs(show_secrets=True) == {"open": "serial-1", "token": "hush-token"}


def test_unchanged_secrets_stay_sealed_as_they_were(world: World) -> None:
    world.up('Box("a", key=Output.secret("hush"), size=1)')
    before = world.state()["a"]["inputs"]["key"]
    world.up('Box("a", key=Output.secret("hush"), size=2)')
    assert world.state()["a"]["inputs"]["key"] == before


def test_a_wrong_passphrase_is_told_and_changes_nothing(world: World) -> None:
    world.up('Box("a", key=Output.secret("hush"))')
    before = world.state_file.read_bytes()
    ran = world.engine("up", PULUMI_CONFIG_PASSPHRASE="wrong")
    assert (ran.status, "incorrect passphrase" in ran.text) == (1, True)
    assert world.state_file.read_bytes() == before


def test_the_passphrase_can_come_from_a_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("x\n")
    world.program('Box("a", key=Output.secret("hush"))')
    environment = dict(world.environment)
    del environment["PULUMI_CONFIG_PASSPHRASE"]
    environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(tmp_path / "phrase")
    assert world.engine("up", whole=environment).status == 0
    environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(tmp_path / "none")
    ran = world.engine("up", whole=environment)
    assert (ran.status, "Traceback" in ran.text) == (1, False), ran.text


def test_a_missing_passphrase_is_told(world: World) -> None:
    world.program('Box("a")')
    environment = dict(world.environment)
    del environment["PULUMI_CONFIG_PASSPHRASE"]
    ran = world.engine("up", whole=environment)
    assert (ran.status, "set PULUMI_CONFIG_PASSPHRASE" in ran.text) == (1, True)
