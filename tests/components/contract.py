"""The exports' JSON Schema as other stacks depend on it: each field's shape by its path, and what a change would break.

`exports.v<schema_version>.json` beside this file is what is kept of each version; `python -m tests.components.contract`
prints it of the schema as it is now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from tests.components.configs import ROOT

Json = dict[str, Any]
Shapes = Mapping[str, Json]
"""Path -> `types`, `required`, and where the field has them `secret`, `values` (all that it may be), `form`, `bounds`.

`a.b` is a field of an object, `a[]` an item of a list, `a.*` any entry of a mapping.
"""


_BOUNDS = ("minItems", "minimum", "maximum")
"""How many and how much."""


def schema() -> Json:
    """The published schema."""
    return cast("Json", json.loads((ROOT / "docs" / "exports.schema.json").read_text()))


def kept_file(version: int) -> Path:
    """Where the shapes of a version are kept."""
    return Path(__file__).with_name(f"exports.v{version}.json")


def shapes(document: Json) -> Shapes:
    """The fields of a schema."""
    return dict(_walk(document, "", document, required=True))


def _walk(document: Json, path: str, node: Json, *, required: bool) -> Iterator[tuple[str, Json]]:
    alternatives = [_resolved(document, each) for each in node.get("oneOf", [node])]
    types = sorted({name for each in alternatives for name in _listed(each["type"])})
    if path:
        found = {**node, **{key: it for each in alternatives for key, it in each.items()}}
        form = " ".join(found[name] for name in ("format", "pattern") if name in found)
        values = found.get("enum") or ([found["const"]] if "const" in found else None)
        secret = {"secret": True} if found.get("x-secret") else {}
        bounds = {name: found[name] for name in _BOUNDS if name in found}
        told = {"values": values, "form": form, "bounds": bounds}
        yield path, {"types": types, "required": required, **secret, **{key: it for key, it in told.items() if it}}
    for each in alternatives:
        for name, child in each.get("properties", {}).items():
            yield from _walk(document, f"{path}.{name}".lstrip("."), child, required=name in each["required"])
        for key, suffix in (("items", "[]"), ("additionalProperties", ".*")):
            if each.get(key):
                yield from _walk(document, f"{path}{suffix}", each[key], required=True)


def _resolved(document: Json, node: Json) -> Json:
    if "$ref" not in node:
        return node
    return cast("Json", document["$defs"][node["$ref"].removeprefix("#/$defs/")])


def _listed(types: str | list[str]) -> list[str]:
    return [types] if isinstance(types, str) else types


def broken(kept: Shapes, now: Shapes) -> list[str]:
    """What of the kept shapes no longer holds; fields that are new, or no longer ever absent, break nothing."""
    found: list[str] = []
    for path, was in kept.items():
        field = now.get(path)
        if field is None:
            found.append(f"{path} is gone")
            continue
        if field["types"] != was["types"]:
            found.append(f"{path} is {' or '.join(field['types'])}, and was {' or '.join(was['types'])}")
        if was["required"] and not field["required"]:
            found.append(f"{path} may be absent")
        if field.get("secret", False) != was.get("secret", False):
            found.append(f"{path} {'became a secret' if field.get('secret') else 'is no secret any more'}")
        if field.get("form") != was.get("form"):
            found.append(f"{path} has the form {field.get('form')}, and had {was.get('form')}")
        if field.get("bounds") != was.get("bounds"):
            found.append(f"{path} has the bounds {field.get('bounds')}, and had {was.get('bounds')}")
        if gone := [value for value in was.get("values", []) if value not in field.get("values", [value])]:
            found.append(f"{path} is never {', '.join(map(str, gone))} any more")
    return found


def strict(document: Json) -> Json:
    """The schema for a stack of today's program: no field that it does not name, and each that cannot be null."""
    if document.get("type") == "object" and "properties" in document:
        fields = cast("Json", document["properties"])
        return {
            **{key: _strict_within(value) for key, value in document.items()},
            "additionalProperties": False,
            "required": sorted(name for name, field in fields.items() if '"null"' not in json.dumps(field)),
        }
    return {key: _strict_within(value) for key, value in document.items()}


def _strict_within(value: Any) -> Any:
    if isinstance(value, dict):
        return strict(cast("Json", value))
    return [_strict_within(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


if __name__ == "__main__":
    rows = [f" {json.dumps(path)}: {json.dumps(shape)}" for path, shape in shapes(schema()).items()]
    print("{", ",\n".join(rows), "}", sep="\n")
