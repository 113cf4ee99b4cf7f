"""What else a program can ask for: components, functions, reads, imports, other stacks, dynamic resources."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcloud.engine_world import World, changes, serving

DYNAMIC = """
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult
from pathlib import Path

class Notes(ResourceProvider):
    def check(self, old, new):
        from pulumi.dynamic import CheckFailure, CheckResult
        return CheckResult(new, [CheckFailure("nodes", "too many")] if len(new["nodes"]) > 2 else [])
    def diff(self, id, old, new):
        return DiffResult(changes=old["nodes"] != new["nodes"])
    def create(self, props):
        Path(props["file"]).write_text(str(sorted(props["nodes"])))
        if "bad" in props["nodes"]:
            raise RuntimeError("the gateway said no")
        return CreateResult("notes", {**props, "count": len(props["nodes"])})
    def update(self, id, old, new):
        Path(new["file"]).write_text(str(sorted(new["nodes"])))
        return UpdateResult({**new, "count": len(new["nodes"])})
    def read(self, id, props):
        return ReadResult(id, {**props, "count": 99})
    def delete(self, id, props):
        Path(props["file"]).unlink()

class Net(Resource):
    count: Output[int]
    def __init__(self, name, nodes, file):
        super().__init__(Notes(), name, {"nodes": nodes, "file": file, "count": None, "key": Output.secret("hush")})
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        yield world


def dynamic(world: World, nodes: str) -> str:
    path = world.project / "notes.txt"
    return f"{DYNAMIC}\na = Box('a')\nnet = Net('net', {nodes}, {str(path)!r})\npulumi.export('count', net.count)\n"


def test_a_dynamic_resource_lives_like_any_other(world: World) -> None:
    notes = world.project / "notes.txt"
    (world.project / "__main__.py").write_text("")
    one = dynamic(world, '{"aws-1": {"address": "10.0.0.1", "key": a.serial}}')
    two = dynamic(world, '{"aws-1": {"address": "10.0.0.1", "key": a.serial}, "aws-2": {"address": "10.0.0.2"}}')
    world.program(one)
    assert "+ 3 to create" in world.engine("preview").text
    assert not notes.exists()
    world.up()
    assert notes.read_text() == "['aws-1']"
    assert world.json("up")["changeSummary"] == {"same": 3}
    world.program(two)
    preview = world.engine("preview")
    assert '+ nodes.aws-2: {address: "10.0.0.2"}' in preview.text
    assert "hush" not in preview.text
    assert "~ 1 to update" in preview.text
    world.up()
    assert notes.read_text() == "['aws-1', 'aws-2']"
    assert world.outputs() == {"count": 2}
    assert "hush" not in world.state_file.read_text().replace("hush-token", "")
    refreshed = world.engine("refresh")
    assert "~ count: 2 => 99" in refreshed.text
    assert world.engine("destroy").status == 0
    assert not notes.exists()


def test_a_dynamic_providers_error_is_told_without_its_traceback(world: World) -> None:
    world.program(dynamic(world, '{"bad": {}}'))
    ran = world.engine("up")
    assert ran.status == 1
    assert "the gateway said no" in ran.text
    assert "Traceback" not in ran.text
    world.program(dynamic(world, '{"a": {}, "b": {}, "c": {}}'))
    ran = world.engine("preview")
    assert "nodes: too many" in ran.text


def test_components_keep_their_outputs(world: World) -> None:
    world.up("""
        class House(pulumi.ComponentResource):
            def __init__(self, name):
                super().__init__("house:index:House", name, {"street": "Main"})
                self.box = Box(f"{name}-box", O(parent=self))
                self.serial = self.box.serial
                self.register_outputs({"serial": self.serial})
        pulumi.export("serial", House("h").serial)
    """)
    assert world.state()["h"]["outputs"] == {"serial": "serial-1"}
    assert world.state()["h"]["inputs"] == {"street": "Main"}
    assert world.outputs() == {"serial": "serial-1"}


def test_a_component_may_be_passed_and_exported(world: World) -> None:
    world.up("""
        a = Box("a")
        b = Box("b", O(depends_on=[Room("r")]), ref=a)
        pulumi.export("a", a)
    """)
    assert world.state()["b"]["propertyDependencies"]["ref"] == ["urn:pulumi:dev::toys::toy:index:Box::a"]
    assert world.toy.boxes["box-2"]["ref"] == "box-1", "providers without references get the id"


def test_functions_are_called_in_previews_too(world: World) -> None:
    world.program("""
        found = pulumi.runtime.invoke("toy:index:double", {"number": 21})
        pulumi.export("found", found.value["result"])
        later = pulumi.runtime.invoke_output("toy:index:double", {"number": Box("a").serial.apply(len)})
    """)
    assert "+ found: 42" in world.engine("preview").text
    world.up()
    assert world.outputs() == {"found": 42}


def test_an_unknown_function_is_an_error(world: World) -> None:
    world.program('pulumi.runtime.invoke("toy:index:triple", {"number": 21})')
    ran = world.engine("preview")
    assert (ran.status, "unknown function toy:index:triple" in ran.text) == (1, True)


