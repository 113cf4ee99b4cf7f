"""The commented stack for production can be used as it stands, with any of its alternatives, and lacks no setting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from bench.previews import providers
from components.plan import warnings
from components.settings.document import TABLES, rows
from components.settings.kinds import model_in
from components.settings.load import load
from components.settings.models import Settings, StackConfig
from localcloud.cli.desk import PASSPHRASE
from localcloud.engine.urn import type_of
from tests.components import prod_example
from tests.components.configs import ROOT, as_engine_gives
from tests.components.recorder import run_program

SECRETS = ("privateKeys", "tlsCertificate", "apiKeys")
PLACES = {"sites": "sites", "groups": "groups", "gateways": "machines", "spokes": "machines", "pools": "pools"}
"""Mapping by name -> the table of docs/settings.md that its entries' keys stand in."""


def loaded(config: Mapping[str, Any]) -> Settings:
    return load(as_engine_gives(config), "hybrid-wireguard", "prod", SECRETS)


def test_it_is_for_production_on_three_clouds() -> None:
    settings = loaded(prod_example.config())
    assert settings.production
    assert settings.protect
    assert settings.monthly_budget
    assert settings.topology == "sites"
    assert {settings.sites[gateway.site].cloud for gateway in settings.gateways.values()} == {"hetzner", "aws", "gcp"}
    assert settings.pools
    assert settings.groups
    assert settings.load_balancer.enabled


def test_no_secret_stands_in_it_but_how_to_set_each() -> None:
    with_all = prod_example.config([name for name in prod_example.alternatives() if name != "own-certificate"])
    assert not with_all.keys() & set(SECRETS)
    assert {key for key, _ in prod_example.SET.findall(prod_example.TEXT)} == set(SECRETS)


@pytest.mark.parametrize("name", prod_example.alternatives())
def test_an_alternative_loads_and_changes_something(name: str) -> None:
    if name == "cloudflare":
        pytest.importorskip("pulumi_cloudflare", reason="needs what `make cloudflare` installs")
    settings = loaded(prod_example.config([name]))
    assert settings != loaded(prod_example.config())
    assert not warnings(settings)


def test_the_defaults_that_it_shows_are_the_defaults() -> None:
    """Without the # in front of each, the same is registered."""
    shown = prod_example.config(defaults=True)
    assert len(json.dumps(shown)) > len(json.dumps(prod_example.config())) + 500
    prefix = {"prefix": "hybrid-wireguard-prod"}
    plain, filled = run_program({**prod_example.config(), **prefix}), run_program(shown)
    assert {r.name: r.inputs for r in plain.resources} == {r.name: r.inputs for r in filled.resources}
    assert loaded(shown).prefix == loaded(prod_example.config()).prefix == prefix["prefix"]


def keys_of(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(table, key) of every key that is used."""
    for field in StackConfig.model_fields.values():
        key = str(field.alias)
        if key not in config:
            continue
        inner = model_in(field.annotation)
        if inner is not None and key != "loadBalancer":
            yield from (("settings", f"{key}.{name}") for name in config[key])
        else:
            yield "settings", key
        for entry in config[key].values() if key in PLACES else ():
            yield from ((PLACES[key], name) for name in entry)
            yield from (("serving", name) for name in entry.get("serving", {}))
    balancer = config.get("loadBalancer", {})
    yield from (("loadBalancer", name) for name in balancer)
    yield from (("cloudflare", name) for name in balancer.get("cloudflare", {}))


def test_every_setting_is_used_or_shown() -> None:
    shown: dict[str, set[str]] = defaultdict(set)
    configs = [prod_example.config(defaults=True), *(prod_example.config([n]) for n in prod_example.alternatives())]
    for table, key in (place for config in configs for place in keys_of(config)):
        shown[table].add(key)
    for key, name in prod_example.SET.findall(prod_example.TEXT):
        shown["settings"].add(f"{key}.{name}" if key == "tlsCertificate" else key)
    missing = {
        (name, row.key)
        for name, table in TABLES.items()
        for model in table.models.values()
        for row in rows(model)
        if row.key.partition(".<")[0] not in shown[name]
    }
    assert not missing


def test_a_first_preview_makes_it_without_a_warning_and_no_policy_objects(tmp_path: Path) -> None:
    with providers(tmp_path / "world") as attached:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "localcloud.engine", "preview", "--json", "--stack", "prod"),
                *("--cwd", str(ROOT), "--config-file", str(prod_example.FILE), "--state", str(tmp_path / "state")),
                *("--policy-pack", str(ROOT / "policy")),
            ],
            cwd=ROOT,
            env={**os.environ, "PULUMI_DEBUG_PROVIDERS": attached, "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    told = cast("Mapping[str, Any]", json.loads(done.stdout))
    diagnostics = told["diagnostics"]
    assert [each for each in diagnostics if each["severity"] in ("warning", "error")] == []
    assert "no policy is violated" in "".join(each["message"] for each in diagnostics)
    assert {step["op"] for step in told["steps"]} == {"create"}
    kinds = {type_of(step["urn"]) for step in told["steps"]}
    assert {"hcloud:index/server:Server", "aws:autoscaling/group:Group", "gcp:compute/instance:Instance"} <= kinds


@pytest.mark.pulumi_cli
def test_the_cli_keeps_what_it_shows_when_it_writes_a_secret(tmp_path: Path) -> None:
    """The CLI writes the file anew: comments that are deeper than what follows would stand elsewhere then."""
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    file = tmp_path / "Pulumi.prod.yaml"
    shutil.copy(prod_example.FILE, file)
    (tmp_path / "state").mkdir()
    env = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}/state",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    for command in ("stack init prod", "config set --stack prod --secret --path apiKeys.portal 0123456789abcdef"):
        subprocess.run(["pulumi", *command.split(), "--non-interactive"], cwd=tmp_path, env=env, check=True)
    written = file.read_text()
    assert "encryptionsalt" in written
    for chosen in ((), *((name,) for name in prod_example.alternatives())):
        mine = prod_example.config(chosen, defaults=not chosen)
        theirs = prod_example.config(chosen, defaults=not chosen, text=written)
        assert theirs.pop("apiKeys").keys() == {"portal"}
        assert loaded(theirs) == loaded(mine)


def test_what_the_file_says_of_its_comments_holds() -> None:
    """A line of text has a space behind its #, so that it is no default; else it would be read as one."""
    lines = [line.strip() for line in prod_example.TEXT.splitlines() if line.strip().startswith("#")]
    marked = [line for line in lines if line != "#" and not line.startswith(("# ", "#["))]
    assert all(isinstance(yaml.safe_load(line.removeprefix("#")), dict) for line in marked)
    assert len(marked) > 20
