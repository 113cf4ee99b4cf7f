"""The exports' published schema: what stacks export is as it says, and a change that breaks readers needs a version."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, cast

import jsonschema
import pytest

from components.outputs import (
    ADDED,
    PLAIN,
    SCHEMA_VERSION,
    GatewayOutput,
    JoinOutput,
    LoadBalancerOutput,
    NetworkOutput,
    OutputsError,
    PeerOutput,
    PoolOutput,
    parse_outputs,
)
from tests.components.configs import AWS_POOL, GCP_POOL, HETZNER_POOL, changed, dev, static
from tests.components.contract import Json, broken, kept_file, schema, shapes, strict
from tests.components.recorder import is_secret, plain, run_program
from tests.components.test_external_pools import REPLICAS
from tests.components.test_topologies import GROUPS, HOME, OVERLAY6, THREE, stack_of

READ = {
    "gateway": GatewayOutput,
    "peer": PeerOutput,
    "pool": PoolOutput,
    "network": NetworkOutput,
    "load_balancer": LoadBalancerOutput,
    "join": JoinOutput,
}
"""What the reader makes of the schema's definitions."""
KEPT = {
    *("$ref", "additionalProperties", "const", "enum", "format", "items", "maximum", "minItems", "minimum", "oneOf"),
    *("pattern", "properties", "required", "type", "x-secret"),
}
"""The schema's words that shapes are made of."""
OWN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN9uk3RsQMASYyJc2xuzB6aUm3kNP0IgOQrEPgWKRa5y"


def greatest() -> Json:
    """A stack with everything that is exported only where there is something of it."""
    pools = {
        "aws-burst": {**AWS_POOL, "range": "10.100.2.128/26"},
        "gcp-burst": {**GCP_POOL, "range": "10.100.3.128/26"},
        "hetzner-base": {**HETZNER_POOL, "range": "10.100.1.128/26"},
        "replicas": REPLICAS,
    }
    grouped = {name: {**pool, "group": "inference"} for name, pool in pools.items()}
    more = {
        "network": {"topology": "sites", "overlay6": OVERLAY6},
        "loadBalancer": {"enabled": True, "serverNames": ["inference.example.com"]},
        "sites/hetzner/networkCidr": "10.0.1.0/24",
        "pools": grouped,
    }
    return changed(THREE, {**HOME, **GROUPS, **more})


STACKS: dict[str, Callable[[], Json]] = {
    "dev": dev,
    "sites": lambda: stack_of("sites"),
    "mesh": lambda: stack_of("mesh"),
    "greatest": greatest,
    "least": lambda: changed(static(), {"loadBalancer": {}, "spokes": {}, "sshPublicKey": OWN_KEY}),
}


@pytest.fixture(scope="module", params=STACKS)
def raw(request: pytest.FixtureRequest) -> Json:
    """A stack's outputs, secrets marked."""
    return run_program(STACKS[request.param]()).outputs


@pytest.fixture(scope="module")
def exported() -> Json:
    """The outputs of the stack that has everything."""
    return plain(run_program(greatest()).outputs)


def complaints(outputs: Json, document: Json) -> list[str]:
    checker = jsonschema.Draft202012Validator(document, format_checker=jsonschema.FormatChecker())
    errors = cast("Iterator[Any]", checker.iter_errors(outputs))  # pyright: ignore[reportUnknownMemberType]
    return [f"{error.json_path}: {error.message}" for error in errors]


def place_of(path: str, document: Json) -> tuple[Any, str]:
    """The mapping that has what a path of names and numbers leads to, and its name there."""
    place: Any = document
    *parents, last = path.split("/")
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    return place, last


