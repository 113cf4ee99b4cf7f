"""Resources are made, kept, changed, replaced and deleted as the program says, in the right order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcloud.engine_world import World, changes, serving


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as world:
        yield world


def test_a_stack_is_previewed_made_kept_changed_and_destroyed(world: World) -> None:
    one = 'a = Box("a", size=1)\npulumi.export("serial", a.serial)'
    preview = world.json("preview", one)
    assert preview["changeSummary"] == {"create": 2}
    assert "serial: [unknown]" in world.engine("preview").text
    assert not world.toy.boxes, "a preview makes nothing"
    assert not world.state_file.exists()

    world.up()
    assert world.outputs() == {"serial": "serial-1"}
    assert world.toy.boxes == {"box-1": {"size": 1.0, "serial": "serial-1", "token": "hush-token"}}
    again = world.engine("up", "--expect-no-changes")
    assert (again.status, "2 unchanged" in again.text) == (0, True), again.text

    world.program(one.replace("size=1", "size=2"))
    assert world.engine("preview", "--expect-no-changes").status == 2
    changed = world.up()
    assert "~ size: 1 => 2" in changed.text
    assert "~ 1 updated" in changed.text
    assert world.toy.boxes["box-1"]["size"] == 2.0

    destroyed = world.engine("destroy")
    assert (destroyed.status, "- 2 deleted" in destroyed.text) == (0, True), destroyed.text
    assert not world.toy.boxes
    assert not world.state_file.exists()


def test_urns_carry_the_types_of_components_but_not_the_stack(world: World) -> None:
    world.up("""
        outer = Room("outer")
        inner = Room("inner", O(parent=outer))
        Box("leaf", O(parent=inner))
        Box("under-box", O(parent=Box("plain")))
    """)
    prefix = "urn:pulumi:dev::toys::"
    assert world.urns() == {
        f"{prefix}pulumi:pulumi:Stack::toys-dev",
        f"{prefix}house:index:Room::outer",
        f"{prefix}house:index:Room$house:index:Room::inner",
        f"{prefix}house:index:Room$house:index:Room$toy:index:Box::leaf",
        f"{prefix}toy:index:Box::plain",
        f"{prefix}toy:index:Box$toy:index:Box::under-box",
    }


def test_a_name_given_twice_is_an_error(world: World) -> None:
    world.program('Box("a")\nBox("a")')
    ran = world.engine("up")
    assert ran.status == 1
    assert "Duplicate resource URN 'urn:pulumi:dev::toys::toy:index:Box::a'; try giving it a unique name" in ran.text


def test_the_same_name_under_another_parent_is_another_resource(world: World) -> None:
    world.up('Box("a", O(parent=Room("r")))\nBox("a")')
    assert len(world.toy.boxes) == 2


def test_what_is_no_longer_declared_is_deleted_after_what_needed_it(world: World) -> None:
    world.up("""
        a = Box("a")
        b = Box("b", other=a.serial)
        c = Box("c", O(depends_on=[b]))
        keep = Box("keep")
    """)
    world.toy.calls.clear()
    world.up('keep = Box("keep")')
    assert [call for call in world.toy.calls if call.startswith("delete")] == ["delete c", "delete b", "delete a"]
    assert len(world.toy.boxes) == 1


def test_dependencies_are_recorded_by_property(world: World) -> None:
    world.up("""
        a = Box("a")
        b = Box("b", O(depends_on=[a]))
        c = Box("c", one=a.serial, two="plain", both=Output.all(a.serial, b.serial))
    """)
    a, b = ("urn:pulumi:dev::toys::toy:index:Box::" + name for name in "ab")
    state = world.state()
    assert state["b"]["dependencies"] == [a]
    assert {key: sorted(urns) for key, urns in state["c"]["propertyDependencies"].items()} == {
        "one": [a],
        "both": sorted([a, b]),
    }


def test_a_replacement_is_made_before_the_old_one_goes(world: World) -> None:
    world.up('Box("a", shape="round")')
    world.toy.calls.clear()
    ran = world.up('Box("a", shape="square")')
    assert [call for call in world.toy.calls if call[:6] in ("create", "delete")] == ["create a", "delete a"]
    assert "replaced [because of shape]" in ran.text
    assert '~ shape: "round" => "square"  (forces replacement)' in ran.text
    assert "+-1 replaced" in ran.text
    assert list(world.toy.boxes) == ["box-2"]


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ("delete_before_replace=True", ["delete a", "create a"]),
        ("delete_before_replace=False", ["create a", "delete a"]),
    ],
)
def test_the_program_decides_the_order_of_a_replacement(world: World, options: str, order: list[str]) -> None:
    world.up(f'Box("a", O({options}), shape="round")')
    world.toy.calls.clear()
    world.up(f'Box("a", O({options}), shape="square")')
    assert [call for call in world.toy.calls if call[:6] in ("create", "delete")] == order


def test_the_provider_decides_the_order_where_the_program_does_not(world: World) -> None:
    world.up('Box("a", shape="fixed-1")')
    world.toy.calls.clear()
    world.up('Box("a", shape="fixed-2")')
    assert [call for call in world.toy.calls if call[:6] in ("create", "delete")] == ["delete a", "create a"]


def test_dependents_that_would_be_replaced_go_first_and_come_back(world: World) -> None:
    program = """
        a = Box("a", O(delete_before_replace=True), shape="{shape}")
        b = Box("b", parent=a.serial)
        c = Box("c", note=a.serial)
        d = Box("d", parent=b.serial)
    """
    world.up(program.format(shape="round"))
    world.toy.calls.clear()
    document = world.json("up", program.format(shape="square"))
    assert [call for call in world.toy.calls if call[:6] in ("create", "delete", "update")] == [
        "delete d",
        "delete b",
        "delete a",
        "create a",
        *[call for call in world.toy.calls if call in ("create b", "update c", "create d")],
    ]
    assert changes(document) == {"a": "replace", "b": "replace", "c": "update", "d": "replace"}
    assert len(world.toy.boxes) == 4


def test_a_trigger_replaces_when_it_changes_and_only_then(world: World) -> None:
    box = 'Box("a", O({options}), size=1)'
    world.up(box.format(options=""))
    assert changes(world.json("up", box.format(options="replacement_trigger=1"))) == {}, "unset to set does nothing"
    assert world.state()["a"]["replacementTrigger"] == 1
    assert changes(world.json("up")) == {}
    preview = world.json("preview", box.format(options="replacement_trigger=2"))
    assert changes(preview) == {"a": "replace"}
    ran = world.up()
    assert "replacementTrigger: 1 => 2" in ran.text
    assert list(world.toy.boxes) == ["box-2"]
    assert changes(world.json("up", box.format(options=""))) == {}, "set to unset does nothing"


def test_a_trigger_replacement_takes_inputs_whose_changes_are_ignored(world: World) -> None:
    box = 'Box("a", O(ignore_changes=["document"], replacement_trigger={revision}), document="{text}")'
    world.up(box.format(revision=1, text="first"))
    assert changes(world.json("up", box.format(revision=1, text="second"))) == {}
    assert world.toy.boxes["box-1"]["document"] == "first"
    world.up(box.format(revision=2, text="third"))
    assert [box["document"] for box in world.toy.boxes.values()] == ["third"]


def test_nested_paths_can_be_ignored(world: World) -> None:
    box = 'Box("a", O(ignore_changes=["tree.left", "list[0]"]), tree={{"left": {n}, "right": {m}}}, list=[{n}, {m}])'
    world.up(box.format(n=1, m=1))
    world.up(box.format(n=2, m=1))
    assert world.toy.boxes["box-1"]["tree"] == {"left": 1.0, "right": 1.0}
    assert "update a" not in world.toy.calls
    world.up(box.format(n=2, m=3))
    assert world.toy.boxes["box-1"]["tree"] == {"left": 1.0, "right": 3.0}
    assert world.toy.boxes["box-1"]["list"] == [1.0, 3.0]


def test_any_change_can_be_made_to_replace(world: World) -> None:
    box = 'Box("a", O(replace_on_changes=["colour"]), colour="{colour}", size={size})'
    world.up(box.format(colour="red", size=1))
    assert changes(world.json("up", box.format(colour="red", size=2))) == {"a": "update"}
    assert changes(world.json("up", box.format(colour="blue", size=2))) == {"a": "replace"}


def test_protected_resources_are_neither_deleted_nor_replaced(world: World) -> None:
    world.up('Box("a", O(protect=True), shape="round")\nBox("b")')
    for operation, program in (
        ("destroy", None),
        ("up", 'Box("b")'),
        ("preview", 'Box("b")'),
        ("up", 'Box("a", O(protect=True), shape="square")\nBox("b")'),
    ):
        if program:
            world.program(program)
        ran = world.engine(operation)
        assert ran.status == 1, operation
        assert "protect" in ran.text
        assert len(world.toy.boxes) == 2, operation
    world.up('Box("a", shape="round")\nBox("b")')
    assert world.engine("destroy").status == 0
    assert not world.toy.boxes


def test_a_component_passes_protection_on_to_its_children(world: World) -> None:
    world.up('Box("a", O(parent=Room("r", O(protect=True))))')
    assert world.state()["a"]["protect"] is True
    assert world.engine("destroy").status == 1


def test_a_retained_resource_is_forgotten_but_not_deleted(world: World) -> None:
    world.up('Box("a", O(retain_on_delete=True))')
    ran = world.up("")
    assert "retained at the provider" in ran.text
    assert list(world.toy.boxes) == ["box-1"]
    assert "a" not in world.state()


def test_what_dies_with_another_is_not_deleted_itself(world: World) -> None:
    world.up('a = Box("a")\nBox("b", O(deleted_with=a))')
    world.toy.calls.clear()
    assert world.engine("destroy").status == 0
    assert world.toy.calls == ["delete a"]


def test_a_renamed_resource_is_kept_by_its_alias(world: World) -> None:
    world.up('r = Room("old")\nBox("old-box", O(parent=r))')
    document = world.json("up", 'r = Room("new", O(aliases=[pulumi.Alias(name="old")]))\nBox("new-box", O(parent=r))')
    assert changes(document) == {}, "a child named after its parent follows it"
    assert list(world.toy.boxes) == ["box-1"]
    assert world.urns() >= {"urn:pulumi:dev::toys::house:index:Room$toy:index:Box::new-box"}
    assert world.json("up")["changeSummary"] == {"same": 3}


def test_a_resource_moved_into_a_component_is_kept_by_its_alias(world: World) -> None:
    world.up('Box("a")')
    moved = 'Box("a", O(parent=Room("r"), aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)]))'
    assert changes(world.json("up", moved)) == {"r": "create"}


def test_custom_timeouts_reach_the_provider_in_seconds(world: World) -> None:
    timeouts = 'O(custom_timeouts=pulumi.CustomTimeouts(create="1m30s", delete="2h"))'
    world.up(f'Box("a", {timeouts})')
    creates = [request for request in world.toy.requests if hasattr(request, "properties") and request.timeout]
    assert [request.timeout for request in creates] == [90.0]
    world.engine("destroy")
    assert world.toy.requests[-1].timeout == 7200.0
