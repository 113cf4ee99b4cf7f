"""Changes one value in a stack's settings file, as text: comments, order and spelling of the rest stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import yaml

from localcloud.engine.config import parse
from localcloud.engine.errors import EngineError

STEP = 2
"""Columns that a mapping stands to the right of its key, as the CLI writes it."""


def put(text: str, path: Sequence[str], value: str, name: str) -> str:
    """`text` with `value` at `path`, whose mappings are made where they are missing.

    What stands in a mapping's place (a text, nothing) is replaced by one. `value` is written as it is, so it must read
    as itself (a salt, a sealed value). EngineError, which names the file `name`, when that cannot be done without
    changing anything else, such as through an alias.
    """
    wanted = _with(parse(text, name), path, value)
    edited = _edited(text, path, value)
    try:
        right = parse(edited, name) == wanted
    except EngineError:
        right = False
    if not right:
        where = " under ".join(reversed(path))
        raise EngineError(f"{name} is written in a way that cannot be added to safely; put in by hand {where}: {value}")
    return edited


def _with(document: object, path: Sequence[str], value: str) -> object:
    if not path:
        return value
    mapping: Mapping[str, object] = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    return {**mapping, path[0]: _with(mapping.get(path[0]), path[1:], value)}


def _edited(text: str, path: Sequence[str], value: str) -> str:
    mapping = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(mapping, yaml.MappingNode):
        return f"{_closed(text)}{_block(path, value, 0)}\n"
    if not mapping.value:
        return text[: mapping.start_mark.index] + _block(path, value, 0) + text[mapping.end_mark.index :]
    for depth, name in enumerate(path):
        pair = next((pair for pair in mapping.value if pair[0].value == name), None)
        if pair is None:
            return _added(text, mapping, path[depth:], value)
        key, child = pair
        if not isinstance(child, yaml.MappingNode) or not child.value:
            column = None if mapping.flow_style else key.start_mark.column + STEP
            return _replaced(text, child, column, path[depth + 1 :], value)
        mapping = child
    return text


def _added(text: str, mapping: yaml.MappingNode, path: Sequence[str], value: str) -> str:
    """With one more entry at the end of a mapping that has some."""
    end = _end(mapping.value[-1][1])
    if mapping.flow_style:
        return f"{text[:end]}, {_flow(path, value)[1:-1]}{text[end:]}"
    if text[end - 1] != "\n":  # where a text of several lines ends, the next line begins already
        end = text.find("\n", end) + 1 or len(text)
    return f"{_closed(text[:end])}{_block(path, value, mapping.start_mark.column)}\n{text[end:]}"


def _replaced(text: str, node: yaml.Node, column: int | None, path: Sequence[str], value: str) -> str:
    """With something else in a node's place; without a column it stands in a flow mapping (`{…}`)."""
    before, old, after = _split(text, node)
    if column is not None and path:
        return f"{before.rstrip(' ')}\n{_block(path, value, column)}{after}"
    space = "" if old else " "
    return f"{before}{space}{_flow(path, value)}{after}"


def _split(text: str, node: yaml.Node) -> tuple[str, str, str]:
    start, end = node.start_mark.index, node.end_mark.index
    old = text[start:end].rstrip()  # a text of several lines has the line breaks after it too
    return text[:start], old, text[start + len(old) :]


def _end(node: yaml.Node) -> int:
    """Where the last thing in a node ends; a block mapping's own end is where something else begins."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return node.end_mark.index


def _block(path: Sequence[str], value: str, column: int) -> str:
    lines = [f"{' ' * (column + STEP * depth)}{_key(name)}:" for depth, name in enumerate(path)]
    return "\n".join(lines) + f" {value}"


def _flow(path: Sequence[str], value: str) -> str:
    return f"{{{_key(path[0])}: {_flow(path[1:], value)}}}" if path else value


def _key(name: str) -> str:
    return yaml.safe_dump(name, width=float("inf"), allow_unicode=True).split("\n", 1)[0]


def _closed(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
