"""docs/settings.md says of every setting what the types say, and Pulumi.yaml declares each as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
import yaml
from pydantic import BaseModel, Field, ValidationError

from components.settings.__main__ import DOCUMENT, main
from components.settings.document import TABLES, DocumentError, descriptions, lines, rows, written
from components.settings.load import KEYS
from components.settings.machines import DEFAULT_SERVER_TYPE, PUBLIC_BY_DEFAULT, PoolSettings, SpokeSettings
from components.settings.models import StackConfig
from components.settings.serving import DEFAULT_SHARE, ServingSettings
from components.settings.types import Flag, Network4, SourceNetwork, Strict, Word, whole
from components.settings.words import Unset, by_cloud
from tests.components.configs import ROOT

DECLARED = cast("Mapping[str, dict[str, Any]]", yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"])


class Example(Strict):
    """A mapping with one field of each kind."""

    network: Network4
    """What must be given,
    on two lines."""
    sources: Annotated[tuple[SourceNetwork, ...], Field(min_length=1)] = ()
    """This | that."""
    word: Word | None = None
    """A word."""
    flag: Flag = True
    """Whether."""
    size: Annotated[Annotated[int, whole(1, 9)] | None, Unset("as many as there are")] = None
    """How many."""

    @property
    def other(self) -> str:
        """No field."""
        return ""


class Extended(Example):
    """One that has a field more, which nobody has described."""

    bare: Word = "x"


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and all that are in it, as pydantic's own schema has them."""
    schema = model.model_json_schema()
    named = {each.__name__: each for each in _subclasses(Strict)}
    yield model
    for name in schema.get("$defs", {}):
        yield named[name]


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from _subclasses(each)


MODELS = list(models(StackConfig))


def test_the_document_is_what_the_types_say() -> None:
    text = DOCUMENT.read_text()
    assert text == written(text), "run `.venv/bin/python -m components.settings`"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    texts = descriptions(model)
    assert [name for name in model.model_fields if not texts.get(name, "").endswith((".", "?"))] == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_stands_in_a_table(model: type[BaseModel]) -> None:
    told = {row.key for table in TABLES.values() for each in table.models.values() for row in rows(each)}
    words = {part for key in told for part in key.split(".")}
    assert {field.alias or name for name, field in model.model_fields.items()} <= words


def test_a_row_says_type_default_and_what_it_is() -> None:
    assert [(row.key, row.kind, row.default, row.text) for row in rows(Example)] == [
        ("network", "IPv4 CIDR", "required", "What must be given, on two lines."),
        ("sources", "list of CIDRs, at least one", "none", "This | that."),
        ("word", "word", "none", "A word."),
        ("flag", "`true` or `false`", "`true`", "Whether."),
        ("size", "whole number, 1 to 9", "as many as there are", "How many."),
    ]


def test_a_field_without_a_text_is_seen() -> None:
    (bare,) = [row for row in rows(Extended) if not row.text]
    assert bare.key == "bare"
    assert descriptions(Extended)["flag"] == "Whether."


def test_a_table_has_keys_of_several_models_once() -> None:
    machines = lines("machines").splitlines()
    assert len([line for line in machines if line.startswith("| `address` | all | IPv4 address |")]) == 1
    assert (
        len([line for line in machines if line.startswith("| `ipv6` | `gateways` | `true` or `false` | `false` |")])
        == 1
    )
    (cloud,) = [line for line in lines("sites").splitlines() if line.startswith("| `cloud` |")]
    assert cloud.startswith("| `cloud` | all | `hetzner`, `aws`, `gcp` or `external` | required |")


def test_what_separates_cells_does_not_do_so_inside_one() -> None:
    (keys,) = [line for line in lines("settings").splitlines() if line.startswith("| `apiKeys.<name>` | secret text |")]
    assert keys.count(" | ") == 3
    assert r"openssl rand -hex 32 \| pulumi config set" in keys


