"""The wire format: what is sent arrives as what it was, secrets and unknown values included."""

from __future__ import annotations

import pytest
from google.protobuf import json_format, struct_pb2

from localcloud.provider.diff import differences, top, within
from localcloud.provider.values import sealed_like
from localcloud.wire import (
    UNKNOWN,
    Secret,
    Value,
    contains_secret,
    contains_unknown,
    from_struct,
    plain_properties,
    to_struct,
)

SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
OUTPUT = {"4dabf18193072939515e22adb298388d": "d0e6a833031e9bbcd3f4e8bde6ca49a4"}


def test_everything_survives_the_way_there_and_back() -> None:
    properties: dict[str, Value] = {
        "text": "a",
        "flag": True,
        "number": 5,
        "fraction": 0.5,
        "nothing": None,
        "list": [1, "b", [], {}],
        "map": {"c": Secret({"d": UNKNOWN})},
        "unknown": UNKNOWN,
        "secret": Secret("e"),
    }
    assert from_struct(to_struct(properties)) == properties


def test_secrets_are_marked_as_the_protocol_says_and_sent_bare_to_an_engine_without_them() -> None:
    assert json_format.MessageToDict(to_struct({"a": Secret("b")})) == {"a": {**SECRET, "value": "b"}}
    assert json_format.MessageToDict(to_struct({"a": Secret("b")}, secrets=False)) == {"a": "b"}


def test_output_values_are_read_as_what_they_hold() -> None:
    wire: struct_pb2.Struct = json_format.ParseDict(
        {"a": {**OUTPUT, "value": "x", "secret": True, "dependencies": []}, "b": dict(OUTPUT)}, struct_pb2.Struct()
    )
    assert from_struct(wire) == {"a": Secret("x"), "b": UNKNOWN}


def test_an_asset_is_refused_rather_than_taken_for_an_object() -> None:
    wire: struct_pb2.Struct = json_format.ParseDict(
        {"a": {"4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17"}}, struct_pb2.Struct()
    )
    with pytest.raises(ValueError, match="not supported"):
        from_struct(wire)


def test_marks_come_off_and_are_found_at_any_depth() -> None:
    deep: Value = [{"a": Secret([UNKNOWN])}]
    assert contains_secret(deep)
    assert contains_unknown(deep)
    assert plain_properties({"x": deep}) == {"x": [{"a": [UNKNOWN]}]}


def test_a_value_told_anew_is_as_secret_as_the_one_it_repeats() -> None:
    assert sealed_like({"a": "1", "b": "2"}, {"a": Secret("0")}) == {"a": Secret("1"), "b": "2"}
    assert sealed_like(["1", "2"], [Secret("0"), "x"]) == [Secret("1"), "2"]
    assert sealed_like("digest", Secret("text")) == Secret("digest")
    assert sealed_like(["1"], [Secret("0"), "x"]) == Secret(["1"]), "no telling which one it was"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({}, {"a": 1}, {"a": "add"}),
        ({"a": 1}, {}, {"a": "delete"}),
        ({"a": 1}, {"a": 2}, {"a": "update"}),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3, 4]}}, {"a.b[1]": "update", "a.b[2]": "add"}),
        ({"a": {"x.y": 1}}, {"a": {"x.y": 2}}, {'a["x.y"]': "update"}),
        ({"a": 1}, {"a": UNKNOWN}, {"a": "update"}),
        ({}, {"a": UNKNOWN}, {"a": "add"}),
        ({"a": [1]}, {"a": "1"}, {"a": "update"}),
    ],
)
def test_differences_are_told_property_by_property(
    old: dict[str, Value], new: dict[str, Value], expected: dict[str, str]
) -> None:
    assert differences(old, new) == expected


def test_paths_know_what_they_begin_with_and_lie_in() -> None:
    assert top('labels["a.b"]') == "labels"
    assert top("rules[0].port") == "rules"
    assert within("bootDisk.initializeParams.image", ["bootDisk.initializeParams"])
    assert not within("bootDiskSize", ["bootDisk"])
