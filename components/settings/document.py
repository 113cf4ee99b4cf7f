"""The tables of docs/settings.md, out of the types: every key with its type, its default, and what it is.

What a key is stands as a text under its field; annotations say the rest (``words``). Between two marks of the document
stands a table; everything else in it is written by hand.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from pydantic import BaseModel

from components.settings.kinds import REQUIRED, default_of, kind_of, last, model_in
from components.settings.machines import GatewaySettings, PoolSettings, SpokeSettings
from components.settings.models import GroupSettings, StackConfig
from components.settings.serving import CloudflareSettings, LoadBalancerSettings, ServingSettings
from components.settings.sites import AwsSite, ExternalSite, GcpSite, HetznerSite
from components.settings.words import Named, in_code, joined

Model = type[BaseModel]
_BLOCK = re.compile(r"(?ms)^<!-- table: (?P<name>[^\n]*?) -->\n(?P<body>.*?)^<!-- end of table -->$")
_MARK = re.compile(r"(?m)^<!-- (?:table: .*|end of table) -->$")


class DocumentError(Exception):
    """The document's marks are not those of the tables; the message says which and what to do."""


@dataclass(frozen=True)
class Table:
    """One table: the heading of its keys, the models by the word for where their keys hold, heading of those words.

    A table of one model has no such words.
    """

    heading: str
    models: Mapping[str, Model]
    whose: str = ""


TABLES: Mapping[str, Table] = {
    "settings": Table("key", {"": StackConfig}),
    "sites": Table(
        "key of a site", {"hetzner": HetznerSite, "aws": AwsSite, "gcp": GcpSite, "external": ExternalSite}, "cloud"
    ),
    "groups": Table("key of a group", {"": GroupSettings}),
    "machines": Table("key of a machine", {"gateways": GatewaySettings, "spokes": SpokeSettings}, "of"),
    "pools": Table("key of a pool", {"": PoolSettings}),
    "loadBalancer": Table("key of `loadBalancer`", {"": LoadBalancerSettings}),
    "serving": Table("key of `sites.<site>.serving`", {"": ServingSettings}),
    "cloudflare": Table("key of `loadBalancer.cloudflare`", {"": CloudflareSettings}),
}
_OWN_TABLES = {model for table in TABLES.values() for model in table.models.values()}


@dataclass(frozen=True)
class Row:
    """What the document says of one key, in Markdown."""

    key: str
    kind: str
    default: str
    text: str


def written(document: str) -> str:
    """``document`` with every table as the types have it; DocumentError where its marks are not theirs."""
    marks = _MARK.findall(document)
    blocks = list(_BLOCK.finditer(document))
    if len(marks) != 2 * len(blocks):
        remedy = "put `<!-- end of table -->` below each `<!-- table: NAME -->`, and nowhere else"
        raise DocumentError(f"its marks do not come in pairs: {remedy}")
    names = [block["name"] for block in blocks]
    for name in names:
        if name not in TABLES:
            raise DocumentError(f"there is no table {name!r}: use {joined(list(TABLES), 'or')}")
    for name in TABLES:
        if names.count(name) != 1:
            where = f"write the line `<!-- table: {name} -->` once, and `<!-- end of table -->` below it"
            raise DocumentError(f"the table {name!r} stands in it {names.count(name)} times: {where}")
    return _BLOCK.sub(
        lambda block: f"<!-- table: {block['name']} -->\n{lines(block['name'])}<!-- end of table -->", document
    )


def lines(name: str) -> str:
    """The table ``name`` in Markdown."""
    table = TABLES[name]
    heads = [table.heading, *([table.whose] if table.whose else []), "type", "default", "what it is"]
    body = [heads, ["---"] * len(heads)]
    for row, whose in _merged(table.models):
        holds = [", ".join(map(in_code, whose)) if len(whose) < len(table.models) else "all"] if table.whose else []
        body.append([in_code(row.key), *holds, row.kind, row.default, row.text])
    return "".join(_line(cells) for cells in body)


def _line(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |\n"


def _merged(models: Mapping[str, Model]) -> Iterator[tuple[Row, list[str]]]:
    """The rows of several models, each once, with the words of the models that have it; required keys come first.

    A key that only differs in its type, as ``cloud`` does, takes all of them.
    """
    found: dict[tuple[str, str, str], tuple[list[Row], list[str]]] = {}
    for word, model in models.items():
        for row in rows(model):
            same, whose = found.setdefault((row.key, row.default, row.text), ([], []))
            same.append(row)
            whose.append(word)
    for same, whose in sorted(found.values(), key=lambda each: each[0][0].default != REQUIRED):
        first = same[0]
        kinds = list(dict.fromkeys(row.kind for row in same))
        yield Row(first.key, joined(kinds, "or"), first.default, first.text), whose


def rows(model: Model, under: str = "") -> Iterator[Row]:
    """What there is to say of a model's keys; those of a model in it that has no table of its own stand among them."""
    texts = descriptions(model)
    for name, field in model.model_fields.items():
        key = f"{under}{field.alias or name}"
        inner = model_in(field.annotation)
        if inner is not None and inner not in _OWN_TABLES:
            yield from rows(inner, f"{key}.")
            continue
        named = last(field.metadata, Named)
        kind, place = kind_of(field.annotation, field.metadata), f"{key}.<{named.what}>" if named else key
        yield Row(place, kind, default_of(field), texts.get(name, ""))


def descriptions(model: Model) -> Mapping[str, str]:
    """The texts under the fields of ``model`` and the models that it extends, by the field's name, on one line each."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found.update(_texts_under(_classes(each.__module__)[each.__name__]))
    return found


@cache
def _classes(module: str) -> Mapping[str, ast.ClassDef]:
    """The classes that a module defines, by name."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}


def _texts_under(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, " ".join(words.split())
            case _:
                pass