def test_defaults_by_cloud_are_those_that_hold() -> None:
    assert by_cloud({"hetzner": 1, "aws": True, "gcp": True}) == Unset("`1` on Hetzner, `true` on AWS and GCP")
    defaults = {row.key: row.default for model in (SpokeSettings, PoolSettings, ServingSettings) for row in rows(model)}
    assert defaults["serverType"] == by_cloud(DEFAULT_SERVER_TYPE).words
    assert defaults["publicAddress"] == by_cloud(PUBLIC_BY_DEFAULT).words
    assert defaults["maxConns"] == by_cloud({cloud: share.max_conns for cloud, share in DEFAULT_SHARE.items()}).words


def broken(change: str) -> str:
    """docs/settings.md with something wrong in it."""
    text, mark = DOCUMENT.read_text(), "<!-- table: pools -->\n"
    end = "<!-- end of table -->\n"
    return {
        "no end": text.replace(end, "", 1),
        "an end too many": text + end,
        "no table": text.replace(mark, "<!-- table: poools -->\n"),
        "twice": text + mark + end,
        "missing": text.replace(mark + lines("pools") + end, ""),
    }[change]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no end", "do not come in pairs"),
        ("an end too many", "do not come in pairs"),
        ("no table", "no table 'poools': use settings,"),
        ("twice", "'pools' stands in it 2 times"),
        ("missing", "'pools' stands in it 0 times"),
    ],
)
def test_a_document_without_its_marks_is_refused(change: str, said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        written(broken(change))


def document(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.md"
    file.write_text(text)
    return file


def test_check_shows_what_would_change_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = DOCUMENT.read_text().replace("| `port` | whole number, 1 to 65535 |", "| `port` | number |")
    file = document(tmp_path, stale)
    assert main(["--check"], file) == 1
    out, err = capsys.readouterr()
    assert "\n-| `port` | number | `8000` |" in out
    assert "\n+| `port` | whole number, 1 to 65535 | `8000` |" in out
    assert "python -m components.settings" in err
    assert file.read_text() == stale


def test_it_writes_what_check_then_finds_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand = DOCUMENT.read_text().replace("## Pools\n", "## Pools\n\nBy hand.\n")
    file = document(tmp_path, by_hand.replace(lines("pools"), ""))
    assert main(["--check"], file) == 1
    assert main([], file) == 0
    assert file.read_text() == by_hand
    assert list(tmp_path.iterdir()) == [file]
    assert main(["--check"], file) == 0
    assert "as the types have them" in capsys.readouterr().out


def test_a_document_that_is_not_to_be_used_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], tmp_path / "absent.md") == 2
    assert "absent.md" in capsys.readouterr().err
    file = document(tmp_path, broken("no table"))
    for arguments in ([], ["--check"]):
        assert main(arguments, file) == 2
        assert "no table 'poools'" in capsys.readouterr().err
    assert file.read_text() == broken("no table")


def test_pulumi_declares_every_setting() -> None:
    assert set(DECLARED) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_pulumi_declares_a_setting_as_the_types_have_it(key: str) -> None:
    (field,) = [field for field in StackConfig.model_fields.values() if field.alias == key]
    schema = StackConfig.model_json_schema()["properties"][key]
    shapes = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    (shape,) = [each.get("type", "object") for each in shapes]
    assert DECLARED[key]["type"] == shape
    assert ("items" in DECLARED[key]) == (shape == "array")
    assert DECLARED[key]["description"]
    default = field.get_default(call_default_factory=True)
    assert DECLARED[key]["default"] == ("" if shape == "string" else {} if shape == "object" else as_written(default))


def as_written(default: object) -> object:
    """A default as YAML has it."""
    return [str(each) for each in cast("tuple[object, ...]", default)] if isinstance(default, tuple) else default


def test_what_pulumi_declares_is_what_holds_without_it() -> None:
    """An empty text and an empty mapping stand for keys that are left out."""
    given = {key: entry["default"] for key, entry in DECLARED.items() if entry["default"] not in ("", {})}
    assert StackConfig.model_validate(given) == StackConfig()
    with pytest.raises(ValidationError):
        StackConfig.model_validate({**given, "adminCidr": []})