def values_at(path: str, value: Any) -> Iterator[Any]:
    """The values that a document has at a path of its schema."""
    head, _, rest = path.partition(".")
    name, listed, _ = head.partition("[]")
    if not head:
        yield value
    elif isinstance(value, dict):
        found = cast("Json", value)
        for each in found.values() if name == "*" else [found[name]] if name in found else []:
            items = cast("list[Any]", each) if listed else [each]
            for item in items:
                yield from values_at(rest, item)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_schema_says_nothing_that_shapes_do_not_keep() -> None:
    """Else a change of it would go unnoticed."""

    def words(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            found = cast("Json", node)
            yield from {"type", "$ref", "oneOf"} & set(found) and found
            for child in found.values():
                yield from words(child)
        elif isinstance(node, list):
            for child in cast("list[Any]", node):
                yield from words(child)

    document = {"$schema", "title", "description", "$defs"}
    assert set(words(schema())) - document == KEPT


def test_what_a_stack_exports_is_all_declared_and_as_declared(raw: Json) -> None:
    assert complaints(plain(raw), strict(schema())) == []
    assert complaints(plain(raw), schema()) == []


def test_what_is_declared_a_secret_is_one_and_nothing_else(raw: Json) -> None:
    secret = {name for name, shape in shapes(schema()).items() if shape.get("secret")}
    assert {name for name, value in raw.items() if is_secret(value)} == secret & {
        name for name, value in raw.items() if plain(value) is not None
    }


def test_everything_declared_is_exported_by_the_stack_that_has_everything(exported: Json) -> None:
    silent = [path for path in shapes(schema()) if not any(value is not None for value in values_at(path, exported))]
    assert silent == []


def test_every_field_is_described() -> None:
    def bare(node: Any, path: str) -> Iterator[str]:
        for name, child in cast("Json", node.get("properties", {})).items():
            if not child.get("description"):
                yield f"{path}.{name}"
            yield from bare(child, f"{path}.{name}")
        for name, child in cast("Json", node.get("$defs", {})).items():
            yield from bare(child, name)

    assert list(bare(schema(), "")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("peers/0/address", "10.100.0.1/32"),
        ("peers/0/address", 7),
        ("peers/0/mood", "good"),
        ("peers/0/allowed_ips", "10.100.0.0/16"),
        ("gateways/0/public_key", "short"),
        ("network/mtu", "1420"),
        ("pools/0/max", None),
        ("weather", "fine"),
        ("schema_version", 2),
        ("join/tokens", []),
    ],
)
def test_outputs_that_are_not_as_declared_are_noticed(path: str, value: Any, exported: Json) -> None:
    wrong = copy.deepcopy(exported)
    place, last = place_of(path, wrong)
    place[last] = value
    assert complaints(wrong, strict(schema())) != []


@pytest.mark.parametrize("path", ["network/sites/aws/region", "peers/0/dns_name", "pools", "join/ca"])
def test_outputs_without_something_declared_are_noticed(path: str, exported: Json) -> None:
    wrong = copy.deepcopy(exported)
    place, last = place_of(path, wrong)
    del place[last]
    assert complaints(wrong, strict(schema())) != []


