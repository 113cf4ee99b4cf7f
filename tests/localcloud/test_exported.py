"""What `outputs` prints for people."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from localcloud.cli.console import Console
from localcloud.cli.exported import show


def shown(value: object, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show({"it": value}, Console())
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("198.18.1.1", "it: 198.18.1.1"),
        (1, "it: 1"),
        (0, "it: 0"),
        (True, "it: true"),
        (None, "it: -"),
        ([], "it: -"),
        ({}, "it: -"),
        ("", "it: -"),
    ],
)
def test_what_fits_stands_beside_its_name(value: object, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(value, capsys) == [line]


def test_objects_are_a_table_without_columns_that_nobody_fills(capsys: pytest.CaptureFixture[str]) -> None:
    peers: list[dict[str, object]] = [
        {"site": "aws", "name": "aws-1", "endpoint": None, "allowed_ips": ["10.1.2.1/32", "10.1.4.0/24"], "port": 0},
        {"site": "gcp", "name": "gcp-1", "endpoint": None, "labels": {"role": "spoke", "site": "gcp"}, "group": []},
    ]
    assert shown(peers, capsys) == [
        "it:",
        "NAME   ALLOWED IPS               LABELS               PORT  SITE",
        "aws-1  10.1.2.1/32, 10.1.4.0/24                       0     aws",
        "gcp-1                            role=spoke site=gcp        gcp",
    ]


def test_a_table_that_is_too_wide_for_the_terminal_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers: list[dict[str, object]] = [{"name": "aws-1", "key": "k" * 20}]
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for columns, lines in (
        (27, ["NAME   KEY", f"aws-1  {'k' * 20}"]),
        (26, [f"  - key: {'k' * 20}", "    name: aws-1"]),
    ):
        monkeypatch.setattr(shutil, "get_terminal_size", lambda columns=columns: os.terminal_size((columns, 24)))
        assert shown(peers, capsys) == ["it:", *lines]


NO_TABLES: list[tuple[list[object], list[str]]] = [
    ([{"name": "a", "pem": "first\nsecond"}], ["  - name: a", "    pem: |-", "      first", "      second"]),
    ([{"name": "a", "of": {"b": {"c": 1}}}], ["  - name: a", "    of:", "      b:", "        c: 1"]),
    ([{}], ["  - {}"]),
    ([{"name": "a"}, "b"], ["  - name: a", "  - b"]),
]


@pytest.mark.parametrize(("value", "lines"), NO_TABLES)
def test_what_does_not_fit_into_cells_is_no_table(
    value: object, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(value, capsys) == ["it:", *lines]


def test_what_has_parts_is_yaml_and_a_text_of_several_lines_stands_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown({"ca": "first\nsecond\n", "names": ["a", "b"], "sites": {"aws": {"region": "eu"}}}, capsys) == [
        "it:",
        "  ca: |",
        "    first",
        "    second",
        "  names:",
        "  - a",
        "  - b",
        "  sites:",
        "    aws:",
        "      region: eu",
    ]
    assert shown("name: a\nrun: b\n", capsys) == ["it:", "  name: a", "  run: b"]
    assert shown(["a", "b"], capsys) == ["it:", "  - a", "  - b"]
