"""What is shown of changes: short, in a stable order, and no secret."""

from __future__ import annotations

import io

from localcloud.engine.changes import Change
from localcloud.engine.display import Display, brief, change_lines, output_lines
from localcloud.engine.steps import Result, Step
from localcloud.wire import Secret, Value


def update(name: str, old: Value, new: Value) -> Change:
    return Change((name,), "update", old, new)


def test_a_preview_is_a_table_in_the_order_of_names() -> None:
    steps = [Step("create", "", "tls:index/key:Key", "aws-1-key"), Step("create", "", "a:b:C", "aws-1"),
             Step("same", "", "a:b:C", "aws-0")]  # fmt: skip
    stream = io.StringIO()
    Display(stream, preview=True).table(Result(True, steps, {}))
    assert stream.getvalue() == (
        " +  aws-1      a:b:C          create\n"
        " +  aws-1-key  tls:index:Key  create\n"
        "Resources:\n    + 2 to create\n    1 unchanged\n"
    )


def test_a_failed_preview_counts_nothing() -> None:
    stream = io.StringIO()
    Display(stream, preview=True).table(Result(False, [Step("same", "", "a:b:C", "a")], {}))
    assert stream.getvalue() == ""


def test_of_a_list_and_a_text_only_the_difference_is_shown() -> None:
    assert change_lines([update("text", "a\nb\n", "a\nc\n"), update("list", [1, {"z": 2, "a": 1}], [1])]) == [
        "~ list: 2 items => 1 item",
        "    - {a: 1, z: 2}",
        "~ text: 2 lines => 2 lines",
        "    - b",
        "    + c",
    ]
    (head, *lines) = change_lines([update("many", list[Value](range(20)), [])])
    assert (head, len(lines), lines[-1].strip()) == ("~ many: 20 items => 0 items", 8, "… and 13 more")


def test_new_exports_say_what_they_are() -> None:
    new: dict[str, Value] = {
        "text": "a\nb\n", "join": Secret("hush"), "peers": [{"name": "aws-1"}, {"name": "gcp-1"}], "address": "1.2.3.4",
        "network": {"mtu": 1, "hush": Secret("hush")},
    }  # fmt: skip
    assert output_lines([Change((name,), "add", None, value) for name, value in new.items()]) == [
        '+ address: "1.2.3.4"',
        "+ join: [secret]",
        "+ network: {hush, mtu}",
        "+ peers: 2 items (aws-1, gcp-1)",
        "+ text: 2 lines of text",
    ]


def test_secrets_in_what_differs_are_masked() -> None:
    lines = change_lines([update("list", [Secret("hush")], [Secret("hush2"), "seen"])])
    assert lines == ["~ list: 1 item => 2 items", '    + "seen"']
    assert brief({"b": Secret("hush"), "a": 1}) == "{a: 1, b: [secret]}"