def test_the_schema_keeps_what_its_version_has_promised() -> None:
    assert schema()["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    file = kept_file(SCHEMA_VERSION)
    assert file.exists(), f"a new version: keep its shapes, `python -m tests.components.contract >{file}`"
    assert broken(json.loads(file.read_text()), shapes(schema())) == [], "docs/exports.md says what to do"


def declared(document: Json, name: str) -> Json:
    return cast("Json", document["$defs"][name]["properties"])


MUTATIONS: dict[str, tuple[Callable[[Json], object], str]] = {
    "an output goes": (lambda d: d["properties"].pop("pools"), "pools is gone"),
    "a field goes": (lambda d: declared(d, "peer").pop("dns_name"), "peers[].dns_name is gone"),
    "a field deep down goes": (lambda d: declared(d, "site").pop("region"), "network.sites.*.region is gone"),
    "another type": (lambda d: declared(d, "pool")["max"].update(type="string"), "pools[].max is string, and was int"),
    "null now": (
        lambda d: declared(d, "peer")["address"].update(type=["string", "null"]),
        "peers[].address is null or string, and was string",
    ),
    "never null now": (
        lambda d: declared(d, "peer")["endpoint"].update(type="string"),
        "peers[].endpoint is string, and was null or string",
    ),
    "an output may be absent": (lambda d: d["required"].remove("peers"), "peers may be absent"),
    "a field may be absent": (
        lambda d: d["$defs"]["gateway"]["required"].remove("url"),
        "gateways[].url may be absent",
    ),
    "a list's items change": (
        lambda d: declared(d, "peer")["allowed_ips"]["items"].update(type="object"),
        "peers[].allowed_ips[] is object, and was string",
    ),
    "a mapping's values change": (
        lambda d: d["properties"]["configurations"]["additionalProperties"].update(type="array"),
        "configurations.* is array, and was string",
    ),
    "a list becomes a mapping": (
        lambda d: d["properties"]["peers"].update(
            type="object", additionalProperties=d["properties"]["peers"].pop("items")
        ),
        "peers is object, and was array",
    ),
    "a secret now": (lambda d: d["properties"]["peers"].update({"x-secret": True}), "peers became a secret"),
    "no secret any more": (lambda d: d["properties"]["join"].pop("x-secret"), "join is no secret any more"),
    "another form": (
        lambda d: declared(d, "peer")["address"].update(format="hostname"),
        "peers[].address has the form hostname, and had ipv4",
    ),
    "there may be none": (
        lambda d: d["properties"]["gateways"].pop("minItems"),
        "gateways has the bounds None, and had",
    ),
    "there may be more": (lambda d: declared(d, "pool")["port"].pop("maximum"), "pools[].port has the bounds"),
    "one more form": (lambda d: declared(d, "peer")["address"].update(pattern="^10"), "peers[].address has the form"),
    "a secret by its definition": (
        lambda d: d["$defs"]["network"].update({"x-secret": True}),
        "network became a secret",
    ),
    "a value goes": (lambda d: declared(d, "peer")["role"].update(enum=["spoke"]), "peers[].role is never gateway"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_change_that_readers_would_notice_is_told(mutation: str) -> None:
    change, told = MUTATIONS[mutation]
    document = schema()
    change(document)
    found = broken(json.loads(kept_file(SCHEMA_VERSION).read_text()), shapes(document))
    assert any(line.startswith(told) for line in found), found


GROWTH: dict[str, Callable[[Json], object]] = {
    "a new output": lambda d: d["properties"].update(weather={"type": "string"}),
    "a new field": lambda d: declared(d, "peer").update(mood={"type": ["string", "null"]}),
    "a new field that is always there": lambda d: (
        declared(d, "peer").update(mood={"type": "string"}),
        d["$defs"]["peer"]["required"].append("mood"),
    ),
    "one more value": lambda d: declared(d, "network")["topology"]["enum"].append("ring"),
    "a field that was not always there is": lambda d: d["$defs"]["peer"]["required"].append("dns_name"),
    "other words": lambda d: declared(d, "peer")["name"].update(description="Its name"),
}


@pytest.mark.parametrize("growth", GROWTH)
def test_what_only_adds_is_free(growth: str) -> None:
    document = schema()
    GROWTH[growth](document)
    assert broken(json.loads(kept_file(SCHEMA_VERSION).read_text()), shapes(document)) == []


def test_the_reader_knows_the_fields_of_the_schema() -> None:
    assert {name: {field.name for field in fields(kind)} for name, kind in READ.items()} == {
        name: set(declared(schema(), name)) for name in READ
    }
    known = {*PLAIN, *ADDED, "join", "configurations"}
    assert known | {"ssh_private_key"} == set(schema()["properties"])
    assert set(PLAIN) | {"join"} == set(schema()["required"])


def entries(outputs: Json, name: str) -> list[Json]:
    """What outputs have of a definition of the schema that the reader knows."""
    return cast("list[Json]", [outputs[name]] if name in outputs else outputs[f"{name}s"])


READ_PLAIN = ["gateway", "peer", "pool", "network", "load_balancer"]


@pytest.mark.parametrize("name", READ_PLAIN)
def test_the_reader_needs_what_the_schema_says_is_always_there(name: str, exported: Json) -> None:
    definition = schema()["$defs"][name]

    def without(field: str) -> Json:
        outputs = copy.deepcopy(exported)
        found = entries(outputs, name)
        assert [entry.pop(field, None) for entry in found] != [None] * len(found)
        return outputs

    for field in definition["properties"]:
        if field in definition["required"]:
            with pytest.raises(OutputsError, match=field):
                parse_outputs(without(field))
        else:
            parse_outputs(without(field))


@pytest.mark.parametrize("wrong", [None, 7, []])
@pytest.mark.parametrize("name", READ_PLAIN)
def test_the_reader_takes_nothing_else_for_a_text(name: str, wrong: object, exported: Json) -> None:
    definition = schema()["$defs"][name]
    texts = [field for field in definition["required"] if definition["properties"][field]["type"] == "string"]
    taken: list[str] = []
    for field in texts:
        outputs = copy.deepcopy(exported)
        entries(outputs, name)[0][field] = wrong
        try:
            parse_outputs(outputs)
        except OutputsError:
            continue
        taken.append(field)
    assert texts
    assert taken == []
