"""What a stack exports, for reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import yaml

from localcloud.cli.console import GREEN, Console


class _Block(yaml.SafeDumper):
    """YAML in which a text of several lines stands as it is."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)  # pyright: ignore[reportUnknownMemberType]


_Block.add_representer(str, _text)


def show(found: Mapping[str, object], console: Console) -> None:
    """Print outputs by name: flat objects as a table, with a column for what any of them has; others as YAML.

    So are objects whose table is wider than the terminal.
    """
    for name, value in sorted(found.items()):
        head = console.paint(name, GREEN)
        titles, rows = _table(value)
        if titles and console.fits(titles, rows):
            console.say(f"{head}:")
            console.table(titles, rows)
        elif lines := _lines(value):
            console.say("\n".join([f"{head}:", *(f"  {line}".rstrip() for line in lines)]))
        else:
            console.say(f"{head}: {_cell(value) or '-'}")


def _table(value: object) -> tuple[list[str], list[list[str]]]:
    """The titles and rows of a list of flat objects, what names a thing before what it has; none for anything else."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    objects = [cast("dict[str, object]", item) for item in items if isinstance(item, dict)]
    if len(objects) < len(items) or not all(_is_flat(each) for item in objects for each in item.values()):
        return [], []
    filled = {key for item in objects for key, each in item.items() if _cell(each)}
    keys = sorted(filled, key=lambda key: (key != "name", key))
    titles = [key.replace("_", " ").upper() for key in keys]
    return titles, [[_cell(item.get(key)) for key in keys] for item in objects]


def _is_flat(value: object) -> bool:
    """Whether it is one line and has no parts that have parts."""
    parts = [value]
    if isinstance(value, dict):
        parts = list(cast("dict[str, object]", value).values())
    elif isinstance(value, list):
        parts = cast("list[object]", value)
    return not any(isinstance(part, (dict, list)) or "\n" in str(part) for part in parts)


def _lines(value: object) -> list[str]:
    """What does not fit on one line: a text that has several, and what has parts."""
    if isinstance(value, str):
        return value.splitlines() if "\n" in value else []
    if isinstance(value, (dict, list)) and value:
        text = yaml.dump(value, Dumper=_Block, default_flow_style=False, allow_unicode=True, width=1000)
        return text.splitlines()
    return []


def _cell(value: object) -> str:
    """A value on one line; nothing for what is empty."""
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(item)}" for key, item in sorted(cast("dict[str, object]", value).items()))
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in cast("list[object]", value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