def test_what_exists_can_be_read_and_is_not_deleted(world: World) -> None:
    world.toy.boxes["other"] = {"size": 7, "serial": "theirs", "token": "t"}
    world.up('pulumi.export("serial", Box("a", O(id="other")).serial)')
    assert world.outputs() == {"serial": "theirs"}
    assert world.state()["a"]["external"] is True
    assert changes(world.json("preview", "")) == {"a": "discard"}
    assert world.engine("up", "--expect-no-changes").status == 0
    assert list(world.toy.boxes) == ["other"]
    world.program('Box("a", O(id="missing"))')
    ran = world.engine("preview")
    assert (ran.status, "resource 'missing' does not exist" in ran.text) == (1, True)


def test_what_was_read_can_be_made_ones_own_kind_instead(world: World) -> None:
    world.toy.boxes["other"] = {"size": 7, "serial": "theirs", "token": "t"}
    world.up('Box("a", O(id="other"))')
    world.up('Box("a", size=1)')
    assert list(world.toy.boxes) == ["other", "box-1"]
    assert world.state()["a"]["id"] == "box-1"


def test_what_exists_can_be_imported(world: World) -> None:
    world.toy.boxes["other"] = {"size": 7, "serial": "theirs", "token": "t"}
    world.program('pulumi.export("serial", Box("a", O(import_="other"), size=7).serial)')
    assert changes(world.json("preview")) == {"toys-dev": "create", "a": "import"}
    assert changes(world.json("up")) == {"toys-dev": "create", "a": "import"}
    assert world.outputs() == {"serial": "theirs"}
    assert changes(world.json("up")) == {}
    assert changes(world.json("up", 'Box("a", size=8)')) == {"a": "update"}
    assert world.engine("destroy").status == 0
    assert not world.toy.boxes


def test_an_import_takes_on_what_the_program_says(world: World) -> None:
    world.toy.boxes["other"] = {"size": 7, "serial": "theirs", "token": "t"}
    world.up('Box("a", O(import_="other"), size=9)')
    assert world.toy.boxes["other"]["size"] == 9.0
    assert world.json("up")["changeSummary"] == {"same": 2}


def test_importing_what_does_not_exist_is_an_error(world: World) -> None:
    world.program('Box("a", O(import_="missing"))')
    ran = world.engine("up")
    assert (ran.status, "resource 'missing' does not exist" in ran.text) == (1, True)


def test_another_stacks_outputs_can_be_used(world: World) -> None:
    world.program('pulumi.export("open", "seen")\npulumi.export("key", Output.secret("hush"))')
    assert world.engine("up", stack="base").status == 0
    world.program("""
        base = pulumi.StackReference("organization/toys/base")
        pulumi.export("open", base.require_output("open"))
        pulumi.export("key", base.require_output("key"))
    """)
    assert world.engine("up").status == 0
    assert world.outputs() == {"open": "seen", "key": "[secret]"}
    assert world.outputs(show_secrets=True)["key"] == "hush"
    world.program('pulumi.StackReference("organization/toys/nowhere")')
    ran = world.engine("preview")
    assert (ran.status, "there is no such stack" in ran.text) == (1, True)


def test_refresh_takes_what_the_provider_has(world: World) -> None:
    world.toy.named = True
    world.up('a = Box("a", size=1)\nBox("b")\npulumi.export("x", 1)')
    world.toy.boxes["box-a-1"]["size"] = 5
    del world.toy.boxes["box-b-1"]
    ran = world.engine("refresh")
    assert ran.status == 0
    assert "~ size: 1 => 5" in ran.text
    assert "it is gone at the provider" in ran.text
    assert set(world.state()) == {"toys-dev", "a"}
    assert world.outputs() == {"x": 1}
    assert changes(world.json("up")) == {"a": "update", "b": "create"}
    assert world.json("refresh")["changeSummary"] == {"same": 3}


def test_messages_stand_under_their_resource(world: World) -> None:
    world.program("""
        a = Box("a")
        pulumi.log.warn("cx22 is retired, taking cx23", resource=a)
        pulumi.log.info("for your information")
        pulumi.log.debug("details")
        print("printed")
        import sys; print("to stderr", file=sys.stderr)
    """)
    text = world.engine("preview").text
    assert "toy:index:Box a: warning: cx22 is retired, taking cx23" in text
    for line in ("for your information", "printed", "to stderr"):
        assert line in text
    assert "details" not in text
    assert "details" in world.engine("preview", "--debug").text
    messages = world.json("preview")["diagnostics"]
    assert {"urn": "urn:pulumi:dev::toys::toy:index:Box::a", "severity": "warning",
            "message": "warning: cx22 is retired, taking cx23\n"} in messages  # fmt: skip


def test_colours_only_where_they_are_wanted(world: World) -> None:
    world.program('Box("a")')
    assert "\x1b" not in world.engine("preview").text
    assert "\x1b[32m" in world.engine("preview", "--color", "always").text


def test_independent_resources_are_made_at_the_same_time(world: World) -> None:
    together = threading.Barrier(8, timeout=60)
    world.toy.traps = {f"create box-{n}": together.wait for n in range(8)}
    world.up("boxes = [Box(f'box-{n}') for n in range(8)]")
    assert not together.broken
    world.toy.traps = {f"delete box-{n}": together.wait for n in range(8)}
    assert world.engine("destroy").status == 0
